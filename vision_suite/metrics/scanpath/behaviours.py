"""Behaviour in object scanpaths: OAT's delta over search, re-fixation and revisits; fixations by kind of object.

Delta is the behavioural metric of OAT (Fang et al., ECCV 2024), computed as in the authors' evaluation code.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vision_suite.errors import DataError
from vision_suite.types import BACKGROUND, PADDING
from vision_suite.types.arrays import Floats, Ints

BEHAVIOURS = ("correct", "length", "search", "refix", "revisit")
KINDS = ("target", "same_category", "similar_colour", "other", "background")

TargetObjects: TypeAlias = int | np.integer[Any] | Collection[int] | None
TargetedPath: TypeAlias = tuple[Sequence[int] | Ints, TargetObjects]


@dataclass(frozen=True, eq=False)
class BehaviourDelta(float):
    """Delta as a float, with its terms.

    Attributes:
        delta: Mean of the kept terms; 0 for observers, lower is better; NaN if none could be kept.
        terms: |model - human| / human of each kept behaviour.
        skipped: Behaviours that observers never showed, whose term would divide by 0.
        human: Observers' mean by behaviour.
        model: The model's mean by behaviour.
        trials: Number of trials that count.
        skipped_trials: Number of trials without a fixation on one side.
        empty_paths: Number of paths without a fixation, of observers and model, that were left out.
        human_trials: (trials, 5) float64 observers' means per trial, for intervals.
        model_trials: (trials, 5) float64 the model's means per trial.
        weights: (trials,) float64 weights of the trials.
    """

    delta: float
    terms: dict[str, float]
    skipped: tuple[str, ...]
    human: dict[str, float]
    model: dict[str, float]
    trials: int
    skipped_trials: int
    empty_paths: int
    human_trials: Floats = field(repr=False)
    model_trials: Floats = field(repr=False)
    weights: Floats = field(repr=False)

    def __new__(cls, delta: float, *parts: object, **named: object) -> BehaviourDelta:
        """Create the number; its parts are set as of any dataclass."""
        return super().__new__(cls, delta)


def behaviour(sequence: Sequence[int] | Ints, target: TargetObjects) -> Floats:
    """Measure the five behaviours of one scanpath.

    A run of fixations on one object counts one search if the object is new, one revisit if it was left before, and its
    further fixations as re-fixations; ``BACKGROUND`` counts as an object that is never the target.

    Args:
        sequence: (n,) objects, n at least 1.
        target: Object, or collection of objects, whose fixation at the end is correct; None if there is none.

    Returns:
        (5,) float64 in the order of `BEHAVIOURS`: correct 0 or 1, length n, and three shares of n that sum to 1.

    Raises:
        DataError: The sequence is empty or padded.

    Example:
        >>> behaviour([3, 3, 7, 9], target=9).tolist()
        [1.0, 4.0, 0.75, 0.25, 0.0]
    """
    objects = np.asarray(sequence, dtype=np.int64)
    if not len(objects) or PADDING in objects:
        raise DataError(f"a sequence of {len(objects)} objects is empty or holds padding ({PADDING}): cut it first")
    runs = objects[np.flatnonzero(np.diff(objects, prepend=objects[0] - 1))]
    search = len(np.unique(runs))
    # A number may also be an array or tensor without dimensions, which is no collection.
    named = () if target is None else target if isinstance(target, Set) else np.ravel(np.asarray(target))
    wanted = {int(number) for number in named}
    correct = float(objects[-1] != BACKGROUND and int(objects[-1]) in wanted)
    shares = np.array([search, len(objects) - len(runs), len(runs) - search]) / len(objects)
    return np.array([correct, len(objects), *shares])


def behaviour_delta(
    human: Sequence[Sequence[TargetedPath] | TargetedPath],
    model: Sequence[Sequence[TargetedPath] | TargetedPath],
    weights: Sequence[float] | None = None,
) -> BehaviourDelta:
    """OAT's delta: relative distance of a model's average behaviour from the observers'.

    Behaviours are averaged over the paths of a trial, then over trials; delta is the mean over the five behaviours of
    |model - human| / human. Behaviours that observers never show are left out and named; the authors' code leaves out
    only 0 / 0 and divides by five. Five averages can agree although the paths do not: read a likelihood beside it.

    Args:
        human: List of (sequence, target) of each trial, usually of one; a bare (sequence, target) is accepted if its
            target is a number, None or a set.
        model: The model's samples of each trial as (sequence, target), in the same order.
        weights: Weight of each trial in the means over trials; None: equal.

    Raises:
        DataError: The numbers of trials or weights differ, a weight is negative or all are 0, no trial is left, or a
            sequence is padded.

    Example:
        >>> delta = behaviour_delta([([3, 7, 9], 9)], [([3, 3, 7, 9], 9)])
        >>> round(delta, 4), delta.terms["correct"], delta.skipped
        (0.1944, 0.0, ('refix', 'revisit'))
    """
    shares = [1.0] * len(human) if weights is None else list(weights)
    if not len(human) == len(model) == len(shares):
        raise DataError(
            f"{len(human)} human trials, {len(model)} of the model, {len(shares)} weights: give all in the same order"
        )
    if not all(0 <= share < math.inf for share in shares):
        raise DataError(f"weights {min(shares):g} to {max(shares):g}: give finite numbers of 0 or more")
    sides: tuple[list[Floats], list[Floats]] = ([], [])
    used: list[float] = []
    empty = 0
    for share, *trial in zip(shares, human, model, strict=True):
        means = []
        for paths in map(_paths, trial):
            values = [behaviour(sequence, target) for sequence, target in paths if len(sequence)]
            empty += len(paths) - len(values)
            if values:
                means.append(np.mean(values, axis=0))
        if len(means) == 2:
            sides[0].append(means[0])
            sides[1].append(means[1])
            used.append(share)
    if not sides[0]:
        raise DataError(f"none of {len(human)} trials has fixations on both sides: there is nothing to compare")
    if not sum(used):
        raise DataError(f"the weights of all {len(used)} trials are 0: there is no mean to compare")
    human_trials, model_trials = np.stack(sides[0]), np.stack(sides[1])
    observed, predicted = (np.average(side, axis=0, weights=used) for side in (human_trials, model_trials))
    kept = observed != 0
    terms = np.abs(predicted - observed)[kept] / observed[kept]
    names = np.array(BEHAVIOURS)
    return BehaviourDelta(
        delta=float(terms.mean()),
        terms=dict(zip(names[kept].tolist(), terms.tolist(), strict=True)),
        skipped=tuple(names[~kept].tolist()),
        human=dict(zip(BEHAVIOURS, observed.tolist(), strict=True)),
        model=dict(zip(BEHAVIOURS, predicted.tolist(), strict=True)),
        trials=len(human_trials),
        skipped_trials=len(human) - len(human_trials),
        empty_paths=empty,
        human_trials=human_trials,
        model_trials=model_trials,
        weights=np.array(used),
    )


def delta_of_means(human: Floats, model: Floats) -> Floats:
    """Delta from mean behaviours, behaviours with a human mean of 0 left out.

    Args:
        human: (..., 5) float64 observers' means.
        model: (..., 5) float64 the model's means.

    Returns:
        (...) float64.

    Example:
        >>> human = np.array([1.0, 4.0, 0.5, 0.5, 0.0])
        >>> model = np.array([0.5, 5.0, 0.5, 0.5, 0.2])
        >>> float(delta_of_means(human, model))
        0.1875
    """
    terms = np.abs(model - human) / np.where(human == 0, np.nan, human)
    delta: Floats = np.nanmean(terms, axis=-1)
    return delta


def object_kinds(
    objects: int,
    targets: Collection[int],
    categories: Sequence[Hashable] | None = None,
    similar_colour: npt.ArrayLike | None = None,
) -> list[str]:
    """Kind of each object of a scene: the first of `KINDS` that fits.

    Args:
        objects: Number of objects.
        targets: Objects that count as target.
        categories: Category of each object; one that a target has makes ``same_category``.
        similar_colour: (objects,) bool, True where the colour is similar to the target's.

    Raises:
        DataError: A list does not have one entry per object, or a target is none of the objects.

    Example:
        >>> object_kinds(3, targets=[0], categories=["cup", "cup", "fork"])
        ['target', 'same_category', 'other']
    """
    colour = np.zeros(objects, dtype=np.bool_) if similar_colour is None else np.asarray(similar_colour, dtype=np.bool_)
    if len(colour) != objects or (categories is not None and len(categories) != objects):
        raise DataError(f"categories and similar_colour must have one entry for each of {objects} objects")
    if any(not 0 <= target < objects for target in targets):
        raise DataError(f"targets {sorted(targets)}: the scene has objects 0 to {objects - 1}")
    wanted = set() if categories is None else {categories[target] for target in targets}
    kinds = []
    for number in range(objects):
        if number in targets:
            kinds.append("target")
        elif categories is not None and categories[number] in wanted:
            kinds.append("same_category")
        else:
            kinds.append("similar_colour" if colour[number] else "other")
    return kinds


def fixation_proportions(sequences: Sequence[Sequence[int] | Ints], kinds: Sequence[str]) -> dict[str, float]:
    """Share of fixations by kind of object, over all paths in one scene; intervals come from `bootstrap` over scenes.

    Args:
        sequences: Object sequences; ``BACKGROUND`` is a kind of its own.
        kinds: Kind of each object, `object_kinds`.

    Returns:
        Share by kind of `KINDS`, summing to 1; NaN without a fixation.

    Raises:
        DataError: An object has no kind, or a kind is unknown.

    Example:
        >>> shares = fixation_proportions([[0, 1], [2, 2]], ["target", "other", "other"])
        >>> shares["target"], shares["other"]
        (0.25, 0.75)
    """
    known: Mapping[int, str] = {**dict(enumerate(kinds)), BACKGROUND: "background"}
    counts = dict.fromkeys(KINDS, 0)
    for number in (int(number) for sequence in sequences for number in sequence):
        if known.get(number) not in counts:
            raise DataError(f"object {number} has kind {known.get(number)!r}: give one of {', '.join(KINDS)} for each")
        counts[known[number]] += 1
    total = sum(counts.values())
    return {kind: count / total if total else float("nan") for kind, count in counts.items()}


def _paths(trial: Sequence[TargetedPath] | TargetedPath) -> Sequence[TargetedPath]:
    """The paths of a trial; a bare (sequence, target) is recognized by its target, which is no pair.

    Raises:
        DataError: The trial is neither a list of paths nor a path.
    """
    pair = isinstance(trial, Sequence) and len(trial) == 2
    if pair and (trial[1] is None or isinstance(trial[1], int | np.integer | set | frozenset)):
        return [trial]  # type: ignore[list-item]
    if not isinstance(trial, Sequence) or not all(isinstance(path, Sequence) and len(path) == 2 for path in trial):
        raise DataError(f"a trial is {repr(trial)[:60]}: give a list of (sequence, target) for each")
    return trial  # type: ignore[return-value]
