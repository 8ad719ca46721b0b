"""Whom the human ceiling compares a person with, where that is not the other people of its stimulus and part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from vision_suite.metrics.scanpath.paths import Scanpath
from vision_suite.metrics.scanpath.report.protocol import human_pairs
from vision_suite.metrics.scanpath.report.table import CEILING
from vision_suite.metrics.scanpath.report.trials import (
    SceneLike,
    TrialLike,
    human_path,
    stimulus_of,
    windows_like,
    without_first,
)

WINDOWS = (
    "human ceiling of each piece against the windows of other people's recordings that begin with the same given "
    "fixations, as long as the piece; pieces without one left out"
)
OTHERS = (
    "human ceiling of each person against the people of the training part on the same stimulus, for no stimulus has "
    "two people here; stimuli without any left out"
)


def company(
    trials: Sequence[TrialLike],
    groups: Sequence[Sequence[int]],
    scenes: Mapping[str, SceneLike],
    recordings: Sequence[TrialLike],
    training: Sequence[TrialLike],
    include_given: bool,
) -> tuple[list[list[Scanpath]] | None, str]:
    """Paths of other people by trial, or None for those of its stimulus; and what the ceiling then is, in words.

    Pieces of recordings seldom begin alike, so they meet windows. A split by subject leaves one person a stimulus, who
    meets those of the training part.

    Args:
        trials: People's, of the evaluated split.
        groups: Places of the trials of each stimulus.
        scenes: By name.
        recordings: Whole recordings of the evaluated split, where trials are pieces.
        training: Whole recordings of the training part.
        include_given: Whether given fixations count.
    """
    windows = bool(recordings) and all(trial.recording >= 0 for trial in trials)
    if not windows and any(human_pairs([trials[n].subject or None for n in group]) for group in groups):
        return None, CEILING
    known: defaultdict[str, list[TrialLike]] = defaultdict(list)
    for other in (*(recordings if windows else ()), *training):
        known[other.scene].append(other)
    found = []
    for trial in trials:
        scene = scenes[trial.scene]
        if windows:
            drop = 0 if include_given else trial.given
            found.append([without_first(path, drop) for path in windows_like(trial, known[trial.scene], scene)])
        else:
            others = [
                o for o in known[trial.scene] if o.subject != trial.subject and stimulus_of(o) == stimulus_of(trial)
            ]
            found.append([without_first(human_path(o, scene), 0 if include_given else o.given) for o in others])
    if windows:
        return found, WINDOWS
    return (found, OTHERS) if any(found) else (None, CEILING)
