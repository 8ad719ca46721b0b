"""Predictions of pictures: features, rank lists, classes and attention maps."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pytorch_lightning import LightningModule, Trainer

from vision_suite.callbacks.predict.base import BaseWriter, Tensors, log_pictures
from vision_suite.callbacks.predict.picture_files import (
    inputs_and_gallery,
    ranked,
    write_classes,
    write_features,
    write_rank_lists,
)
from vision_suite.callbacks.predict.store import Column, PartWriter, merge
from vision_suite.datasets.pictures.data import PictureData
from vision_suite.errors import ConfigError
from vision_suite.metrics.reid.ranking import AnyFloats
from vision_suite.types import Role
from vision_suite.types.arrays import Ints
from vision_suite.viz.reid import RankedRow, StripPicture, gallery_strip
from vision_suite.viz.rollout import rollout_panel

BEST_CLASSES = 5


class PredictionWriter(BaseWriter[PictureData]):
    """Writes predictions of pictures; memory doesn't grow with their number.

    ``features.parquet`` and ``features.npz`` (path, role, feature), ``rank_lists.json`` (for each input its nearest
    pictures of ``--data.predict_gallery``, else among the other inputs), ``ranked.png``, ``rollout/*.png`` (attention
    maps), for classification ``classes.csv`` and ``classes.json`` (best five), and ``summary.json`` (counts).

    Parts are joined by index, so pictures that a distributed loader repeats count once.

    Args:
        top_k: Length of the rank lists.
        overlays: Number of pictures, from the first, whose attention maps are drawn; -1 draws all, 0 none.
    """

    kind = PictureData
    keys = frozenset({"index", "role", "feature"})
    pictures_folder = "rollout"

    def __init__(self, top_k: int = 10, overlays: int = 32) -> None:
        if top_k < 1:
            raise ConfigError(f"top_k={top_k}: a rank list needs at least one entry")
        if overlays < -1:
            raise ConfigError(f"overlays={overlays}: give a number of pictures, 0 for none, -1 for all")
        super().__init__()
        self.top_k, self.overlays = top_k, overlays

    def start(self, trainer: Trainer, module: LightningModule, data: PictureData) -> None:
        """Open this process's part."""
        self._part = PartWriter(self.parts / f"rank-{trainer.global_rank}")

    def write(
        self, trainer: Trainer, module: LightningModule, data: PictureData, outputs: Tensors, batch: Tensors
    ) -> None:
        """Append a batch to this process's part and draw its attention maps."""
        found = {name: outputs[name].detach().cpu() for name in ("index", "role")}
        rows: dict[str, Column] = {name: value.to(torch.int64).numpy() for name, value in found.items()}
        rows["feature"] = outputs["feature"].detach().float().cpu().numpy()
        if "probability" in outputs:
            best = _best_classes(outputs["probability"].detach().float().cpu())
            rows["classes"], rows["probability"] = best
        self._part.append(rows)
        if "rollout" in outputs:
            self._draw(data, rows["index"], outputs["rollout"])

    def end(self, trainer: Trainer, data: PictureData) -> None:
        """Close this process's part."""
        self._part.close()

    def _draw(self, data: PictureData, indices: Ints, rollout: torch.Tensor) -> None:
        """Draw the maps of those pictures of a batch that come first in the list."""
        for row, index in enumerate(indices.tolist()):
            if self.overlays >= 0 and index >= self.overlays:
                continue
            path = data.record("predict", index)[0]
            panel = rollout_panel(
                data.seen("predict", index), rollout[row].detach().float().cpu().numpy(), caption=path
            )
            stem = re.sub(r"[^\w.-]+", "_", Path(path).stem)[:80]
            # A picture that two processes were given is drawn twice at the same time; a rename can't mix the two.
            hidden = self._part.folder / "rollout.png"
            panel.save(hidden)
            hidden.replace(self.pictures / f"{index:06d}_{stem}.png")

    def join(self, trainer: Trainer, data: PictureData, failed: dict[str, str]) -> tuple[dict[str, object], str]:
        """Join the parts by index and write the files."""
        parts = [self.parts / f"rank-{rank}" for rank in range(trainer.world_size)]
        predictions = merge(parts, self.parts / "joined")
        paths = [data.record("predict", index)[0] for index in predictions.index.tolist()]
        inputs, gallery, same = inputs_and_gallery(predictions.columns["role"])
        roles = np.full(len(paths), "input", dtype="<U7")
        if not same:
            roles[predictions.columns["role"] != Role.QUERY] = "gallery"
        write_features(predictions, paths, roles.tolist(), self.folder)
        lists = ranked(predictions.columns["feature"], inputs, gallery, same, self.top_k)
        against = "the other pictures" if same else "the gallery"
        first = write_rank_lists(lists, paths, against, self.top_k, self.folder / "rank_lists.json")
        self._draw_ranked(trainer, data, first, predictions.index, against)
        if "classes" in predictions.columns:
            write_classes(predictions, paths, data.class_names, self.folder)
        summary = {
            "pictures": len(predictions),
            "inputs": len(inputs),
            "gallery": 0 if same else len(gallery),
            "not_reached": data.size("predict") - len(predictions),
            "unreadable_skipped": data.protocol.get("skipped", {}).get("predict", 0),
            "passed_over": data.predict_passed_over,
            "duplicates_removed": predictions.duplicates,
            "feature_dim": predictions.columns["feature"].shape[1],
            "rollout_pictures": len(list(self.pictures.glob("[0-9]*.png"))),
        }
        line = (
            f"predicted {summary['inputs']} inputs and {summary['gallery']} gallery pictures "
            f"({summary['unreadable_skipped']} unreadable skipped, {summary['not_reached']} not reached)"
        )
        return summary, line

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
            number = int(index[row])
            name = Path(data.record("predict", number)[0]).name
            return StripPicture(data.picture("predict", number), distance=distance, name=name)

        strips = [
            RankedRow(shown(row), [shown(int(n), float(d)) for n, d in zip(near, distances, strict=True)])
            for row, near, distances in lists
        ]
        title = f"Nearest pictures in {against}"
        strip = gallery_strip(strips, title=title, subtitle="below each picture: file, distance (1 - cosine)")
        strip.save(self.folder / "ranked.png")
        maps = sorted(self.pictures.glob("[0-9]*.png"))[:8]
        log_pictures(trainer, "predict/ranked", [strip])
        log_pictures(trainer, "predict/rollout", [Image.open(path) for path in maps])


def _best_classes(probability: torch.Tensor) -> tuple[Ints, AnyFloats]:
    """The best classes of (B, C) probabilities, equal ones by number: classes (B, K) int64, probabilities (B, K)."""
    values, classes = probability.sort(dim=1, descending=True, stable=True)
    return classes[:, :BEST_CLASSES].contiguous().numpy(), values[:, :BEST_CLASSES].contiguous().numpy()
