"""Predictions of videos: detections as JSON and CSV, and a timeline of each video."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from pytorch_lightning import LightningModule, Trainer

from vision_suite.callbacks.predict.base import BaseWriter, Tensors, log_pictures
from vision_suite.callbacks.run_dir import file_stem
from vision_suite.datasets.tad.data import TADData
from vision_suite.drafts import replacing_text, write_whole
from vision_suite.errors import ConfigError
from vision_suite.metrics.tad.operating_point import described, short_list
from vision_suite.models.csa.detections import CELLS, class_probabilities, to_proposals
from vision_suite.models.csa.merging import VideoMerger
from vision_suite.models.csa.postprocess import PostProcess, label
from vision_suite.types.arrays import Floats
from vision_suite.types.tad import Annotation, Detection
from vision_suite.video.decode import thumbnails
from vision_suite.viz.tad.timeline import Timeline, timeline

POINTS = 2048  # more than a picture is wide


class DetectionWriter(BaseWriter[TADData]):
    """Writes predictions of videos, one video after another; frames and features are never kept.

    Of an open video it holds what `VideoMerger` does and a curve of a fixed number of points.

    ``actions.csv`` and ``actions.json`` are the short list: spans without overlap, one label each, above the thresholds
    of the checkpoint (video, start and end in seconds, label, score). ``detections.json`` (ActivityNet's result format,
    which the official evaluator takes) and ``detections.csv`` hold every ranked detection. ``timelines/<video>.png``
    draws the short list, with thumbnails for video files; ``summary.json`` has counts, the rule of the short list, and
    videos that failed and why.

    Args:
        timelines: Number of videos, from the first, that are drawn; -1 draws all, 0 none.
        pictures: Number of thumbnails of a timeline.
    """

    kind = TADData
    keys = frozenset({"sequence", "values", "index", "classes", "curves"})
    pictures_folder = "timelines"
    needs = "detections of videos need --data TADData"

    def __init__(self, timelines: int = 32, pictures: int = 12) -> None:
        if timelines < -1 or pictures < 0:
            raise ConfigError(f"timelines={timelines}, pictures={pictures}: give numbers, -1 for all timelines")
        super().__init__()
        self.timelines, self.thumbnails = timelines, pictures
        self._video: _Open | None = None
        self._point: Mapping[str, Any] = {}

    def start(self, trainer: Trainer, module: LightningModule, data: TADData) -> None:
        """Forget a video of an earlier prediction, and take the thresholds of the module."""
        self._video = None
        self._point = getattr(module, "operating_point", {})

    def write(self, trainer: Trainer, module: LightningModule, data: TADData, outputs: Tensors, batch: Tensors) -> None:
        """Take a batch of windows of one video; after its last window write the video."""
        index = int(batch["video"][0])
        if self._video is None or self._video.index != index:
            # A video that could not be read to its end never closes; the next one replaces it.
            self._video = _Open(index, module.post)  # type: ignore[arg-type]
        self._video.add(outputs, batch)
        if not np.isfinite(float(batch["horizon"][-1])):
            self._write(trainer, data, self._video)
            self._video = None

    def failed(self, data: TADData) -> Mapping[str, str]:
        """Videos that could not be read, with the reasons."""
        return data.files.failed if data.files is not None else {}

    def join(self, trainer: Trainer, data: TADData, failed: dict[str, str]) -> tuple[dict[str, object], str]:
        """Join the videos and write their detections."""
        found = {}
        for path in sorted(self.parts.glob("video-*.json")):
            entry = json.loads(path.read_text(encoding="utf-8"))
            found[entry["video"]] = entry
        results = {name: entry["detections"] for name, entry in found.items()}
        text = json.dumps({"version": "VERSION 1.3", "results": results, "external_data": {}}, allow_nan=False)
        write_whole(self.folder / "detections.json", text + "\n")
        with replacing_text(self.folder / "detections.csv") as stream:
            writer = csv.writer(stream)
            writer.writerow(["video", "label", "score", "start", "end"])
            for name, entries in results.items():
                for e in entries:
                    start, end = e["segment"]
                    writer.writerow([name, e["label"], f"{e['score']:.6f}", f"{start:.3f}", f"{end:.3f}"])
        actions = [
            {"video": name, "start": a["segment"][0], "end": a["segment"][1], "label": a["label"], "score": a["score"]}
            for name, entry in found.items()
            for a in entry["actions"]
        ]
        rule = described(self._point)
        listed = {"rule": rule, "operating_point": self._point, "actions": actions}
        write_whole(self.folder / "actions.json", json.dumps(listed, indent=1, allow_nan=False) + "\n")
        with replacing_text(self.folder / "actions.csv") as stream:
            writer = csv.writer(stream)
            writer.writerow(["video", "start", "end", "label", "score"])
            for a in actions:
                writer.writerow([a["video"], f"{a['start']:.3f}", f"{a['end']:.3f}", a["label"], f"{a['score']:.6f}"])
        summary = {
            "videos": len(found),
            "actions": len(actions),
            "short_list": rule,
            "detections": sum(map(len, results.values())),
            "seconds": round(sum(entry["seconds"] for entry in found.values()), 3),
            "windows": sum(entry["windows"] for entry in found.values()),
            "failed": failed,
            "files_passed_over": data.files.passed_over if data.files is not None else 0,
            "not_reached": len(data.videos("predict")) - len(found) - len(failed),
            "timelines": len(list(self.pictures.glob("*.png"))),
        }
        line = (
            f"{len(actions)} actions in {summary['videos']} videos ({len(failed)} failed, {summary['not_reached']} not "
            f"reached), the best of {summary['detections']} detections by {rule}"
        )
        return summary, line

    def _write(self, trainer: Trainer, data: TADData, video: _Open) -> None:
        """Write the file and the timeline of a finished video."""
        name = data.videos("predict")[video.index].name
        detections = video.detections(data.class_names)
        actions = short_list(detections, self._point)
        entry = {"video": name, "seconds": video.duration, "windows": video.windows}
        entry |= {"detections": detections, "actions": actions}
        path = self.parts / f"video-{video.index:08d}.json"
        path.write_text(json.dumps(entry, allow_nan=False), encoding="utf-8")
        if self.timelines >= 0 and video.index >= self.timelines:
            return
        files = data.files
        pictures = (
            thumbnails(files.paths[video.index], self.thumbnails) if files is not None and self.thumbnails else []
        )
        known = data.videos("predict")[video.index].actions
        truth: list[Annotation] = [{"label": a.label, "segment": [a.start, a.end]} for a in known]
        drawn = timeline(
            Timeline(video.duration, actions, truth if files is None else None, video.curve.points, pictures),
            title=name,
            classes=data.class_names,
        )
        safe = file_stem(name)
        drawn.save(self.pictures / f"{safe}.png")
        log_pictures(trainer, f"predict/{safe}", [drawn])


class _Open:
    """A video of which windows arrive."""

    def __init__(self, index: int, post: PostProcess) -> None:
        self.index, self.post = index, post
        self.duration, self.windows = 0.0, 0
        self.merger, self.curve = VideoMerger(post), _Curve()
        self._classes: Floats | None = None
        self._outside = False

    def add(self, outputs: Tensors, batch: Tensors) -> None:
        """Take the windows of a batch, in order."""
        sequence, values = outputs["sequence"].cpu().numpy(), outputs["values"].cpu().numpy()
        classes = outputs["classes"].cpu().numpy()[:, CELLS:]
        self._classes = classes.sum(0) if self._classes is None else self._classes + classes.sum(0)
        self._outside = "video_scores" in batch
        facts = {name: batch[name].cpu().numpy() for name in ("origin", "cell_seconds", "duration", "horizon", "valid")}
        curves = outputs["curves"].float().cpu().numpy()
        for row in range(len(curves)):
            self.windows += 1
            self.duration = max(self.duration, float(facts["duration"][row]))
            begin, horizon = float(facts["origin"][row]), float(facts["horizon"][row])
            self.merger.add(to_proposals(values[sequence == row]), begin, horizon, self.duration)
            cells = int(facts["valid"][row].sum())
            seconds = begin + (np.arange(cells) + 0.5) * float(facts["cell_seconds"][row])
            shown = seconds < horizon  # the next window shows the rest
            gate = outputs["gates"][row].cpu().numpy()[:cells] if "gates" in outputs else np.full(cells, np.nan)
            self.curve.add(np.stack([seconds, *curves[row, :, :cells], gate])[:, shown])

    def detections(self, names: list[str]) -> list[Detection]:
        """All detections of the finished video, best first."""
        scores = None
        if self.post.class_scope == "video":
            assert self._classes is not None
            mean = self._classes[1:] / max(self._classes[0], 1)
            scores = mean if self._outside else class_probabilities(self._classes[None])[0]
        return label(self.merger.close(self.duration), scores, names, self.post)


class _Curve:
    """Seconds, start, end and gate of a video's cells, at most 2 * `POINTS` points.

    Points of a long video hold several cells each: the highest probabilities and the mean gate.
    """

    def __init__(self) -> None:
        self._each = 1  # cells of a point
        self._rest = self.points = np.zeros((4, 0))

    def add(self, cells: Floats) -> None:
        """Take the next cells (4, n)."""
        cells = np.concatenate([self._rest, cells], axis=1)
        whole = cells.shape[1] // self._each * self._each
        self._rest = cells[:, whole:]
        self.points = np.concatenate([self.points, _thinned(cells[:, :whole], self._each)], axis=1)
        while self.points.shape[1] > 2 * POINTS:
            self._each *= 2
            even = self.points.shape[1] // 2 * 2
            self.points = np.concatenate([_thinned(self.points[:, :even], 2), self.points[:, even:]], axis=1)


def _thinned(cells: Floats, each: int) -> Floats:
    """Every ``each`` cells (4, n) as one point."""
    parts = cells.reshape(4, -1, each)
    return np.concatenate([parts[:1].mean(2), parts[1:3].max(2), parts[3:].mean(2)])
