"""Pictures given to predict as scenes: each with its objects and one trial without a path."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn

from vision_suite.datasets.base import problem_list
from vision_suite.datasets.pictures.images import open_picture
from vision_suite.datasets.pictures.manifest import find_inputs
from vision_suite.datasets.scanpath.predict.objects import NothingDetectedError, ObjectFinder
from vision_suite.datasets.scanpath.predict.settings import PictureSettings
from vision_suite.datasets.scanpath.predict.targets import Target, choose_target
from vision_suite.datasets.scanpath.records import check_scene
from vision_suite.detectors.boxes import ObjectBoxes
from vision_suite.errors import DataError
from vision_suite.types import Scene, Trial


class PictureScenes:
    """Pictures given to predict as scenes, each with one trial without a path.

    Args:
        settings: Pictures, the source of their objects, and the target.

    Attributes:
        settings: The same settings.
        names: Names of the pictures: their paths below the folder that holds all.
        scenes: Scenes by name, known after `read`.
        trials: One trial a scene, known after `read`.
        failed: Reasons by name for the pictures that were skipped.
        problems: Number of what was changed or left out, by kind.
        chosen: Way in which the target was chosen by name, in plain values.
    """

    def __init__(self, settings: PictureSettings) -> None:
        self.settings = settings
        inputs = find_inputs(settings.inputs)
        found = [str(path) for path in inputs.files]
        paths = list(dict.fromkeys(found))
        self.problems: Counter[str] = Counter(
            files_passed_over=inputs.number_passed_over, pictures_named_twice=len(found) - len(paths)
        )
        top = os.path.commonpath([str(Path(path).absolute().parent) for path in paths])
        self._paths = {Path(os.path.relpath(Path(path).absolute(), top)).as_posix(): path for path in paths}
        self.names = list(self._paths)
        self.scenes: dict[str, Scene] = {}
        self.trials: list[Trial] = []
        self.failed: dict[str, str] = {}
        self.chosen: dict[str, dict[str, object]] = {}

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
        find = ObjectFinder(settings, self.names)
        self.problems["boxes_of_other_pictures"] += find.strangers
        wanted = None if settings.target_crop is None else open_picture(settings.target_crop)
        for name, path in self._paths.items():
            try:
                picture = open_picture(path)
                boxes = find(name, picture)
                target = choose_target(settings, name, picture, boxes, wanted)
                scene = _scene(name, path, picture, boxes, settings)
            except DataError as error:
                if not settings.skip:
                    raise DataError(f"{error} (--data.on_bad_image skip leaves such pictures out)") from None
                self.failed[name] = str(error)
                self.problems["pictures_without_detection"] += isinstance(error, NothingDetectedError)
                self.problems["pictures_left_out"] += 1
                rank_zero_warn(f"Skipped {name}: {error}")
                continue
            self.problems.update(boxes.notes)
            self.scenes[name], self.chosen[name] = scene, target.chosen
            self.trials.append(_trial(name, target, settings))
        if not self.scenes:
            first, reason = next(iter(self.failed.items()))
            raise DataError(f"none of {len(self.failed)} pictures can be used; the first, {first!r}: {reason}")
        objects = [len(scene.boxes) for scene in self.scenes.values()]
        rank_zero_info(
            f"predicting on {len(self.scenes)} of {len(self.names)} pictures with {sum(objects)} objects "
            f"({min(objects)} to {max(objects)} a picture); "
            f"problems: {problem_list(self.known_problems())}"
        )

    def known_problems(self) -> dict[str, int]:
        """Number of what was changed or left out, by kind in order, without those that never happened."""
        return {name: count for name, count in sorted(self.problems.items()) if count}


def _scene(name: str, path: str, picture: Image.Image, boxes: ObjectBoxes, settings: PictureSettings) -> Scene:
    size = (float(picture.width), float(picture.height))
    return check_scene(Scene(name, size, boxes.corners, boxes.labels, path, grid=settings.grid))


def _trial(name: str, target: Target, settings: PictureSettings) -> Trial:
    return Trial(
        scene=name,
        subject="",
        task=settings.target or "",
        condition=target.condition,
        targets=target.objects,
        target=target.objects[0] if target.objects else -1,
        sequence=np.zeros(0, dtype=np.int64),
        xy=np.zeros((0, 2), dtype=np.float32),
        duration=np.zeros(0, dtype=np.float32),
        terminated=False,
        target_image=settings.target_crop or "",
    )
