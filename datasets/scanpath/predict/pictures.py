"""Pictures of your own to predict scanpaths on: their objects, and what is searched for in them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from vision_suite.datasets.loading import BatchKey
from vision_suite.datasets.pictures.images import open_picture
from vision_suite.datasets.pictures.manifest import expand_inputs
from vision_suite.datasets.scanpath.batches import ScanpathBatches
from vision_suite.datasets.scanpath.geometry import grid_boxes
from vision_suite.datasets.scanpath.predict.boxes import Boxes, match_names, read_boxes
from vision_suite.datasets.scanpath.predict.word_vectors import word_vector
from vision_suite.datasets.scanpath.records import Scene, Trial
from vision_suite.datasets.scanpath.scenes import CropSettings, SceneInputs, cut
from vision_suite.detectors.zero_shot import Detector
from vision_suite.errors import ConfigError, DataError
from vision_suite.types import Condition
from vision_suite.types.arrays import Floats

SIDE = 32  # pixels of crops that are compared with the target's picture


@dataclass(frozen=True)
class PictureSettings:
    """What is predicted on; the arguments of `vision_suite.datasets.scanpath.data.ScanpathData` say what each means.

    Attributes:
        inputs: Pictures. boxes: File of boxes. detector: Open-vocabulary detector. queries: Its words.
        min_score: Its threshold. device: Where it runs. grid: Rows and columns.
        target: Word. target_box: Number of a box. target_crop: Picture. text_encoder: Turns the word into a vector.
        skip: Skip and note what fails, instead of stopping.
    """

    inputs: str
    boxes: str | None = None
    detector: str | None = None
    queries: tuple[str, ...] = ()
    min_score: float = 0.1
    device: str = "auto"
    grid: tuple[int, int] | None = None
    target: str | None = None
    target_box: int | None = None
    target_crop: str | None = None
    text_encoder: str | None = None
    skip: bool = False

    def __post_init__(self) -> None:
        """Refuse what contradicts itself, before any file is read."""
        if self.boxes and self.detector:
            raise ConfigError("boxes and detector are both given: take the objects from one of them")
        if not (self.boxes or self.detector or self.grid):
            raise ConfigError(
                "nothing says where the objects are: give --data.boxes FILE, --data.detector MODEL with "
                "--data.queries, or --data.grid '[rows, columns]'"
            )
        if self.detector and self.grid:
            raise ConfigError("detector with grid: detected objects stand freely, so leave --data.grid out")
        if self.queries and not self.detector:
            raise ConfigError("queries without a detector: give --data.detector MODEL")
        if self.grid is not None and min(self.grid) < 1:
            raise ConfigError(f"grid={list(self.grid)}: use 1 row and 1 column or more")
        named = [name for name in ("target", "target_box", "target_crop") if getattr(self, name) is not None]
        if len(named) > 1:
            raise ConfigError(f"{' and '.join(named)} are both given: name the target in one way")
        if self.target is not None and not (self.boxes or self.detector):
            raise ConfigError("a target by word needs labels: give --data.boxes or --data.detector, or a target_box")
        if self.text_encoder and self.target is None:
            raise ConfigError("text_encoder without a target: give --data.target WORD")


class PictureScenes:
    """Own pictures as scenes, each with one empty trial.

    Args:
        settings: What is predicted on.

    Attributes:
        names: Of the pictures. scenes: By name. trials: One a scene; both are known after `read`.
        failed: Reason by name of what was skipped. problems: What was changed or left out, by kind, and how often.
        chosen: By name how the target was found, in plain values.
    """

    def __init__(self, settings: PictureSettings) -> None:
        self.settings = settings
        found = [str(Path(path)) for path in expand_inputs(settings.inputs)]
        paths = list(dict.fromkeys(found))
        self.problems: Counter[str] = Counter(pictures_named_twice=len(found) - len(paths))
        top = os.path.commonpath([str(Path(path).absolute().parent) for path in paths])
        self._paths = {Path(os.path.relpath(Path(path).absolute(), top)).as_posix(): path for path in paths}
        self.names = list(self._paths)
        self.scenes: dict[str, Scene] = {}
        self.trials: list[Trial] = []
        self.failed: dict[str, str] = {}
        self.chosen: dict[str, dict[str, Any]] = {}

    def read(self) -> None:
        """Open every picture, find its objects, and choose its target.

        Raises:
            DataError: A picture is unreadable, has no usable boxes or lacks the target, and nothing is to be skipped;
                or none is left.
            ConfigError: The detector cannot be set up.
        """
        if self.scenes:
            return
        settings = self.settings
        given, entry = self._given()
        wanted = None if settings.target_crop is None else open_picture(settings.target_crop)
        detector = None
        if settings.detector:
            # What is searched for is looked for, too.
            words = [*settings.queries, *([settings.target] if settings.target and settings.queries else [])]
            detector = Detector(settings.detector, words, settings.min_score, settings.device)
        for name, path in self._paths.items():
            try:
                picture = open_picture(path)
                boxes = self._objects(name, picture, given, entry, detector)
                scene, trial = self._scene(name, path, picture, boxes, wanted)
            except DataError as error:
                if not settings.skip:
                    raise DataError(f"{error} (--data.on_bad_image skip leaves such pictures out)") from None
                self.failed[name] = str(error)
                rank_zero_warn(f"Skipped {name}: {error}")
                continue
            self.problems.update(boxes.notes)
            self.scenes[name] = scene
            self.trials.append(trial)
        if not self.scenes:
            first, reason = next(iter(self.failed.items()))
            raise DataError(f"none of {len(self.failed)} pictures can be used; the first, {first!r}: {reason}")
        counts = ", ".join(f"{count} {what}" for what, count in sorted(self.problems.items()) if count) or "none"
        rank_zero_info(
            f"predicting on {len(self.scenes)} of {len(self.names)} pictures with "
            f"{sum(len(scene.boxes) for scene in self.scenes.values())} objects; problems: {counts}"
        )

    def _given(self) -> tuple[dict[str, Boxes], dict[str, str]]:
        """The boxes of the file, and which of its entries each picture has."""
        if self.settings.boxes is None:
            return {}, {}
        given = read_boxes(self.settings.boxes)
        entry, others = match_names(self.names, list(given))
        if others:
            self.problems["boxes_of_other_pictures"] += len(others)
            rank_zero_warn(f"{self.settings.boxes!r} has boxes of {len(others)} other pictures (first: {others[0]!r})")
        return given, entry

    def _objects(
        self, name: str, picture: Image.Image, given: Mapping[str, Boxes], entry: Mapping[str, str],
        detector: Detector | None,
    ) -> Boxes:  # fmt: skip
        settings = self.settings
        if detector is not None:
            boxes = detector(picture)
            if not len(boxes.corners):
                raise DataError(
                    f"picture {name!r}: {settings.detector!r} finds nothing of {', '.join(detector.queries)} above "
                    f"min_score={settings.min_score}: give other words or a lower --data.min_score"
                )
        elif settings.boxes is not None:
            if name not in entry:
                raise DataError(f"picture {name!r} has no boxes in {settings.boxes!r}: add them under its name")
            boxes = given[entry[name]]
        else:
            assert settings.grid is not None
            rows, columns = settings.grid
            corners = grid_boxes(rows, columns, cell=(picture.width / columns, picture.height / rows))
            boxes = Boxes(corners, ("",) * len(corners), np.ones(len(corners), dtype=np.float32))
        boxes = boxes.inside(picture.size, name)
        if settings.grid is not None:
            check_grid(boxes, settings.grid, name)
        return boxes

    def _scene(
        self, name: str, path: str, picture: Image.Image, boxes: Boxes, wanted: Image.Image | None
    ) -> tuple[Scene, Trial]:
        settings = self.settings
        size = (float(picture.width), float(picture.height))
        scene = Scene(name, size, boxes.corners, boxes.labels, path, grid=settings.grid)
        condition = Condition.PRESENT
        targets: tuple[int, ...] = ()
        how: dict[str, Any] = {"by": "none"}
        if settings.target is not None:
            targets, how = boxes.labelled(settings.target), {"by": "word", "word": settings.target}
            if not targets and not settings.text_encoder:
                known = ", ".join(sorted({label for label in boxes.labels if label})) or "none"
                raise DataError(f"no box of {name!r} is labelled {settings.target!r}: its labels are {known}")
            # A word that a network reads may also be searched for in vain.
            condition = Condition.PRESENT if targets else Condition.ABSENT
        elif settings.target_box is not None:
            if not 0 <= settings.target_box < len(boxes.corners):
                raise DataError(f"target_box={settings.target_box}: {name!r} has boxes 0 to {len(boxes.corners) - 1}")
            targets, how = (settings.target_box,), {"by": "box"}
        elif wanted is not None:
            number, likeness = most_alike(picture, boxes, wanted)
            targets, how = (number,), {"by": "crop", "crop": settings.target_crop, "correlation": round(likeness, 4)}
        else:
            condition = Condition.FREE
        self.chosen[name] = how
        trial = Trial(
            scene=name,
            subject="",
            task=settings.target or "",
            condition=condition,
            targets=targets,
            target=targets[0] if targets else -1,
            sequence=np.zeros(0, dtype=np.int64),
            xy=np.zeros((0, 2), dtype=np.float32),
            duration=np.zeros(0, dtype=np.float32),
            terminated=False,
            target_image=settings.target_crop or "",
        )
        return scene, trial


class PictureBatches(ScanpathBatches):
    """Batches of own pictures.

    A network that knows its target apart from the scene gets the vector of the word, the given picture, or the crop of
    the target's box.

    Args:
        pictures: After `PictureScenes.read`.
        crops: How crops are made.
        target_given: Whether the network knows its target apart from the scene.

    Raises:
        ConfigError: There is a text encoder, but the network copies its target from the scene.
    """

    def __init__(self, pictures: PictureScenes, crops: CropSettings, *, target_given: bool) -> None:
        settings = pictures.settings
        if settings.text_encoder and not target_given:
            raise ConfigError("text_encoder is given, but the network copies its target from the scene: leave it out")
        inputs = _Inputs(pictures.scenes, crops)
        super().__init__(pictures.trials, pictures.scenes, inputs, target_given=target_given)
        self._word: Tensor | None = None
        if settings.text_encoder and settings.target:
            self._word = word_vector(settings.text_encoder, settings.target)

    def __getitem__(self, key: BatchKey) -> dict[str, Tensor]:
        batch = super().__getitem__(key)
        if self._word is not None:
            batch["target_features"] = self._word.expand(len(key.indices), -1).clone()
        return batch


class _Inputs(SceneInputs):
    """Crops, and of targets without a picture of their own the crop of the target's box."""

    def __init__(self, scenes: Mapping[str, Scene], crops: CropSettings) -> None:
        super().__init__(crops, lambda scene: "", keep=False)
        self._scenes = scenes

    def target(self, trial: Trial, shape: Sequence[int]) -> Tensor:
        if trial.target_image or trial.target < 0:
            return super().target(trial, shape)
        return self.objects(self._scenes[trial.scene])[trial.target]


