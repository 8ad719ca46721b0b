"""Predictions of scanpaths: the sampled paths of each trial as JSON, and a picture of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import LightningModule, Trainer

from vision_suite.callbacks.predict.base import BaseWriter, log_pictures
from vision_suite.callbacks.run_dir import file_stem
from vision_suite.datasets.pictures.images import open_picture
from vision_suite.datasets.pictures.records import is_picture
from vision_suite.datasets.scanpath.data import ScanpathData
from vision_suite.datasets.scanpath.grid import GridScanpathData
from vision_suite.datasets.scanpath.records import Scene, Trial
from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.scanpath.report.trials import centres_of
from vision_suite.models.oat.rows import path_of, split_rows
from vision_suite.types import Condition
from vision_suite.types.arrays import Floats
from vision_suite.viz.scanpath.prediction import prediction_picture
from vision_suite.viz.scanpath.stage import MODEL, Gaze, Stage

PANEL = (560, 460)  # pixels of a panel's scene at most


class ScanpathWriter(BaseWriter[ScanpathData | GridScanpathData]):
    """Writes predictions of scanpaths.

    ``scanpaths.json`` has an entry for each trial: the picture (``image``, ``size``), the ``target`` (its number, every
    object that counts as found, how it was chosen), the objects' ``boxes`` and ``labels``, the path of the
    ``likeliest`` steps and the drawn ``samples``. A path is ``objects`` (numbers of boxes, -2 for the background),
    ``xy`` in pixels (their centres), ``duration`` in seconds or null (one of them null where unknown), ``log_prob`` in
    nats and ``terminated`` (false: cut at the greatest length). The first ``given`` fixations are not predicted: on own
    pictures one in the middle, if all of the network's training paths began with a given one. ``overlays/*.png`` show
    them on the picture, ``summary.json`` has counts, and pictures that failed with the reason.

    Args:
        overlays: Number of trials, from the first, that are drawn; -1 draws all, 0 none.
    """

    kind = ScanpathData | GridScanpathData
    keys = frozenset({"trial", "values", "likeliest"})
    pictures_folder = "overlays"
    needs = "scanpaths are written with --data ScanpathData or GridScanpathData"

    def __init__(self, overlays: int = 32) -> None:
        if overlays < -1:
            raise ConfigError(f"overlays={overlays}: give a number of pictures, 0 for none, -1 for all")
        super().__init__()
        self.overlays = overlays
        self._trials: list[Trial] = []
        self._scenes: dict[str, Scene] = {}

    def start(self, trainer: Trainer, module: LightningModule, data: ScanpathData | GridScanpathData) -> None:
        """Look up trials and scenes."""
        self._trials, self._scenes = data.trials("predict"), data.scenes("predict")

    def write(
        self, trainer: Trainer, module: LightningModule, data: ScanpathData | GridScanpathData, outputs: Any, batch: Any
    ) -> None:
        """Append a batch's trials to this process's part, and draw them."""
        chosen = _chosen(data)
        rows = split_rows(outputs["trial"], outputs["values"])
        with (self.parts / f"rank-{trainer.global_rank}.jsonl").open("a", encoding="utf-8") as part:
            indices = batch["index"].tolist()
            for index, samples, likeliest in zip(indices, rows, outputs["likeliest"].numpy(), strict=True):
                trial = self._trials[index]
                entry = entry_of(self._scenes[trial.scene], trial, samples, likeliest, chosen.get(trial.scene, {}))
                part.write(json.dumps({"index": index, **entry}, allow_nan=False) + "\n")
                if self.overlays < 0 or index < self.overlays:
                    self._draw(trainer, index, entry)

    def failed(self, data: ScanpathData | GridScanpathData) -> Mapping[str, str]:
        """Pictures that could not be read, with the reasons."""
        pictures = data.pictures if isinstance(data, ScanpathData) else None
        return {} if pictures is None else pictures.failed

    def join(
        self, trainer: Trainer, data: ScanpathData | GridScanpathData, failed: dict[str, str]
    ) -> tuple[dict[str, Any], str]:
        """Join the trials by index and write them."""
        found: dict[int, dict[str, Any]] = {}
        for path in sorted(self.parts.glob("rank-*.jsonl")):
            for line in path.read_text(encoding="utf-8").splitlines():
                # A loader that serves several processes equally repeats a trial; it counts once.
                entry = json.loads(line)
                found[entry.pop("index")] = entry
        entries = [found[index] for index in sorted(found)]
        with (self.folder / "scanpaths.json").open("w", encoding="utf-8") as stream:
            lines = ",\n".join(json.dumps(entry, allow_nan=False) for entry in entries)
            stream.write(f'{{"scanpaths": [\n{lines}\n]}}\n')
        pictures = data.pictures if isinstance(data, ScanpathData) else None
        paths = [path for entry in entries for path in entry["samples"]]
        summary = {
            "trials": len(entries),
            "pictures": len({entry["image"] for entry in entries}),
            "samples": len(paths),
            "samples_cut_at_the_greatest_length": sum(not path["terminated"] for path in paths),
            "mean_fixations": sum(len(path["objects"]) for path in paths) / len(paths) if paths else None,
            "failed": failed,
            "problems": {} if pictures is None else dict(data.protocol["problems"]),
            "not_reached": len(self._trials) - len(entries),
            "overlays": len(list(self.pictures.glob("*.png"))),
            "detector": None if pictures is None else pictures.settings.detector,
        }
        line = (
            f"{summary['samples']} scanpaths of {summary['trials']} trials ({len(failed)} pictures failed, "
            f"{summary['not_reached']} trials not reached)"
        )
        return summary, line

    def _draw(self, trainer: Trainer, index: int, entry: Mapping[str, Any]) -> None:
        trial = self._trials[index]
        scene = self._scenes[trial.scene]
        picture = open_picture(scene.image) if scene.image else None
        boxes = np.asarray(scene.boxes, dtype=np.float64)
        stage = Stage(scene.size, boxes, trial.targets, scene.labels, picture, scene.placement, PANEL)
        names = (("likeliest steps", entry["likeliest"]), ("a sample", entry["samples"][0]))
        paths = [_gaze(name, path, trial.given) for name, path in names]
        everything = np.concatenate([_points(path) for path in entry["samples"]])
        note = f"{len(entry['samples'])} samples"
        note += "; green: what counts as found" if trial.targets else ""
        note += "; circles: area by duration" if entry["likeliest"]["duration"] is not None else ""
        note += "; hollow: given" if trial.given else ""
        drawn = prediction_picture(stage, paths, everything, title=f"{trial.scene}: {_searched(trial)}", note=note)
        # Several observers may have seen one picture, so that its name alone does not tell trials apart.
        bare = str(Path(trial.scene).with_suffix("")) if is_picture(trial.scene) else trial.scene
        name = f"{index:06d}_{file_stem(bare)}.png"
        hidden = self.parts / f"rank-{trainer.global_rank}.png"
        drawn.save(hidden)
        hidden.replace(self.pictures / name)
        log_pictures(trainer, f"predict/{index:06d}", [drawn])


def entry_of(
    scene: Scene, trial: Trial, samples: Floats, likeliest: Floats, chosen: Mapping[str, Any]
) -> dict[str, Any]:
    """A trial's predictions in plain containers.

    Args:
        scene: Scene of the trial.
        trial: Trial.
        samples: Rows (K, 2 + 2 L) of `vision_suite.models.oat.rows.path_rows`.
        likeliest: Row (2 + 2 L,) of the likeliest steps.
        chosen: Facts on the choice of the target, in plain values.
    """
    return {
        "image": scene.name,
        "size": [float(side) for side in scene.size],
        "subject": trial.subject,
        "task": trial.task,
        "condition": Condition(trial.condition).name.lower(),
        "target": {"object": trial.target, "objects": list(trial.targets), **chosen},
        "given": trial.given,
        "boxes": [[round(float(side), 3) for side in box] for box in scene.boxes],
        "labels": list(scene.labels),
        "likeliest": _path(likeliest, scene),
        "samples": [_path(row, scene) for row in samples],
    }


def _path(row: Floats, scene: Scene) -> dict[str, Any]:
    objects, seconds, terminated, log_prob = path_of(row)
    points = centres_of(np.array(objects, dtype=np.int64), scene)
    times = [float(value) if math.isfinite(value) else None for value in seconds]
    if not math.isfinite(log_prob):
        raise DataError(f"the model gives a path in {scene.name!r} no probability ({log_prob}): its weights are broken")
    return {
        "objects": objects,
        "xy": [[round(float(x), 3), round(float(y), 3)] for x, y in points],
        "duration": None if all(value is None for value in times) else times,
        "log_prob": log_prob,
        "terminated": terminated,
    }


def _points(path: Mapping[str, Any]) -> Floats:
    return np.array(path["xy"], dtype=np.float64).reshape(-1, 2)


def _gaze(name: str, path: Mapping[str, Any], given: int) -> Gaze:
    duration = None if path["duration"] is None else np.array(path["duration"], dtype=np.float64)
    return Gaze(_points(path), f"{name} ({path['log_prob']:.1f} nats)", MODEL, duration, given)


def _searched(trial: Trial) -> str:
    if trial.condition == Condition.FREE:
        return "free viewing"
    what = trial.task or (f"object {trial.target}" if trial.target >= 0 else "a given target")
    return f"search for {what}" + ("" if trial.targets else ", which is not there")


def _chosen(data: ScanpathData | GridScanpathData) -> Mapping[str, Mapping[str, Any]]:
    """The ways in which the targets of predicted pictures were chosen, by scene."""
    return data.pictures.chosen if isinstance(data, ScanpathData) and data.pictures is not None else {}
