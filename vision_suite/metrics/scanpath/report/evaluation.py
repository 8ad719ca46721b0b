"""The human trials of an evaluated split, against which every predictor is scored, and the settings of the scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from vision_suite.metrics.scanpath.pairwise.scores import PairSettings, Stimulus
from vision_suite.metrics.scanpath.paths import Scanpath
from vision_suite.metrics.scanpath.report.compare import GroupedPaths
from vision_suite.metrics.scanpath.report.trials import human_path, stimuli, stimulus_in
from vision_suite.types import Scene, Trial

SETTINGS = PairSettings()  # of the scores of pairs in every report


@dataclass(frozen=True)
class Evaluation:
    """Human trials and the settings of the scores.

    Attributes:
        trials: Recorded trials of the evaluated split.
        scenes: Scenes by name.
        include_given: Count given fixations as if they had been predicted.
        scores: Names of scores of pairs.
        resamples: Number of bootstrap draws over stimuli.
        seed: Seed of the draws.
    """

    trials: Sequence[Trial]
    scenes: Mapping[str, Scene]
    include_given: bool
    scores: Sequence[str]
    resamples: int
    seed: int

    @cached_property
    def groups(self) -> list[list[int]]:
        """Indices of the trials of each stimulus."""
        return stimuli(self.trials)

    @cached_property
    def searched(self) -> list[list[int]]:
        """Indices of the trials of each stimulus with a target; without one, as in free viewing, no end is correct."""
        return [group for group in self.groups if self.trials[group[0]].targets]

    @cached_property
    def humans(self) -> list[list[Scanpath]]:
        """Path of the observer of each trial, in a list of its own."""
        return [[human_path(trial, scene)] for trial, scene in self.paired()]

    @cached_property
    def stimuli(self) -> list[Stimulus]:
        """Facts of each stimulus for scores of pairs."""
        return [stimulus_in(self.scenes[self.trials[group[0]].scene]) for group in self.groups]

    def paired(self) -> list[tuple[Trial, Scene]]:
        """Each trial with its scene."""
        return [(trial, self.scenes[trial.scene]) for trial in self.trials]

    def compared(self, path: Scanpath, trial: Trial) -> Scanpath:
        """The part of a path that counts: without the given fixations of its trial, unless these are included."""
        return path if self.include_given else path.after(trial.given)

    def by_stimulus(self, paths: GroupedPaths) -> list[list[Scanpath]]:
        """The parts that count of the paths of each trial, gathered by stimulus."""
        return [[self.compared(path, self.trials[n]) for n in group for path in paths[n]] for group in self.groups]
