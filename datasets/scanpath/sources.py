"""Reading a scanpath data set by its layout, and the facts of that for the protocol."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from vision_suite.datasets.pictures.records import Record, fingerprint
from vision_suite.datasets.scanpath.assign import AssignRule, Rule, Unassigned, fractions
from vision_suite.datasets.scanpath.readers.amazon_covers import LENGTH_DEVIATIONS, read_amazon_covers
from vision_suite.datasets.scanpath.readers.coco_search import read_coco_scanpaths
from vision_suite.datasets.scanpath.readers.shelf_sheets import read_shelf_sheets
from vision_suite.datasets.scanpath.readers.table import read_scanpath_table
from vision_suite.datasets.scanpath.records import ScanpathSet, drop_long
from vision_suite.datasets.scanpath.times import Unit
from vision_suite.errors import ConfigError
from vision_suite.types import Condition, Trial

ScanpathLayout = Literal["amazon_covers", "shelf_sheets", "coco_search18", "coco_freeview", "table"]
GRIDS = ("amazon_covers", "shelf_sheets")


@dataclass(frozen=True)
class Source:
    """A data set on disk; the arguments of `vision_suite.datasets.scanpath.data.ScanpathData` explain its settings.

    Attributes:
        layout: On-disk layout.
        folder: Folder of the data set.
        annotations: Fixation files or spreadsheets; None for those with the usual names.
        instances: COCO instance files; None for those with the usual names.
        images: Folder of the pictures.
        task_features: Folder with a vector of each task.
        assign: Kind of rule from pixels to objects; None for the layout's usual one.
        max_offset: Pixels from the nearest edge within which a fixation still counts.
        unassigned: Treatment of fixations on no object.
        length_deviations: Standard deviations of length beyond which trials are left out; None for the usual number.
        duration_unit: Unit of the durations; None for the one that the files name or tell.
    """

    layout: ScanpathLayout
    folder: Path
    annotations: list[str] | None
    instances: list[str] | None
    images: str
    task_features: str | None
    assign: Rule | None
    max_offset: float | None
    unassigned: Unassigned
    length_deviations: float | None
    duration_unit: Unit | None = None

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        if self.length_deviations is not None and not 0 <= self.length_deviations < math.inf:
            raise ConfigError(f"length_deviations={self.length_deviations}: use 0 (leaves no trial out) or more")

    @property
    def rule(self) -> AssignRule:
        """Rule from pixels to objects."""
        usual: Rule = "first_box" if self.layout in GRIDS else "smallest_box"
        return AssignRule(self.assign or usual, self.max_offset, self.unassigned)

    def read(self) -> ScanpathSet:
        """Scenes and trials, without the trials that are too long or too short for the set.

        Raises:
            DataError: Files are missing or malformed.
        """
        folder, rule = self.folder, self.rule
        unit = self.duration_unit
        coco = (self.annotations, self.instances, self.images, rule, unit)
        readers: dict[ScanpathLayout, Callable[[], ScanpathSet]] = {
            "amazon_covers": lambda: read_amazon_covers(folder, rule),
            "shelf_sheets": lambda: read_shelf_sheets(folder, self.annotations, self.images, unit),
            "coco_search18": lambda: read_coco_scanpaths(folder, "coco_search18", *coco),
            "coco_freeview": lambda: read_coco_scanpaths(folder, "coco_freeview", *coco),
            "table": lambda: read_scanpath_table(folder, rule, unit),
        }
        found = readers[self.layout]()
        found.check()
        if self.task_features is not None:
            found.trials = [with_task_vector(trial, folder / self.task_features) for trial in found.trials]
        usual = LENGTH_DEVIATIONS if self.layout == "amazon_covers" else 0.0
        deviations = usual if self.length_deviations is None else self.length_deviations
        if deviations > 0:
            drop_long(found, deviations)
        return found

    def facts(self, found: ScanpathSet, vectors: bool) -> dict[str, object]:
        """Facts of the set for its protocol.

        Args:
            found: Scenes and trials as `read` gives them.
            vectors: Whether targets are read from files of vectors.
        """
        used = {trial.scene for trial in found.trials}
        files = {scene.image for name, scene in found.scenes.items() if name in used and scene.image}
        if vectors:
            files |= {trial.target_features for trial in found.trials if trial.target_features}
        lists = [path for path in sorted(found.root.iterdir()) if path.suffix in (".json", ".jsonl", ".csv", ".xlsx")]
        return {
            "dataset": self.layout,
            "root": str(self.folder),
            "problems": {name: count for name, count in sorted(found.problems.items()) if count},
            "assignment": {
                "rule": self.rule.kind,
                "max_offset": "half the object pitch" if self.max_offset is None else self.max_offset,
                "unassigned": self.unassigned,
                "fractions": fractions(found.rules),
            },
            **({"warnings": list(found.warnings)} if found.warnings else {}),
            "durations": any((trial.duration == trial.duration).any() for trial in found.trials),
            "conditions": sorted({Condition(trial.condition).name.lower() for trial in found.trials}),
            **found.notes,
            "fingerprint": fingerprint(self.folder, [Record(str(path), -1) for path in [*sorted(files), *lists]]),
        }


def with_task_vector(trial: Trial, folder: Path) -> Trial:
    """A trial with the vector of its task; free viewing has none."""
    return replace(trial, target_features=str(folder / f"{trial.task}.npy")) if trial.task else trial
