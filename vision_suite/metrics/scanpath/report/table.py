"""The table of a model's scanpaths: scores against people, the human ceiling, intervals, counts, and the protocol."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.scanpath.behaviours import BehaviourDelta, Target, behaviour_delta, delta_of_means
from vision_suite.metrics.scanpath.pairwise.multimatch import FEWEST
from vision_suite.metrics.scanpath.pairwise.scores import PAIR_SCORES, PairSettings, Scene, describe, pair_scores
from vision_suite.metrics.scanpath.paths import Floats, Ints, Scanpath
from vision_suite.metrics.scanpath.report.protocol import (
    BALANCES,
    Balance,
    Interval,
    balanced_mean,
    best_by,
    bootstrap,
    human_pairs,
    mean_by,
)

CEILING = (
    "human ceiling over all ordered pairs of different people, never a path with itself; stimuli with one left out"
)
SAID = ("fixations", "paths", "model", "ceiling", "interval")  # of the protocol, repeated beside each score


@dataclass(frozen=True)
class ScoreRow:
    """One score of a model and of people.

    Attributes:
        model: Samples against all people of their stimulus. best_model: Samples against the best matching person.
        human: Human ceiling, people against each other. best_human: Each person against the best matching other one.
        higher_is_better: Which way.
        pairs: Sample-person pairs. nan_pairs: Of these, without a score (too short, or durations unknown).
        human_pairs: Ordered pairs of people. human_nan_pairs: Of these, without a score.
        protocol: All that is needed to read the numbers, in a line.
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
    """A model's table.

    Attributes:
        rows: By score; MultiMatch has a row per dimension, ``multimatch/vector`` ....
        behaviour: OAT's delta, if targets were given. delta: Its interval over stimuli.
        counts: Stimuli, paths, samples, and what was short, empty, unterminated or single.
        protocol: How the whole table was made, in words by subject.
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
    scenes: Sequence[Scene] | None = None,
    targets: Sequence[Target] | None = None,
    tasks: Sequence[Hashable] | None = None,
    settings: PairSettings | None = None,
    max_fixations: int | None = None,
    drop_first: bool = False,
    balance: Balance = "stimulus",
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> ScanpathScores:
    """Score a model's samples and people on a list of stimuli.

    Each sample meets every person of its stimulus; pairs without a score are left out and counted; a stimulus's score
    is the mean over its pairs, the number the mean over stimuli. The ceiling takes all ordered pairs of different
    people, and leaves out stimuli with one. Best-of takes for each sample the best person, for each person the best
    other.

    Args:
        humans: By stimulus, people's scanpaths. With ``tasks``, an image with two tasks is two stimuli.
        models: By stimulus, the model's samples.
        scores: Names from `PAIR_SCORES`.
        scenes: By stimulus, what scores need beside the paths: screen, categories, clusters.
        targets: By stimulus, the target object or objects, for `behaviour_delta`; None leaves it out.
        tasks: By stimulus, for ``balance="task"``.
        settings: Of the scores.
        max_fixations: Cut people and samples to so many fixations, the first included; delta takes whole paths.
        drop_first: Leave out the first fixation; where all start on a centre cross, it is a free match.
        balance: ``stimulus``, ``task`` or ``trial``, see `BALANCES`.
        resamples: Bootstrap draws.
        level: Of the intervals.
        seed: Of the draws.

    Raises:
        ConfigError: A setting is unknown or out of range.
        DataError: Parts differ in length, or something needed is missing.
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
    table = _Table(humans, models, scenes, max_fixations, drop_first)
    weights, groups = _weights(humans, tasks, balance)
    how = settings or PairSettings()
    spread: dict[str, Any] = {"resamples": resamples, "level": level, "seed": seed}
    protocol: dict[str, str] = {
        "model": f"each sample against every person of its stimulus, {BALANCES[balance]}",
        "ceiling": CEILING,
        "best": "each sample, or person, against the best matching (other) person",
        "paths": f"{_span(models)} samples, {_span(humans)} people per stimulus",
        "fixations": _fixations(max_fixations, drop_first),
        "interval": f"{level:.0%} percentile bootstrap over stimuli, {resamples} resamples, seed {seed}",
    }
    rows = {}
    for name in scores:
        model, human = (
            pair_scores(name, table.paths, table.scenes, pairs, how) for pairs in (table.model, table.human)
        )
        said = f"{describe(name, how)}; {'; '.join(protocol[part] for part in SAID)}"
        for column, part in enumerate(PAIR_SCORES[name].columns or ("",)):
            higher = PAIR_SCORES[name].higher
            sides = [
                balanced_mean(found, weights, groups, **spread)
                for pairs, values in ((table.model, model[:, column]), (table.human, human[:, column]))
                for found in table.by_stimulus(pairs, values, higher)
            ]
            missing, missing_human = (int(np.isnan(values[:, column]).sum()) for values in (model, human))
            rows[f"{name}/{part}" if part else name] = ScoreRow(
                model=sides[0],
                best_model=sides[1],
                human=sides[2],
                best_human=sides[3],
                higher_is_better=higher,
                pairs=len(model),
                nan_pairs=missing,
                human_pairs=len(human),
                human_nan_pairs=missing_human,
                protocol=f"{said}; left out without a score: {missing} of {len(model)} pairs, "
                f"{missing_human} of {len(human)} pairs of people",
            )
    delta, interval = None, None
    if targets is not None:
        delta = behaviour_delta(_with_targets(humans, targets), _with_targets(models, targets), weights.tolist())
        interval = _delta_interval(delta, **spread)
        protocol["delta"] = (
            f"whole paths; means over the paths of a stimulus, then over {delta.trials} stimuli"
            f"{' weighted by people' if balance == 'trial' else ''}; "
            f"terms left out: {', '.join(delta.skipped) or 'none'}"
        )
    return ScanpathScores(rows, delta, interval, _counts(humans, models), protocol)