def check_grid(boxes: Boxes, grid: tuple[int, int], name: str) -> None:
    """Refuse boxes that do not stand row by row on a grid.

    Raises:
        DataError: Their number is another, or a box is not right of the one before, or a row not below the one before.
    """
    rows, columns = grid
    if len(boxes.corners) != rows * columns:
        raise DataError(f"picture {name!r} has {len(boxes.corners)} boxes, which are no {rows} x {columns} grid")
    middle = ((boxes.corners[:, :2] + boxes.corners[:, 2:]) / 2).reshape(rows, columns, 2)
    if (np.diff(middle[..., 0], axis=1) <= 0).any() or (np.diff(middle[..., 1], axis=0) <= 0).any():
        raise DataError(f"boxes of {name!r} are not in the order of a grid: list them row by row, from left to right")


def most_alike(picture: Image.Image, boxes: Boxes, wanted: Image.Image) -> tuple[int, float]:
    """The box whose crop is most like a picture, and the correlation of the two.

    Both are resized to 32 x 32 pixels and compared by Pearson's correlation of all RGB values; a crop of one colour
    has none, which counts as 0.
    """
    own = _standardised(wanted)
    likeness = [float(_standardised(cut(picture, box)) @ own) for box in boxes.corners.astype(np.float64)]
    best = int(np.argmax(likeness))
    return best, likeness[best]


def _standardised(picture: Image.Image) -> Floats:
    small = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR), dtype=np.float64).reshape(-1)
    centred = small - small.mean()
    length = float(np.linalg.norm(centred))
    return np.asarray(centred / length) if length > 0 else centred
