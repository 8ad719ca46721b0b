"""The table of a model's scanpaths: scores against observers, human ceiling, intervals, counts, and the protocol."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.scanpath.behaviours import BehaviourDelta, TargetObjects, behaviour_delta, delta_of_means
from vision_suite.metrics.scanpath.pairwise.multimatch import FEWEST
from vision_suite.metrics.scanpath.pairwise.scores import PAIR_SCORES, PairSettings, Stimulus, describe
from vision_suite.metrics.scanpath.paths import Scanpath
from vision_suite.metrics.scanpath.report.compare import Comparison
from vision_suite.metrics.scanpath.report.protocol import BALANCES, Balance, Interval, balanced_mean, bootstrap
from vision_suite.metrics.scanpath.screens import outside
from vision_suite.types.arrays import Floats, Ints

CEILING = (
    "human ceiling over all ordered pairs of different observers, never a path with itself; stimuli with one left out"
)
ROW_PROTOCOL = ("fixations", "paths", "model", "ceiling", "interval")  # parts that are repeated beside each score


@dataclass(frozen=True)
class ScoreRow:
    """One score of a model and of observers.

    Attributes:
        model: Mean of samples against all observers of their stimulus.
        best_model: Mean of samples against the best matching observer.
        human: Human ceiling, observers against each other.
        best_human: Mean of observers against the best matching other one.
        higher_is_better: True if a higher score is better.
        pairs: Number of pairs of a sample and an observer.
        nan_pairs: Number of these without a score (too short, or durations unknown).
        human_pairs: Number of ordered pairs of observers.
        human_nan_pairs: Number of these without a score.
        protocol: Everything needed to read the numbers, in a line.
    """

    model: Interval
    best_model: Interval
    human: Interval
    best_human: Interval
    higher_is_better: bool
    pairs: int
    nan_pairs: int
    human_pairs: int
    human_nan_pairs: int
    protocol: str


@dataclass(frozen=True)
class ScanpathScores:
    """Table of a model.

    Attributes:
        rows: Row of each score; MultiMatch has a row per dimension, ``multimatch/vector`` ....
        behaviour: OAT's delta, if targets were given.
        delta: Interval of delta over stimuli.
        counts: Numbers of stimuli, paths and samples, of short, empty, unterminated and single ones, and of fixations
            outside of their screens, which ScanMatch and SED count at the border.
        protocol: Computation of the whole table, in words by topic.
    """

    rows: dict[str, ScoreRow]
    behaviour: BehaviourDelta | None
    delta: Interval | None
    counts: dict[str, int]
    protocol: dict[str, str]

    @property
    def metrics(self) -> dict[str, float]:
        """Scalars by name: ``<score>``, ``human/<score>``, ``best/<score>``, ``human_best/<score>``, ``delta`` ...."""
        out = {}
        for name, row in self.rows.items():
            out[name], out[f"human/{name}"] = row.model.value, row.human.value
            out[f"best/{name}"], out[f"human_best/{name}"] = row.best_model.value, row.best_human.value
        if self.behaviour is not None:
            out["delta"] = self.behaviour.delta
            out.update({f"behaviour/{name}": value for name, value in self.behaviour.model.items()})
            out.update({f"human/behaviour/{name}": value for name, value in self.behaviour.human.items()})
        return out


def scanpath_scores(
    humans: Sequence[Sequence[Scanpath]],
    models: Sequence[Sequence[Scanpath]],
    scores: Sequence[str] = ("sequence_score", "edit_distance"),
    *,
    scenes: Sequence[Stimulus] | None = None,
    targets: Sequence[TargetObjects] | None = None,
    tasks: Sequence[Hashable] | None = None,
    settings: PairSettings | None = None,
    max_fixations: int | None = None,
    drop_first: bool = False,
    balance: Balance = "stimulus",
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> ScanpathScores:
    """Score a model's samples and human scanpaths on a list of stimuli.

    Each sample is compared with every observer of its stimulus; pairs without a score are left out and counted; a
    stimulus's score is the mean over its pairs, the number the mean over stimuli. The ceiling takes all ordered pairs
    of different observers, and leaves out stimuli with one. Best-of takes for each sample the best observer, for each
    observer the best other.

    Args:
        humans: Human scanpaths by stimulus. With ``tasks``, an image with two tasks is two stimuli.
        models: The model's samples by stimulus.
        scores: Names of scores in `PAIR_SCORES`.
        scenes: Screen, categories and clusters of each stimulus, for scores that need more than the paths.
        targets: Target object or objects of each stimulus, for `behaviour_delta`; None leaves it out.
        tasks: Task of each stimulus, for ``balance="task"``.
        settings: Settings of the scores.
        max_fixations: Number of fixations to which all scanpaths are cut, the first included; delta takes whole paths.
        drop_first: Leave out the first fixation; where all start on a centre cross, it is a free match.
        balance: Weights of stimuli: ``stimulus``, ``task`` or ``trial``, see `BALANCES`.
        resamples: Number of bootstrap draws.
        level: Coverage of the intervals.
        seed: Seed of the draws.

    Raises:
        ConfigError: A setting is unknown or out of range.
        DataError: Parts differ in length, or something needed is missing.

    Example:
        >>> from vision_suite.metrics.scanpath import Scanpath, Scene, scanpath_scores
        >>> humans = [[Scanpath([3, 7, 9], observer="a"), Scanpath([3, 9], observer="b")]]
        >>> table = scanpath_scores(humans, [[Scanpath([3, 7, 7, 9])]], ("edit_distance",))
        >>> table.rows["edit_distance"].model.value, table.rows["edit_distance"].human.value
        (1.5, 1.0)
    """
    if not scores or balance not in BALANCES or (max_fixations is not None and max_fixations < 1):
        raise ConfigError(
            f"scores={list(scores)}, balance={balance!r}, max_fixations={max_fixations}: give a score, one of "
            f"{', '.join(BALANCES)}, and 1 fixation or more"
        )
    per = {"humans": humans, "models": models, "scenes": scenes, "targets": targets, "tasks": tasks}
    lengths = {name: len(part) for name, part in per.items() if part is not None}
    if len(set(lengths.values())) > 1 or not len(humans):
        raise DataError(f"give one entry per stimulus, at least one, in every list; got {lengths}")
    if balance == "task" and tasks is None:
        raise ConfigError("balance='task' needs tasks: name the task of each stimulus")
    stimuli = [Stimulus()] * len(humans) if scenes is None else scenes
    cut_humans, cut_models = (
        [[path.cut(max_fixations, drop_first) for path in own] for own in side] for side in (humans, models)
    )
    model, human = Comparison.against(cut_models, cut_humans, stimuli), Comparison.among(cut_humans, stimuli)
    weights, groups = _weights(humans, tasks, balance)
    how = settings or PairSettings()
    spread: dict[str, Any] = {"resamples": resamples, "level": level, "seed": seed}
    protocol: dict[str, str] = {
        "model": f"each sample against every observer of its stimulus, {BALANCES[balance]}",
        "ceiling": CEILING,
        "best": "each sample, or observer, against the best matching (other) observer",
        "paths": f"{_span(models)} samples, {_span(humans)} observers per stimulus",
        "fixations": _fixations(max_fixations, drop_first),
        "interval": f"{level:.0%} percentile bootstrap over stimuli, {resamples} resamples, seed {seed}",
    }
    shared = "; ".join(protocol[part] for part in ROW_PROTOCOL)
    values, human_values = model.scores(scores, how), human.scores(scores, how)
    rows = {}
    for label, found in values.items():
        name = label.partition("/")[0]
        higher = PAIR_SCORES[name].higher
        means, best, human_means, human_best = (
            balanced_mean(by_stimulus, weights, groups, **spread)
            for side, each in ((model, found), (human, human_values[label]))
            for by_stimulus in (side.means(each), side.best_means(each, higher=higher))
        )
        missing, human_missing = (int(np.isnan(each).sum()) for each in (found, human_values[label]))
        rows[label] = ScoreRow(
            model=means,
            best_model=best,
            human=human_means,
            best_human=human_best,
            higher_is_better=higher,
            pairs=len(model.pairs),
            nan_pairs=missing,
            human_pairs=len(human.pairs),
            human_nan_pairs=human_missing,
            protocol=f"{describe(name, how)}; {shared}; left out without a score: {missing} of {len(model.pairs)} "
            f"pairs, {human_missing} of {len(human.pairs)} pairs of observers; mean over {means.stimuli} of "
            f"{len(humans)} stimuli",
        )
    delta, interval = None, None
    if targets is not None:
        delta = behaviour_delta(_with_targets(humans, targets), _with_targets(models, targets), weights.tolist())
        interval = delta_interval(delta, **spread)
        protocol["delta"] = (
            f"whole paths; means over the paths of a stimulus, then over {delta.trials} stimuli"
            f"{' weighted by observers' if balance == 'trial' else ''}; "
            f"terms left out: {', '.join(delta.skipped) or 'none'}"
        )
    return ScanpathScores(rows, delta, interval, _counts(humans, models, stimuli), protocol)


def _weights(
    humans: Sequence[Sequence[Scanpath]], tasks: Sequence[Hashable] | None, balance: Balance
) -> tuple[Floats, Ints]:
    weights = np.ones(len(humans))
    groups = np.zeros(len(humans), dtype=np.int64)
    if balance == "trial":
        weights = np.array([len(own) for own in humans], dtype=np.float64)
    elif balance == "task" and tasks is not None:
        number: dict[Hashable, int] = {}
        groups = np.array([number.setdefault(task, len(number)) for task in tasks], dtype=np.int64)
    return weights, groups


def delta_interval(delta: BehaviourDelta, *, resamples: int, level: float = 0.95, seed: int) -> Interval:
    """Delta with its bootstrap interval over trials.

    Args:
        delta: Delta of `behaviour_delta`.
        resamples: Number of bootstrap draws.
        level: Coverage.
        seed: Seed of the draws.

    Example:
        >>> delta = behaviour_delta([([0, 1], 1), ([2, 3], 3)], [([0, 1, 1], 1), ([2, 3], 3)])
        >>> found = delta_interval(delta, resamples=100, seed=0)
        >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
        (0.139, 0.0, 0.278)
    """
    rows = np.column_stack([delta.weights, delta.human_trials, delta.model_trials])

    def statistic(table: Floats) -> Floats:
        means = (table[..., :1] * table[..., 1:]).sum(axis=1) / table[..., :1].sum(axis=1)
        return delta_of_means(means[:, :5], means[:, 5:])

    low, high = bootstrap(rows, statistic, resamples=resamples, level=level, seed=seed)
    return Interval(delta.delta, low, high, delta.trials, delta.skipped_trials)


def _with_targets(
    paths: Sequence[Sequence[Scanpath]], targets: Sequence[TargetObjects]
) -> list[list[tuple[Sequence[int] | Ints, TargetObjects]]]:
    out: list[list[tuple[Sequence[int] | Ints, TargetObjects]]] = []
    for group, target in zip(paths, targets, strict=True):
        if any(path.objects is None for path in group):
            raise DataError("delta needs the objects of every scanpath: give Scanpath(objects=...), or no targets")
        out.append([(path.objects, target) for path in group if path.objects is not None])
    return out


def _counts(
    humans: Sequence[Sequence[Scanpath]], models: Sequence[Sequence[Scanpath]], stimuli: Sequence[Stimulus]
) -> dict[str, int]:
    out = {
        "stimuli": len(humans),
        "stimuli_with_one_person": sum(len(own) == 1 for own in humans),
        "stimuli_without_people": sum(not own for own in humans),
        "stimuli_without_samples": sum(not samples for samples in models),
    }
    for name, side in (("human", humans), ("model", models)):
        paths = [path for group in side for path in group]
        out[f"{name}_paths"] = len(paths)
        out[f"{name}_empty"] = sum(not len(path) for path in paths)
        out[f"{name}_short"] = sum(len(path) < FEWEST for path in paths)
        out[f"{name}_unterminated"] = sum(not path.terminated for path in paths)
        out[f"{name}_points_outside"] = sum(
            int(outside(path.fixations[:, :2], stimulus.screen_size).sum())
            for group, stimulus in zip(side, stimuli, strict=True)
            for path in group
            if stimulus.screen_size is not None and path.xy is not None
        )
    return out


def _span(groups: Sequence[Sequence[Scanpath]]) -> str:
    low, high = min(map(len, groups)), max(map(len, groups))
    return str(low) if low == high else f"{low}..{high}"


def _fixations(max_fixations: int | None, drop_first: bool) -> str:
    first = "first fixation left out" if drop_first else "first fixation included"
    return f"{first}, " + ("whole paths" if max_fixations is None else f"at most {max_fixations} fixations")