class _Table:
    """All paths one after another, and which are compared: ``model`` and ``human`` (P, 2), ``owner`` the stimulus."""

    def __init__(
        self,
        humans: Sequence[Sequence[Scanpath]],
        models: Sequence[Sequence[Scanpath]],
        scenes: Sequence[Scene] | None,
        max_fixations: int | None,
        drop_first: bool,
    ) -> None:
        self.paths: list[Scanpath] = []
        self.scenes: list[Scene] = []
        owner: list[int] = []
        model: list[tuple[int, int]] = []
        human: list[tuple[int, int]] = []
        for stimulus, (people, samples) in enumerate(zip(humans, models, strict=True)):
            first = len(self.paths)
            human += [(first + i, first + j) for i, j in human_pairs([person.observer for person in people])]
            middle, end = first + len(people), first + len(people) + len(samples)
            model += [(sample, person) for sample in range(middle, end) for person in range(first, middle)]
            self.paths += [path.cut(max_fixations, drop_first) for path in (*people, *samples)]
            self.scenes += [Scene() if scenes is None else scenes[stimulus]] * (end - first)
            owner += [stimulus] * (end - first)
        self.owner = np.array(owner, dtype=np.int64)
        self.model = np.array(model, dtype=np.int64).reshape(-1, 2)
        self.human = np.array(human, dtype=np.int64).reshape(-1, 2)
        self.stimuli = len(humans)

    def by_stimulus(self, pairs: Ints, values: Floats, higher: bool) -> tuple[Floats, Floats]:
        """(S,) mean over pairs, and mean over first paths of their best pair, by stimulus; NaN where it has none."""
        best = best_by(values, pairs[:, 0], len(self.paths), higher=higher)
        return mean_by(values, self.owner[pairs[:, 0]], self.stimuli), mean_by(best, self.owner, self.stimuli)


def _weights(
    humans: Sequence[Sequence[Scanpath]], tasks: Sequence[Hashable] | None, balance: Balance
) -> tuple[Floats, Ints]:
    weights = np.ones(len(humans))
    groups = np.zeros(len(humans), dtype=np.int64)
    if balance == "trial":
        weights = np.array([len(people) for people in humans], dtype=np.float64)
    elif balance == "task" and tasks is not None:
        number: dict[Hashable, int] = {}
        groups = np.array([number.setdefault(task, len(number)) for task in tasks], dtype=np.int64)
    return weights, groups


def _delta_interval(delta: BehaviourDelta, *, resamples: int, level: float, seed: int) -> Interval:
    rows = np.column_stack([delta.weights, delta.human_trials, delta.model_trials])

    def statistic(table: Floats) -> Floats:
        means = (table[..., :1] * table[..., 1:]).sum(axis=1) / table[..., :1].sum(axis=1)
        return delta_of_means(means[:, :5], means[:, 5:])

    low, high = bootstrap(rows, statistic, resamples=resamples, level=level, seed=seed)
    return Interval(delta.delta, low, high, delta.trials, delta.skipped_trials)


def _with_targets(
    paths: Sequence[Sequence[Scanpath]], targets: Sequence[Target]
) -> list[list[tuple[Sequence[int] | Ints, Target]]]:
    out: list[list[tuple[Sequence[int] | Ints, Target]]] = []
    for group, target in zip(paths, targets, strict=True):
        if any(path.objects is None for path in group):
            raise DataError("delta needs the objects of every scanpath: give Scanpath(objects=...), or no targets")
        out.append([(path.objects, target) for path in group if path.objects is not None])
    return out


def _counts(humans: Sequence[Sequence[Scanpath]], models: Sequence[Sequence[Scanpath]]) -> dict[str, int]:
    out = {
        "stimuli": len(humans),
        "stimuli_with_one_person": sum(len(people) == 1 for people in humans),
        "stimuli_without_people": sum(not people for people in humans),
        "stimuli_without_samples": sum(not samples for samples in models),
    }
    for name, side in (("human", humans), ("model", models)):
        paths = [path for group in side for path in group]
        out[f"{name}_paths"] = len(paths)
        out[f"{name}_empty"] = sum(not len(path) for path in paths)
        out[f"{name}_short"] = sum(len(path) < FEWEST for path in paths)
        out[f"{name}_unterminated"] = sum(not path.terminated for path in paths)
    return out


def _span(groups: Sequence[Sequence[Scanpath]]) -> str:
    low, high = min(map(len, groups)), max(map(len, groups))
    return str(low) if low == high else f"{low}..{high}"


def _fixations(max_fixations: int | None, drop_first: bool) -> str:
    first = "first fixation left out" if drop_first else "first fixation included"
    return f"{first}, " + ("whole paths" if max_fixations is None else f"at most {max_fixations} fixations")
