"""What ``predict`` leaves: features, rank lists, classes and attention maps of each picture."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_info

from vision_suite.callbacks.predict.picture_files import (
    inputs_and_gallery,
    ranked,
    write_classes,
    write_features,
    write_rank_lists,
)
from vision_suite.callbacks.predict.store import PartWriter, clear, fresh_folders, merge, require_keys
from vision_suite.datasets.base import BaseData
from vision_suite.datasets.pictures.data import PictureData
from vision_suite.errors import ConfigError
from vision_suite.lit_modules.base import LitBase
from vision_suite.metrics.reid.ranking import AnyFloats
from vision_suite.types import Role
from vision_suite.types.arrays import Ints
from vision_suite.viz.reid import RankedRow, StripPicture, gallery_strip
from vision_suite.viz.rollout import rollout_panel

PARTS = ".parts"
KEYS = {"index", "role", "feature"}
BEST_CLASSES = 5


class PredictionWriter(Callback):
    """Writes predictions to ``predict`` in the run's folder while they arrive; memory doesn't grow with their number.

    ``features.parquet`` and ``features.npz`` (path, role, feature), ``rank_lists.json`` (for each input its nearest
    pictures of ``--data.predict_gallery``, else among the other inputs), ``ranked.png``, ``rollout/*.png`` (attention
    maps), for classification ``classes.csv`` and ``classes.json`` (best five), and ``summary.json`` (counts).

    Each process writes its own part; rank zero joins them by index, so pictures that a distributed loader repeats count
    once. Predictions are not kept in memory as well: ``trainer.predict`` returns nothing.

    Args:
        top_k: Length of the rank lists.
        overlays: Attention maps drawn, for the first so many pictures; -1 draws all, 0 none.
    """

    def __init__(self, top_k: int = 10, overlays: int = 32) -> None:
        if top_k < 1:
            raise ConfigError(f"top_k={top_k}: a rank list needs at least one place")
        if overlays < -1:
            raise ConfigError(f"overlays={overlays}: give a number of pictures, 0 for none, -1 for all")
        self.top_k, self.overlays = top_k, overlays
        self._part: PartWriter | None = None
        self._folder = Path()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Agree on the folder and clear what an earlier prediction left there."""
        self._part = None
        data = trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(data, BaseData) and not isinstance(data, PictureData):
            return  # another kind of data, with a writer of its own
        if not isinstance(pl_module, LitBase) or not isinstance(data, PictureData):
            rank_zero_info("predictions are not written: model and data must both be the suite's own")
            return
        trainer.predict_loop.return_predictions = False
        self._folder = fresh_folders(trainer, PARTS, "rollout")
        self._part = PartWriter(self._folder / PARTS / f"rank-{trainer.global_rank}")

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Append a batch to this process's part and draw its attention maps."""
        if self._part is None:
            return
        require_keys(pl_module, outputs, KEYS)
        found = {name: outputs[name].detach().cpu() for name in ("index", "role")}
        rows: dict[str, Any] = {name: value.to(torch.int64).numpy() for name, value in found.items()}
        rows["feature"] = outputs["feature"].detach().float().cpu().numpy()
        if "probability" in outputs:
            best = _best_classes(outputs["probability"].detach().float().cpu())
            rows["classes"], rows["probability"] = best
        self._part.append(rows)
        if "rollout" in outputs:
            self._draw(self._part, trainer.datamodule, rows["index"], outputs["rollout"])  # type: ignore[attr-defined]

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Join the parts and write the files; rank zero only."""
        if self._part is None:
            return
        self._part.close()
        trainer.strategy.barrier("prediction parts")
        if trainer.is_global_zero:
            self._finish(trainer, trainer.datamodule)  # type: ignore[attr-defined]

    def _draw(self, part: PartWriter, data: PictureData, index: Ints, rollout: torch.Tensor) -> None:
        """Draw the maps of those pictures of a batch that come first in the list."""
        for row, position in enumerate(index.tolist()):
            if self.overlays >= 0 and position >= self.overlays:
                continue
            path = data.record("predict", position)[0]
            panel = rollout_panel(
                data.seen("predict", position), rollout[row].detach().float().cpu().numpy(), caption=path
            )
            stem = re.sub(r"[^\w.-]+", "_", Path(path).stem)[:80]
            # A picture that two processes were given is drawn twice at the same time; a rename can't mix the two.
            hidden = part.folder / "rollout.png"
            panel.save(hidden)
            hidden.replace(self._folder / "rollout" / f"{position:06d}_{stem}.png")

    def _finish(self, trainer: Trainer, data: PictureData) -> None:
        parts = [self._folder / PARTS / f"rank-{rank}" for rank in range(trainer.world_size)]
        predictions = merge(parts, self._folder / PARTS / "joined")
        paths = [data.record("predict", index)[0] for index in predictions.index.tolist()]
        inputs, gallery, same = inputs_and_gallery(predictions.columns["role"])
        roles = np.full(len(paths), "input", dtype="<U7")
        if not same:
            roles[predictions.columns["role"] != Role.QUERY] = "gallery"
        write_features(predictions, paths, roles.tolist(), self._folder)
        lists = ranked(predictions.columns["feature"], inputs, gallery, same, self.top_k)
        against = "the other pictures" if same else "the gallery"
        first = write_rank_lists(lists, paths, against, self.top_k, self._folder / "rank_lists.json")
        self._draw_ranked(trainer, data, first, predictions.index, against)
        if "classes" in predictions.columns:
            write_classes(predictions, paths, data.class_names, self._folder)
        summary = {
            "pictures": len(predictions),
            "inputs": len(inputs),
            "gallery": 0 if same else len(gallery),
            "not_reached": data.size("predict") - len(predictions),
            "unreadable_skipped": data.protocol.get("skipped", {}).get("predict", 0),
            "duplicates_removed": predictions.duplicates,
            "feature_dim": predictions.columns["feature"].shape[1],
            "rollout_pictures": len(list((self._folder / "rollout").glob("[0-9]*.png"))),
            "checkpoint": None if trainer.ckpt_path is None else str(trainer.ckpt_path),
        }
        (self._folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        clear(self._folder / PARTS)
        rank_zero_info(
            f"predicted {summary['inputs']} inputs and {summary['gallery']} gallery pictures "
            f"({summary['unreadable_skipped']} unreadable skipped, {summary['not_reached']} not reached): "
            f"{self._folder}"
        )

    def _draw_ranked(
        self,
        trainer: Trainer,
        data: PictureData,
        lists: list[tuple[int, Ints, AnyFloats]],
        index: Ints,
        against: str,
    ) -> None:
        """Draw the first rank lists as ``ranked.png``."""

        def shown(row: int, distance: float | None = None) -> StripPicture:
            position = int(index[row])
            name = Path(data.record("predict", position)[0]).name
            return StripPicture(data.picture("predict", position), distance=distance, name=name)

        strips = [
            RankedRow(shown(row), [shown(int(n), float(d)) for n, d in zip(near, distances, strict=True)])
            for row, near, distances in lists
        ]
        title = f"Nearest pictures in {against}"
        strip = gallery_strip(strips, title=title, subtitle="below each picture: file, distance (1 - cosine)")
        strip.save(self._folder / "ranked.png")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                maps = sorted((self._folder / "rollout").glob("[0-9]*.png"))[:8]
                logger.log_image(key="predict/ranked", images=[strip])
                if maps:
                    logger.log_image(key="predict/rollout", images=[Image.open(path) for path in maps])


def _best_classes(probability: torch.Tensor) -> tuple[Ints, AnyFloats]:
    """The best classes of (B, C) probabilities, equal ones by number: classes (B, K) int64, probabilities (B, K)."""
    values, classes = probability.sort(dim=1, descending=True, stable=True)
    return classes[:, :BEST_CLASSES].contiguous().numpy(), values[:, :BEST_CLASSES].contiguous().numpy()
