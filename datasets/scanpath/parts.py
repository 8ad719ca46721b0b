"""A scanpath data set dealt out to training, validation and test, with its recordings cut into pieces."""

from __future__ import annotations

from dataclasses import dataclass

from vision_suite.datasets.scanpath.appearance import AppearanceSettings, ObjectAppearance
from vision_suite.datasets.scanpath.augment import SceneAugment
from vision_suite.datasets.scanpath.records import counts
from vision_suite.datasets.scanpath.sources import Source
from vision_suite.datasets.scanpath.splits import STAGES, SplitSettings, split_trials
from vision_suite.datasets.scanpath.windows import Windows
from vision_suite.errors import ConfigError
from vision_suite.types import BACKGROUND, Scene, Trial


@dataclass(frozen=True, eq=False)
class ScanpathParts:
    """Scenes and trials by stage, and what a network and a reader of the metrics must know about them.

    Attributes:
        scenes: Scenes by name.
        recordings: Whole recordings by stage; predict takes those of the test part.
        trials: Trials by stage as batches have them: pieces, where recordings are cut.
        appearance: Form in which a network sees objects and targets.
        protocol: Facts for a reader of the metrics.
    """

    scenes: dict[str, Scene]
    recordings: dict[str, list[Trial]]
    trials: dict[str, list[Trial]]
    appearance: ObjectAppearance
    protocol: dict[str, object]

    @property
    def num_objects(self) -> int:
        """Largest number of objects in a scene."""
        return max(len(scene.boxes) for scene in self.scenes.values())

    @property
    def num_positions(self) -> int:
        """Rows or columns of the largest grid, whichever is more; 0 where objects of a scene stand freely."""
        grids = [scene.grid for scene in self.scenes.values()]
        return max(max(grid or (0,)) for grid in grids) if None not in grids else 0

    @property
    def beginning(self) -> dict[str, bool]:
        """Facts of training paths: all begin with a given fixation, and any fixation is on the background."""
        trained = self.trials["fit"]
        return {
            "given": bool(trained) and all(trial.given > 0 for trial in trained),
            "background": any(bool((trial.sequence == BACKGROUND).any()) for trial in trained),
        }


def read_parts(
    source: Source, split: SplitSettings, windows: Windows, augment: SceneAugment, settings: AppearanceSettings
) -> ScanpathParts:
    """Read a data set, deal its recordings out to the stages, and cut them into pieces.

    Args:
        source: Data set on disk.
        split: Rule of the split.
        windows: Lengths of the pieces.
        augment: Changes to training scenes, which must suit the data.
        settings: Appearance of objects and targets.

    Raises:
        ConfigError: Settings contradict each other or the data.
        DataError: The data set is missing, incomplete or malformed, or an image lies in two parts.
    """
    found = source.read()
    recordings, facts = split_trials(found, split)
    trials: dict[str, list[Trial]] = {}
    for stage in STAGES:
        trials[stage], lost = windows.cut(recordings[stage], stage)
        found.problems[f"fixations_in_no_window_of_{stage}"] += lost
    if augment.shift > 0 and any(scene.grid is not None for scene in found.scenes.values()):
        raise ConfigError(f"shift={augment.shift:g} would move objects off their grid: use 0 for {source.layout}")
    appearance = ObjectAppearance.of(found, source.folder, settings)
    if appearance.width is None and augment.hide > 0:
        raise ConfigError(f"hide={augment.hide:g} hides vectors, but objects are crops: use 0")
    protocol = {
        **source.facts(found, appearance.objects == "features"),
        "split": facts,
        "validation": facts["rule"] if trials["validate"] else "none",
        "test_used_for_validation": False,
        "counts": {stage: counts(recordings[stage]) for stage in STAGES},
        "objects": appearance.objects,
        "target_from": appearance.target_from,
        "window": windows.facts(STAGES),
        "augment": {"shift": augment.shift, "hide": augment.hide},
        "max_length": longest(trials["fit"]),
    }
    return ScanpathParts(
        scenes=found.scenes,
        recordings={**recordings, "predict": recordings["test"]},
        trials={**trials, "predict": trials["test"]},
        appearance=appearance,
        protocol=protocol,
    )


def longest(trials: list[Trial]) -> int:
    """Number of fixations of the longest trial, 0 where there is none."""
    return max((trial.length for trial in trials), default=0)
