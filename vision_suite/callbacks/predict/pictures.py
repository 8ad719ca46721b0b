"""Predictions of pictures: features, rank lists, classes and attention maps."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn

from vision_suite.callbacks.predict.base import BaseWriter, Tensors, log_pictures
from vision_suite.callbacks.predict.picture_files import (
    RankList,
    inputs_and_gallery,
    ranked,
    rows_of,
    write_classes,
    write_features,
    write_rank_lists,
)
from vision_suite.callbacks.predict.store import Column, PartWriter, merge
from vision_suite.datasets.pictures.data import PictureData
from vision_suite.datasets.pictures.gallery import GalleryStore
from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.feature_warnings import feature_warnings
from vision_suite.metrics.reid.decisions import Decision, Search, Thresholds, thresholds_for
from vision_suite.metrics.reid.distances import COSINE
from vision_suite.metrics.reid.ranking import AnyFloats
from vision_suite.types import Role
from vision_suite.types.arrays import Ints
from vision_suite.viz.canvas import NEUTRAL
from vision_suite.viz.reid import RankedRow, StripPicture, gallery_strip
from vision_suite.viz.rollout import rollout_panel

BEST_CLASSES = 5
REMEDY = (
    "fit with a validation split (such as --data.validation holdout), or run validate with this --ckpt_path and give "
    "its operating_point.json: --trainer.callbacks+=PredictionWriter --trainer.callbacks.operating_point=FILE"
)


class PredictionWriter(BaseWriter[PictureData]):
    """Writes predictions of pictures; memory doesn't grow with their number.

    ``features.parquet`` and ``features.npz`` (path, role, feature), ``rank_lists.json`` (for each input its nearest
    pictures of ``--data.predict_gallery``, else among the other inputs), ``ranked.png``, ``rollout/*.png`` (attention
    maps), for classification ``classes.csv`` and ``classes.json`` (best five), and ``summary.json`` (counts).

    In re-identification each entry of a rank list is called same, different or unsure, also in ``decisions.csv``, if
    the checkpoint has the thresholds of a validation split. Of a gallery on disk (``--data.gallery_store``) the
    features computed in this run are written, and all of it is ranked, in the order of its absolute paths.

    Parts are joined by index, so pictures that a distributed loader repeats count once.

    Args:
        top_k: Length of the rank lists.
        overlays: Number of pictures, from the first, whose attention maps are drawn; -1 draws all, 0 none.
        operating_point: File ``operating_point.json`` that ``validate`` wrote, whose thresholds take the place of the
            checkpoint's.
    """

    kind = PictureData
    keys = frozenset({"index", "role", "feature"})
    pictures_folder = "rollout"

    def __init__(self, top_k: int = 10, overlays: int = 32, operating_point: str | None = None) -> None:
        if top_k < 1:
            raise ConfigError(f"top_k={top_k}: a rank list needs at least one entry")
        if overlays < -1:
            raise ConfigError(f"overlays={overlays}: give a number of pictures, 0 for none, -1 for all")
        super().__init__()
        self.top_k, self.overlays, self.operating_point = top_k, overlays, operating_point
        self._thresholds: Thresholds | None = None
        self._no_decision = ""
        self._search = Search(fpr=0.5)

    def start(self, trainer: Trainer, module: LightningModule, data: PictureData) -> None:
        """Find the thresholds of the decisions, and open this process's part."""
        search = getattr(module, "search", None)  # of modules for re-identification
        self._thresholds, self._no_decision, self._search = None, "", search or Search(fpr=0.5)
        self._search.expansion.check(data.gallery_size)
        if search is not None:
            self._choose(module, search)
        self._part = PartWriter(self.parts / f"rank-{trainer.global_rank}")

    def _choose(self, module: LightningModule, search: Search) -> None:
        """Find the thresholds in the checkpoint or the file of `operating_point`; a line tells if there are none."""
        point = getattr(module, "operating_point", {})
        if self.operating_point is not None:
            point = read_point(self.operating_point)
        lines = [search.obstacle]
        if not search.obstacle:
            self._thresholds, lines = thresholds_for(point, search, getattr(module, "loaded_step", None))
        if self._thresholds is None:
            self._no_decision = lines[0]
            rank_zero_info(f"no decision between same and different is written: {lines[0]}; {REMEDY}")
        else:
            for line in lines:
                rank_zero_warn(line)

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
        feature = predictions.columns["feature"]
        paths = [data.record("predict", index)[0] for index in predictions.index.tolist()]
        lines = feature_warnings(feature)
        inputs, gallery, same = inputs_and_gallery(predictions.columns["role"], data.gallery_store is not None)
        roles = np.full(len(paths), "input", dtype="<U7")
        if not same:
            roles[predictions.columns["role"] != Role.QUERY] = "gallery"
        write_features(predictions, paths, roles.tolist(), self.folder)
        finite = np.concatenate([np.isfinite(feature[rows]).all(axis=1) for rows in predictions.chunks()])
        asking, answering = inputs[finite[inputs]], gallery[finite[gallery]]
        names, answers = [paths[n] for n in answering], rows_of(feature, answering)
        stored: dict[str, object] | None = None
        if data.gallery_store is not None:
            stored = self._grow(data.gallery_store, names, answers)
            names, answers = data.gallery_store.paths, data.gallery_store.gather(self.parts / "gallery")
        for word, count in (("inputs", len(asking)), ("gallery pictures", len(names))):
            if not count:
                raise DataError(f"no feature of the {word} is finite: check the checkpoint and --trainer.precision")
        found = ranked(rows_of(feature, asking), answers, same, self.top_k, self._search.expansion)
        nothing = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        lists = (RankList(paths[row], int(row), *(next(found) if finite[row] else nothing)) for row in inputs.tolist())
        head = {
            "distance": f"{COSINE}, float32", "ties": "by position",
            "against": "the other pictures" if same else "the gallery", "top_k": self.top_k,
            "query_expansion": self._search.expansion.facts, "flip": bool(self._search.settings.get("flip", False)),
        }  # fmt: skip
        first, decided = write_rank_lists(lists, names, head, self._thresholds, self.folder)
        self._draw_ranked(trainer, data, first, names, str(head["against"]))
        if "classes" in predictions.columns:
            write_classes(predictions, paths, data.class_names, self.folder)
        skipped = data.unreadable.get("predict", {})
        summary: dict[str, object] = {
            "pictures": len(predictions),
            "inputs": len(inputs),
            "gallery": 0 if same else len(names),
            "not_reached": data.size("predict") - len(predictions),
            "passed_over": data.predict_passed_over,
            "unreadable_skipped": len(skipped),
            "unreadable": skipped,
            "not_finite": int((~finite).sum()),
            "duplicates_removed": predictions.duplicates,
            "feature_dim": feature.shape[1],
            "rollout_pictures": len(list(self.pictures.glob("[0-9]*.png"))),
            "gallery_store": stored,
            "decision": None if self._thresholds is None else {**asdict(self._thresholds), **decided},
            "no_decision": self._no_decision or None,
            "warnings": lines,
        }
        for each in lines:
            rank_zero_warn(each)
        line = (
            f"predicted {summary['inputs']} inputs and {0 if same else len(answering)} gallery pictures "
            f"({summary['unreadable_skipped']} unreadable skipped, {summary['not_reached']} not reached)"
        )
        if stored is not None:
            line += (
                f"; gallery_store has {stored['pictures']} pictures ({stored['known']} known, {stored['added']} added, "
                f"{stored['gone']} no longer on the disk)"
            )
        if self._thresholds is not None:
            line += (
                f"; {decided['inputs_with_same']} inputs have a picture called the same "
                f"(distance up to {self._thresholds.accept:.4g}, FPR {self._thresholds.fpr:g})"
            )
        return summary, line

    def _grow(self, store: GalleryStore, paths: list[str], features: AnyFloats) -> dict[str, object]:
        """Add this run's gallery pictures to the store; counts of what was done."""
        added, plan = store.add([os.path.abspath(path) for path in paths], features), store.plan
        return {
            "folder": str(store.folder),
            "pictures": len(store),
            "known": plan.known,
            "added": added,
            "replaced": plan.replaced,
            "moved": len(plan.moved),
            "copies": plan.copies,
            "gone": sum(not os.path.exists(path) for path in store.paths),
        }

    def _draw_ranked(
        self, trainer: Trainer, data: PictureData, lists: list[RankList], names: Sequence[str], against: str
    ) -> None:
        """Draw the first rank lists as ``ranked.png``."""

        def shown(path: str, distance: float | None = None, decision: Decision | None = None) -> StripPicture:
            try:
                picture = data.original(path)
            except DataError:  # a picture of the store that is gone
                picture = Image.new("RGB", (data.image_size[1], data.image_size[0]), NEUTRAL)
            return StripPicture(picture, distance=distance, name=Path(path).name, decision=decision)

        strips = []
        for each in lists:
            nothing: list[Decision | None] = [None] * len(each.near)
            decided = nothing if self._thresholds is None else self._thresholds.decide(each.distances)
            entries = zip(each.near.tolist(), each.distances.tolist(), decided, strict=True)
            strips.append(RankedRow(shown(each.path), [shown(names[n], d, word) for n, d, word in entries]))
        title = f"Nearest pictures in {against}"
        subtitle = "below each picture: file, distance (1 - cosine)"
        if self._thresholds is not None:
            subtitle += (
                f" · same up to {self._thresholds.accept:.3g}, different beyond {self._thresholds.reject:.3g} "
                f"(FPR {self._thresholds.fpr:g})"
            )
        strip = gallery_strip(strips, title=title, subtitle=subtitle)
        strip.save(self.folder / "ranked.png")
        maps = sorted(self.pictures.glob("[0-9]*.png"))[:8]
        log_pictures(trainer, "predict/ranked", [strip])
        log_pictures(trainer, "predict/rollout", [Image.open(path) for path in maps])


def read_point(path: str) -> dict[str, Any]:
    """The operating point in a file that ``validate`` wrote.

    Raises:
        ConfigError: The file cannot be read.
    """
    try:
        found = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
        reason = "it holds no mapping"
    except (OSError, ValueError) as error:
        reason = str(error)
    raise ConfigError(f"operating_point={path!r} cannot be read ({reason}): give the file that validate wrote")


def _best_classes(probability: torch.Tensor) -> tuple[Ints, AnyFloats]:
    """The best classes of (B, C) probabilities, equal ones by number: classes (B, K) int64, probabilities (B, K)."""
    values, classes = probability.sort(dim=1, descending=True, stable=True)
    return classes[:, :BEST_CLASSES].contiguous().numpy(), values[:, :BEST_CLASSES].contiguous().numpy()
