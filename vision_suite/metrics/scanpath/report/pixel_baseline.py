"""Pixel-based predictor of scanpaths without objects: a density of fixations, and one of eye movements.

The density of the next fixation is a mixture ``p(x | y) = a location(x) + b step(x - y) + c uniform(x)``, where y is
the fixation before: ``location`` smooths all training fixations (with their bias to the centre), ``step`` all eye
movements. It is integrated over the objects' boxes, so that its likelihood and its paths compare with object models.
Re-implemented here as the simplest member of the family of history-conditioned pixel models (HAT and similar ones).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from vision_suite.errors import DataError
from vision_suite.metrics.scanpath.paths import Scanpath
from vision_suite.metrics.scanpath.report.baselines import SMOOTHING, Choices, chain_paths
from vision_suite.metrics.scanpath.report.trials import centres_of
from vision_suite.types import Scene, Trial
from vision_suite.types.arrays import Floats

RESOLUTION = 128  # cells along the longest side of the largest scene
BANDWIDTHS = (0.5, 1.0, 2.0, 4.0, 8.0)  # cells
ROUNDS = 50  # of expectation maximisation
TINY = 1e-12  # a density, so that nothing is impossible


class Move(NamedTuple):
    """A fixation and the one before it.

    Attributes:
        size: Width, height of the screen in pixels.
        before: (2,) x, y of the fixation before, in pixels; None for the first one.
        point: (2,) x, y of the fixation, in pixels.
    """

    size: tuple[float, float]
    before: Floats | None
    point: Floats


@dataclass(frozen=True)
class PixelBaseline:
    """A mixture over the pixels of a screen, fitted by `fit_pixels`.

    Attributes:
        cell: Side of a cell in pixels, within which the density is constant.
        location: (G, G) density over the screen in shares of its height and width.
        step: (2 G + 1, 2 G + 1) density of moves in cells, down and right; no move is in the middle.
        shares: Weights of location, step and uniform in the mixture, summing to 1.
        bandwidths: Bandwidths of location and step, in cells.
        background: True if pixels on no object have a probability of their own.
        end: Probability of the end.
    """

    cell: float
    location: Floats
    step: Floats
    shares: tuple[float, float, float]
    bandwidths: tuple[float, float]
    background: bool
    end: float

    def density(self, size: tuple[float, float], before: Floats | None) -> Floats:
        """(H, W) probability of each cell of a screen, summing to 1.

        Args:
            size: Width, height in pixels.
            before: (2,) x, y of the fixation before, in pixels; None at the start, where no move is known.
        """
        parts = self._parts(size, before)
        shares = TINY + np.array(self.shares if before is not None else (self.shares[0], self.shares[2]))
        mixed: Floats = np.tensordot(shares / shares.sum(), np.stack(parts), axes=1)
        return mixed

    def transitions(self, scene: Scene) -> Floats:
        """(N + 1, N + 1) probability of each object and of the background behind each object's centre.

        The last row is for the start and for fixations behind the background.
        """
        centres = centres_of(np.arange(len(scene.boxes)), scene)
        return np.stack([self._objects(scene, before) for before in (*centres, None)])

    def log_probabilities(self, trial: Trial, scene: Scene) -> Floats:
        """(L + 1, N + 2) log probability of each object, the background and the end before each decision, nats.

        Args:
            trial: The recorded trial, whose pixels before each decision are known; centres where there is none.
            scene: Scene of the trial.
        """
        points = _points(trial, scene)
        table = np.stack([self._objects(scene, before) for before in (None, *points)])
        with np.errstate(divide="ignore"):
            ends = np.full((len(table), 1), self.end)
            logs: Floats = np.log(np.concatenate([table * (1 - self.end), ends], axis=1))
        return logs

    def paths(self, trial: Trial, transitions: Floats, count: int, generator: np.random.Generator) -> list[Scanpath]:
        """Paths from centre to centre, as long as the recorded one, never on the background.

        Args:
            trial: The recorded trial.
            transitions: Table of `transitions` for its scene.
            count: Number of paths.
            generator: Source of the draws.
        """
        objects = transitions[:, :-1]
        return chain_paths(trial, objects / objects.sum(axis=1, keepdims=True), count, generator)

    def _parts(self, size: tuple[float, float], before: Floats | None) -> list[Floats]:
        columns, rows = (max(int(np.ceil(side / self.cell)), 1) for side in size)
        grid = len(self.location)
        index = [((np.arange(n) + 0.5) / n * grid).astype(np.int64) for n in (rows, columns)]
        parts = [self.location[np.ix_(*index)]]
        if before is not None:
            reach = len(self.step) // 2
            at = np.clip(np.floor(before[::-1] / self.cell).astype(np.int64), 0, (rows - 1, columns - 1))
            moves = [np.arange(n) - here + reach for n, here in zip((rows, columns), at, strict=True)]
            parts.append(self.step[np.ix_(*moves)])
        parts.append(np.ones((rows, columns)))
        return [(part + TINY) / (part + TINY).sum() for part in parts]

    def _objects(self, scene: Scene, before: Floats | None) -> Floats:
        """(N + 1,) share of the density in each box, and outside all boxes where that counts."""
        density = self.density(scene.size, before)
        boxes = np.asarray(scene.boxes, dtype=np.float64) / self.cell
        across, down = (
            np.clip(np.minimum(boxes[:, high, None], edges + 1) - np.maximum(boxes[:, low, None], edges), 0, 1)
            for low, high, edges in ((0, 2, np.arange(density.shape[1])), (1, 3, np.arange(density.shape[0])))
        )
        shares = ((down @ density) * across).sum(axis=1) + TINY
        # Boxes may overlap, so their sum does not give the share outside all of them.
        rest = float((density * _outside(down, across)).sum()) if self.background else 0.0
        found: Floats = np.append(shares / shares.sum() * (1 - rest), rest)
        return found


def fit_pixels(
    trials: Sequence[Trial], scenes: Mapping[str, Scene], choices: Choices, smoothing: float = SMOOTHING
) -> PixelBaseline:
    """Fit the predictor to training trials.

    Bandwidths and shares are those that predict each half of the trials best from the other half.

    Args:
        trials: Whole recordings.
        scenes: Scenes by name.
        choices: Possible events beside objects; others get no probability.
        smoothing: Number added to the counts of ends.

    Raises:
        DataError: There are fewer than two trials, or no movement in one of the halves.

    Example:
        >>> from vision_suite.types import Condition, Scene, Trial
        >>> scene = Scene("page", (90, 30), np.array([(0, 0, 30, 30), (30, 0, 60, 30), (60, 0, 90, 30)]), ())
        >>> sequence, xy, seconds = np.array([0, 1, 2]), np.full((3, 2), np.nan), np.ones(3)
        >>> trial = Trial("page", "ann", "", Condition.FREE, (), -1, sequence, xy, seconds)
        >>> baseline = fit_pixels([trial, trial], {"page": scene}, Choices(background=False, ends=True))
        >>> baseline.transitions(scene)[:2].round(1).tolist()
        [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
    """
    halves = [_moves(trials[first::2], scenes) for first in (0, 1)]
    if not all(any(move.before is not None for move in half) for half in halves):
        raise DataError(
            f"{len(trials)} training trials hold too few movements of the eyes: give two longer ones or more"
        )
    cell = max(max(scenes[trial.scene].size) for trial in trials) / RESOLUTION
    ends, fixations = sum(trial.terminated for trial in trials), sum(len(trial.sequence) for trial in trials)
    end = (ends + smoothing) / (fixations + 2 * smoothing) if choices.ends else 0.0
    seen = {
        width: np.concatenate([
            _seen(_smoothed(half, cell, (width, width), choices.background, end), other)
            for half, other in (halves, halves[::-1])
        ])
        for width in BANDWIDTHS
    }  # fmt: skip
    tried = [
        (*_mixture(np.column_stack([seen[location][:, 0], seen[step][:, 1:]])), (location, step))
        for location in BANDWIDTHS
        for step in BANDWIDTHS
    ]
    shares, _, bandwidths = max(tried, key=lambda found: found[1])
    return replace(_smoothed([*halves[0], *halves[1]], cell, bandwidths, choices.background, end), shares=shares)


def _outside(down: Floats, across: Floats) -> Floats:
    """(H, W) share of each cell in no box; where boxes share a cell, the largest share counts."""
    covered = np.zeros((down.shape[1], across.shape[1]))
    for rows, columns in zip(down, across, strict=True):
        np.maximum(covered, rows[:, None] * columns, out=covered)
    rest: Floats = 1 - covered
    return rest


def _points(trial: Trial, scene: Scene) -> Floats:
    """(L, 2) recorded pixels, the centres of objects where unknown."""
    recorded = np.asarray(trial.xy, dtype=np.float64).reshape(-1, 2)
    points: Floats = np.where(np.isfinite(recorded), recorded, centres_of(trial.sequence, scene))
    return points


def _moves(trials: Sequence[Trial], scenes: Mapping[str, Scene]) -> list[Move]:
    """Every fixation with the one before; of the first, given or not, only the location counts."""
    found: list[Move] = []
    for trial in trials:
        scene = scenes[trial.scene]
        points = _points(trial, scene)
        found += [Move(scene.size, points[n - 1] if n else None, point) for n, point in enumerate(points)]
    return found


def _smoothed(
    moves: list[Move], cell: float, bandwidths: tuple[float, float], background: bool, end: float
) -> PixelBaseline:
    """Histograms of locations and steps behind a Gaussian filter; shares are not fitted yet."""
    from scipy.ndimage import gaussian_filter

    location, step = np.zeros((RESOLUTION, RESOLUTION)), np.zeros((2 * RESOLUTION + 1, 2 * RESOLUTION + 1))
    for (width, height), before, (x, y) in moves:
        at = np.array([y / height, x / width]) * RESOLUTION
        location[tuple(np.clip(at.astype(np.int64), 0, RESOLUTION - 1))] += 1
        if before is not None:
            by = np.floor(np.array([y, x]) / cell) - np.floor(before[::-1] / cell)
            step[tuple(np.clip(by.astype(np.int64) + RESOLUTION, 0, 2 * RESOLUTION))] += 1
    maps = zip((location, step), bandwidths, strict=True)
    location, step = (gaussian_filter(counts, width, mode="constant") for counts, width in maps)
    third = 1 / 3
    return PixelBaseline(cell, location, step, (third, third, third), bandwidths, background, end)


def _seen(model: PixelBaseline, moves: list[Move]) -> Floats:
    """(n, 3) density of each part of the mixture at fixations that have one before."""
    rows = []
    for size, before, point in moves:
        if before is not None:
            parts = model._parts(size, before)
            limit = (parts[0].shape[0] - 1, parts[0].shape[1] - 1)
            at = tuple(np.clip(np.floor(point[::-1] / model.cell).astype(np.int64), 0, limit))
            rows.append([part[at] for part in parts])
    return np.array(rows)


def _mixture(each: Floats) -> tuple[tuple[float, float, float], float]:
    """Shares that make (n, 3) densities likeliest, and the mean log likelihood in nats."""
    shares = np.full(3, 1 / 3)
    for _ in range(ROUNDS):
        joint = each * shares
        shares = (joint / joint.sum(axis=1, keepdims=True)).mean(axis=0)
    location, step, uniform = shares.tolist()
    return (location, step, uniform), float(np.log((each * shares).sum(axis=1)).mean())
