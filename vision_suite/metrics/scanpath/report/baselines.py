"""Simple predictors of scanpaths that a model must beat: random objects, the next object, frequent offsets.

An offset is the next object's index minus this one's: in reading +1 is the next word, on a grid in row-major order +1
is the neighbour to the right. Paths of all three are as long as the recorded one and begin with the given fixations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.scanpath.paths import Scanpath
from vision_suite.metrics.scanpath.report.trials import sampled_path
from vision_suite.types import BACKGROUND, Scene, Trial
from vision_suite.types.arrays import Floats, Ints

SMOOTHING = 0.05


@dataclass(frozen=True)
class Choices:
    """Events beside a fixation on an object that can come next.

    Attributes:
        background: True if fixations on no object occur.
        ends: True if paths end by themselves.
    """

    background: bool
    ends: bool

    @classmethod
    def of(cls, trials: Sequence[Trial]) -> Choices:
        """Events that occur in trials."""
        return cls(any(BACKGROUND in t.sequence for t in trials), any(t.terminated for t in trials))


@dataclass(frozen=True)
class OffsetHistogram:
    """Histogram of the offsets between the indices of successive objects.

    p(j | i) is proportional to the count of j - i, plus ``smoothing``, over the objects of the scene. The first
    fixation, and the one behind the background, fall on all objects with equal probability. Background and end have a
    constant probability.

    Attributes:
        counts: Number of transitions by offset.
        background: Probability of the background.
        end: Probability of the end.
        smoothing: Number added to the count of each offset.
        unused: Number of transitions from or to the background.
    """

    counts: Mapping[int, int]
    background: float
    end: float
    smoothing: float
    unused: int

    def transitions(self, objects: int) -> Floats:
        """(N + 1, N) probability of each object behind each object, and in the last row behind anything else."""
        line = np.array([self.counts.get(offset, 0) for offset in range(1 - objects, objects)], dtype=np.float64)
        index = np.arange(objects)
        table = np.ones((objects + 1, objects))
        table[:objects] = (line + self.smoothing)[index - index[:, None] + objects - 1]
        probabilities: Floats = table / table.sum(axis=1, keepdims=True)
        return probabilities

    def log_probabilities(self, sequence: npt.ArrayLike, objects: int) -> Floats:
        """(L + 1, N + 2) log probability of each object, the background and the end before each decision, nats.

        Args:
            sequence: (L,) int64 objects or ``BACKGROUND`` of an observer.
            objects: Number of objects N.
        """
        table = self.transitions(objects)[_before(sequence, objects)]
        return _with_rest(table, self.background, self.end)


def fit_offsets(trials: Sequence[Trial], choices: Choices, smoothing: float = SMOOTHING) -> OffsetHistogram:
    """The histogram of training trials.

    Args:
        trials: Whole recordings rather than windows, so that no transition is missed or counted twice.
        choices: Possible events beside objects; others get no probability.
        smoothing: Number added to the count of each offset, above 0.

    Raises:
        ConfigError: Smoothing is not above 0, so that an unseen offset would be impossible.
        DataError: There is no transition.

    Example:
        >>> from vision_suite.types import Condition, Trial
        >>> sequence, xy, seconds = np.array([0, 1, 2, 2]), np.zeros((4, 2)), np.ones(4)
        >>> trial = Trial("page", "ann", "", Condition.FREE, (), -1, sequence, xy, seconds)
        >>> histogram = fit_offsets([trial], Choices(background=False, ends=True))
        >>> dict(histogram.counts), histogram.transitions(3)[0].round(2).tolist()
        ({1: 2, 0: 1}, [0.33, 0.65, 0.02])
    """
    if not smoothing > 0:
        raise ConfigError(f"smoothing={smoothing:g} makes unseen offsets impossible: use a number above 0")
    counts: Counter[int] = Counter()
    unused = to_background = total = 0
    for trial in trials:
        now, after = trial.sequence[:-1], trial.sequence[1:]
        seen = (now != BACKGROUND) & (after != BACKGROUND)
        counts.update((after - now)[seen].tolist())
        unused += int((~seen).sum())
        to_background += int((after == BACKGROUND).sum())
        total += len(after)
    if not counts:
        raise DataError(f"{len(trials)} training trials hold no transition from object to object: give longer ones")
    ends = sum(trial.terminated for trial in trials)
    share = (to_background + smoothing) / (total + 2 * smoothing)
    end = (ends + smoothing) / (total + ends + 2 * smoothing)
    return OffsetHistogram(
        counts, share if choices.background else 0.0, end if choices.ends else 0.0, smoothing, unused
    )


def uniform_log_probabilities(sequence: npt.ArrayLike, objects: int, choices: Choices) -> Floats:
    """(L + 1, N + 2) log probabilities, nats, if each object, the background and the end are equally likely.

    Example:
        >>> logs = uniform_log_probabilities([2], objects=3, choices=Choices(background=False, ends=True))
        >>> np.exp(logs).round(2).tolist()
        [[0.25, 0.25, 0.25, 0.0, 0.25], [0.25, 0.25, 0.25, 0.0, 0.25]]
    """
    length = len(np.asarray(sequence))
    table = np.full((length + 1, objects + 2), 0.0)
    table[:, objects] = 0.0 if choices.background else -np.inf
    table[:, objects + 1] = 0.0 if choices.ends else -np.inf
    logs: Floats = table - np.log(objects + choices.background + choices.ends)
    return logs


def baseline_paths(
    trials: Sequence[Trial],
    scenes: Sequence[Scene],
    histogram: OffsetHistogram | None,
    count: int,
    seed: int,
) -> dict[str, list[list[Scanpath]]]:
    """Paths of every simple predictor by trial, on the centres of objects.

    Args:
        trials: Recorded trials.
        scenes: Scene of each trial.
        histogram: Histogram of training trials; None leaves the offset predictor out.
        count: Number of paths per trial of predictors that draw.
        seed: Seed of the draws.

    Raises:
        ConfigError: ``count`` is below 1.

    Example:
        >>> from vision_suite.types import Condition, Scene, Trial
        >>> sequence, xy, seconds = np.array([0, 2]), np.zeros((2, 2)), np.ones(2)
        >>> trial = Trial("page", "ann", "", Condition.FREE, (), -1, sequence, xy, seconds)
        >>> scene = Scene("page", (90, 30), np.array([(0, 0, 30, 30), (30, 0, 60, 30), (60, 0, 90, 30)]), ())
        >>> paths = baseline_paths([trial], [scene], None, count=2, seed=0)
        >>> len(paths["random"][0]), paths["next_object"][0][0].xy.tolist()
        (2, [[15.0, 15.0], [45.0, 15.0]])
    """
    if count < 1:
        raise ConfigError(f"baseline_samples={count}: draw 1 path or more")
    generator = np.random.default_rng(seed)
    found: dict[str, list[list[Scanpath]]] = {"random": [], "next_object": []}
    if histogram is not None:
        found["offsets"] = []
    for trial, scene in zip(trials, scenes, strict=True):
        objects = len(scene.boxes)
        found["random"].append(random_paths(trial, objects, count, generator))
        found["next_object"].append([next_object_path(trial, objects)])
        if histogram is not None:
            found["offsets"].append(offset_paths(trial, objects, histogram, count, generator))
    return {
        name: [[sampled_path(path, t, s) for path in own] for own, t, s in zip(paths, trials, scenes, strict=True)]
        for name, paths in found.items()
    }


def random_paths(trial: Trial, objects: int, count: int, generator: np.random.Generator) -> list[Scanpath]:
    """Paths over objects drawn uniformly and independently, as long as the recorded one.

    Args:
        trial: The recorded trial.
        objects: Number of objects of the scene.
        count: Number of paths.
        generator: Source of the draws.

    Example:
        >>> from vision_suite.types import Condition, Trial
        >>> sequence, xy, seconds = np.array([2, 0]), np.zeros((2, 2)), np.ones(2)
        >>> trial = Trial("page", "ann", "", Condition.FREE, (), -1, sequence, xy, seconds, given=1)
        >>> paths = random_paths(trial, objects=3, count=9, generator=np.random.default_rng(0))
        >>> len(paths), {len(path) for path in paths}, {int(path.objects[0]) for path in paths}
        (9, {2}, {2})
    """
    drawn = generator.integers(0, objects, (count, len(trial.sequence)))
    drawn[:, : trial.given] = trial.sequence[: trial.given]
    return [Scanpath(row, terminated=trial.terminated) for row in drawn]


def next_object_path(trial: Trial, objects: int) -> Scanpath:
    """Path to the next object at each step, which stays on the last one.

    It begins at the last given fixation, or else at the observer's first one.

    Args:
        trial: The recorded trial; where no fixation is given, its first one is used.
        objects: Number of objects of the scene.

    Example:
        >>> from vision_suite.types import Condition, Trial
        >>> sequence, xy, seconds = np.array([1, 0, 2]), np.zeros((3, 2)), np.ones(3)
        >>> trial = Trial("page", "ann", "", Condition.FREE, (), -1, sequence, xy, seconds)
        >>> next_object_path(trial, objects=3).objects.tolist()
        [1, 2, 2]
    """
    first = trial.sequence[: max(trial.given, 1)]
    known = first[first != BACKGROUND]
    begin = int(known[-1]) if len(known) else 0
    ahead = np.minimum(begin + np.arange(1, len(trial.sequence) - len(first) + 1), objects - 1)
    return Scanpath(np.concatenate([first, ahead]).astype(np.int64), terminated=trial.terminated)


def offset_paths(
    trial: Trial, objects: int, histogram: OffsetHistogram, count: int, generator: np.random.Generator
) -> list[Scanpath]:
    """Paths drawn step by step from an offset histogram, as long as the recorded one, never on the background.

    Args:
        trial: The recorded trial.
        objects: Number of objects of the scene.
        histogram: Histogram of training trials.
        count: Number of paths.
        generator: Source of the draws.

    Example:
        >>> from vision_suite.types import Condition, Trial
        >>> sequence, xy, seconds = np.array([2, 0]), np.zeros((2, 2)), np.ones(2)
        >>> trial = Trial("page", "ann", "", Condition.FREE, (), -1, sequence, xy, seconds, given=1)
        >>> back = OffsetHistogram({-1: 1}, background=0.0, end=0.0, smoothing=1e-9, unused=0)
        >>> paths = offset_paths(trial, 3, back, count=2, generator=np.random.default_rng(0))
        >>> [path.objects.tolist() for path in paths]
        [[2, 1], [2, 1]]
    """
    return chain_paths(trial, histogram.transitions(objects), count, generator)


def chain_paths(trial: Trial, transitions: Floats, count: int, generator: np.random.Generator) -> list[Scanpath]:
    """Paths drawn step by step from a Markov chain, as long as the recorded one, never on the background.

    Args:
        trial: The recorded trial.
        transitions: (N + 1, N) probability of each object behind each object, and in the last row behind anything else.
        count: Number of paths.
        generator: Source of the draws.

    Example:
        >>> from vision_suite.types import Condition, Trial
        >>> sequence, xy, seconds = np.array([0, 0, 0]), np.zeros((3, 2)), np.ones(3)
        >>> trial = Trial("page", "ann", "", Condition.FREE, (), -1, sequence, xy, seconds, given=1)
        >>> to_the_other = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]])
        >>> paths = chain_paths(trial, to_the_other, count=2, generator=np.random.default_rng(0))
        >>> [path.objects.tolist() for path in paths]
        [[0, 1, 0], [0, 1, 0]]
    """
    objects = transitions.shape[1]
    cumulative = transitions.cumsum(axis=1)
    paths = np.empty((count, len(trial.sequence)), dtype=np.int64)
    paths[:, : trial.given] = trial.sequence[: trial.given]
    for step in range(trial.given, paths.shape[1]):
        now = np.full(count, BACKGROUND) if step == 0 else paths[:, step - 1]
        rows = cumulative[np.where(now == BACKGROUND, objects, now)]
        drawn = generator.random((count, 1))
        # The sums of a row may end just below 1.
        paths[:, step] = np.minimum((rows <= drawn).sum(axis=1), objects - 1)
    return [Scanpath(row, terminated=trial.terminated) for row in paths]


def _before(sequence: npt.ArrayLike, objects: int) -> Ints:
    """(L + 1,) int64 object fixated before each decision, N for none or the background."""
    path = np.asarray(sequence, dtype=np.int64)
    before: Ints = np.append(objects, np.where(path == BACKGROUND, objects, path))
    return before


def _with_rest(table: Floats, background: float, end: float) -> Floats:
    rest = np.broadcast_to([background * (1 - end), end], (len(table), 2))
    with np.errstate(divide="ignore"):
        logs: Floats = np.log(np.concatenate([table * (1 - background) * (1 - end), rest], axis=1))
    return logs
