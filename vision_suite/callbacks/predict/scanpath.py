"""Predictions of scanpaths: the sampled paths of each trial as JSON, and a picture of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pytorch_lightning import LightningModule, Trainer

from vision_suite.callbacks.predict.base import BaseWriter, Tensors, log_pictures
from vision_suite.callbacks.run_dir import file_stem
from vision_suite.datasets.pictures.images import open_picture
from vision_suite.datasets.pictures.records import is_picture
from vision_suite.datasets.scanpath.base import ScanpathBase
from vision_suite.datasets.scanpath.grid import GridScanpathData
from vision_suite.drafts import replacing_text
from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.scanpath.report.trials import centres_of
from vision_suite.metrics.scanpath.report.words import what_is_searched
from vision_suite.models.oat.rows import PathArrays, split_rows, unpack_paths
from vision_suite.types import PADDING, Condition, Scene, Trial
from vision_suite.types.arrays import Floats
from vision_suite.types.scanpath.records import PredictedPath, TrialPrediction
from vision_suite.viz.scanpath.prediction import prediction_picture
from vision_suite.viz.scanpath.stage import MODEL, Backdrop, Gaze

PANEL = (560, 460)  # pixels of a panel's scene at most


class ScanpathWriter(BaseWriter[ScanpathBase | GridScanpathData]):
    """Writes predictions of scanpaths.

    ``scanpaths.json`` has an entry for each trial: the picture (``image``, ``size``), the ``target`` (its number, every
    object that counts as found, how it was chosen), the objects' ``boxes`` and ``labels``, the path of the
    ``likeliest`` steps and the drawn ``samples``. A path is ``objects`` (numbers of boxes, -2 for the background),
    ``xy`` in pixels (their centres), ``duration`` in seconds or null (one of them null where unknown), ``log_prob`` in
    nats and ``terminated`` (false: cut at the greatest length). The first ``given`` fixations are not predicted: on
    pictures given to predict one in the middle, if all of the network's training paths began with a given one.
    ``overlays/*.png`` show them on the picture, ``summary.json`` has counts, and pictures that failed with the reason.

    Args:
        overlays: Number of trials, from the first, that are drawn; -1 draws all, 0 none.
    """

    kind = ScanpathBase | GridScanpathData
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

    def start(self, trainer: Trainer, module: LightningModule, data: ScanpathBase | GridScanpathData) -> None:
        """Look up trials and scenes."""
        self._trials, self._scenes = data.trials("predict"), data.scenes("predict")

    def write(
        self,
        trainer: Trainer,
        module: LightningModule,
        data: ScanpathBase | GridScanpathData,
        outputs: Tensors,
        batch: Tensors,
    ) -> None:
        """Append a batch's trials to this process's part, and draw them."""
        chosen = _chosen(data)
        drawn = [unpack_paths(rows) for rows in split_rows(outputs["trial"], outputs["values"])]
        greedy = [unpack_paths(row[None]) for row in outputs["likeliest"].numpy()]
        with (self.parts / f"rank-{trainer.global_rank}.jsonl").open("a", encoding="utf-8") as part:
            indices = batch["index"].tolist()
            for index, samples, likeliest in zip(indices, drawn, greedy, strict=True):
                trial = self._trials[index]
                entry = entry_of(self._scenes[trial.scene], trial, samples, likeliest, chosen.get(trial.scene, {}))
                part.write(json.dumps({"index": index, **entry}, allow_nan=False) + "\n")
                if self.overlays < 0 or index < self.overlays:
                    self._draw(trainer, index, entry)

    def failed(self, data: ScanpathBase | GridScanpathData) -> Mapping[str, str]:
        """Pictures that could not be read, with the reasons."""
        pictures = data.pictures if isinstance(data, ScanpathBase) else None
        return {} if pictures is None else pictures.failed

    def join(
        self, trainer: Trainer, data: ScanpathBase | GridScanpathData, failed: dict[str, str]
    ) -> tuple[dict[str, object], str]:
        """Join the trials by index and write them."""
        found: dict[int, TrialPrediction] = {}
        for path in sorted(self.parts.glob("rank-*.jsonl")):
            for line in path.read_text(encoding="utf-8").splitlines():
                # A loader that serves several processes equally repeats a trial; it counts once.
                entry = json.loads(line)
                found[entry.pop("index")] = entry
        entries = [found[index] for index in sorted(found)]
        with replacing_text(self.folder / "scanpaths.json") as stream:
            lines = ",\n".join(json.dumps(entry, allow_nan=False) for entry in entries)
            stream.write(f'{{"scanpaths": [\n{lines}\n]}}\n')
        pictures = data.pictures if isinstance(data, ScanpathBase) else None
        paths = [path for entry in entries for path in entry["samples"]]
        summary: dict[str, object] = {
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

    def _draw(self, trainer: Trainer, index: int, entry: TrialPrediction) -> None:
        trial = self._trials[index]
        scene = self._scenes[trial.scene]
        picture = open_picture(scene.image) if scene.image else None
        boxes = np.asarray(scene.boxes, dtype=np.float64)
        stage = Backdrop(scene.size, boxes, trial.targets, scene.labels, picture, scene.placement, PANEL)
        names = (("likeliest steps", entry["likeliest"]), ("a sample", entry["samples"][0]))
        paths = [_gaze(name, path, trial.given) for name, path in names]
        everything = np.concatenate([_points(path) for path in entry["samples"]])
        note = f"{len(entry['samples'])} samples"
        note += "; green: what counts as found" if trial.targets else ""
        note += "; circles: area by duration" if entry["likeliest"]["duration"] is not None else ""
        note += "; hollow: given" if trial.given else ""
        searched = what_is_searched(trial.condition, trial.task, trial.target)
        drawn = prediction_picture(stage, paths, everything, title=f"{trial.scene}: {searched}", note=note)
        # Several observers may have seen one picture, so that its name alone does not tell trials apart.
        bare = str(Path(trial.scene).with_suffix("")) if is_picture(trial.scene) else trial.scene
        name = f"{index:06d}_{file_stem(bare)}.png"
        hidden = self.parts / f"rank-{trainer.global_rank}.png"
        drawn.save(hidden)
        hidden.replace(self.pictures / name)
        log_pictures(trainer, f"predict/{index:06d}", [drawn])


def entry_of(
    scene: Scene, trial: Trial, samples: PathArrays, likeliest: PathArrays, chosen: Mapping[str, object]
) -> TrialPrediction:
    """A trial's predictions in plain containers.

    Args:
        scene: Scene of the trial.
        trial: Trial.
        samples: K drawn paths.
        likeliest: The path of the likeliest steps.
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
        "likeliest": _path_entries(likeliest, scene)[0],
        "samples": _path_entries(samples, scene),
    }


def _path_entries(paths: PathArrays, scene: Scene) -> list[PredictedPath]:
    entries: list[PredictedPath] = []
    for sequence, duration, terminated, log_prob in zip(*paths, strict=True):
        if not math.isfinite(log_prob):
            raise DataError(
                f"the model gives a path in {scene.name!r} no probability ({log_prob}): its weights are broken"
            )
        length = int((sequence != PADDING).sum())
        times = [value if math.isfinite(value) else None for value in duration[:length].tolist()]
        points = centres_of(sequence[:length], scene).tolist()
        entries.append(
            {
                "objects": sequence[:length].tolist(),
                "xy": [[round(x, 3), round(y, 3)] for x, y in points],
                "duration": None if all(value is None for value in times) else times,
                "log_prob": float(log_prob),
                "terminated": bool(terminated),
            }
        )
    return entries


def _points(path: PredictedPath) -> Floats:
    return np.array(path["xy"], dtype=np.float64).reshape(-1, 2)


def _gaze(name: str, path: PredictedPath, given: int) -> Gaze:
    duration = None if path["duration"] is None else np.array(path["duration"], dtype=np.float64)
    return Gaze(_points(path), f"{name} ({path['log_prob']:.1f} nats)", MODEL, duration, given)


def _chosen(data: ScanpathBase | GridScanpathData) -> Mapping[str, Mapping[str, object]]:
    """The ways in which the targets of predicted pictures were chosen, by scene."""
    return data.pictures.chosen if isinstance(data, ScanpathBase) and data.pictures is not None else {}
