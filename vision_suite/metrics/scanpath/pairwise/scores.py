"""Scores that compare two scanpaths, by name: their requirements, direction, and computation over many pairs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from vision_suite.errors import ConfigError, DataError, check_choice
from vision_suite.metrics.scanpath.pairwise.clusters import Clusters
from vision_suite.metrics.scanpath.pairwise.embedding import stdes
from vision_suite.metrics.scanpath.pairwise.multimatch import FEWEST, MultiMatch, Short, multimatches
from vision_suite.metrics.scanpath.pairwise.scanmatch import check_settings, scanmatches
from vision_suite.metrics.scanpath.pairwise.simplify import Simplify
from vision_suite.metrics.scanpath.pairwise.strings import Symbols, edit_distances, sequence_scores
from vision_suite.metrics.scanpath.pairwise.symbols import (
    check_step,
    grid_cells,
    letters_of,
    object_labels,
    repeat_by_duration,
)
from vision_suite.metrics.scanpath.paths import Scanpath
from vision_suite.metrics.scanpath.screens import check_points, screen_sizes
from vision_suite.types.arrays import Floats, Ints

GRID = (5, 5)  # columns, rows of SED


@dataclass(frozen=True)
class PairScore:
    """A score of two scanpaths.

    Attributes:
        description: The compared property, for the protocol.
        higher: True if higher is better.
        columns: Names of the parts, if there are several.
        string: Kind of the compared string, for string scores.
        timed: True if symbols are repeated by duration.
    """

    description: str
    higher: bool = True
    columns: tuple[str, ...] = ()
    string: Literal["object", "semantic", "cluster", "grid", ""] = ""
    timed: bool = False


def _string_scores() -> dict[str, PairScore]:
    levels: dict[Literal["object", "semantic", "cluster"], tuple[str, str]] = {
        "object": ("", "objects"),
        "semantic": ("semantic_", "categories of objects"),
        "cluster": ("cluster_", "mean-shift clusters of human fixations"),
    }
    out = {}
    for level, (prefix, what) in levels.items():
        for timed in (False, True):
            suffix, how = ("_time", f"{what}, each repeated by its duration") if timed else ("", what)
            score = f"longest common subsequence of {how}, over the longer length"
            out[f"{prefix}sequence_score{suffix}"] = PairScore(score, True, string=level, timed=timed)
            distance = f"Levenshtein distance of {how}, not normalised"
            out[f"{prefix}edit_distance{suffix}"] = PairScore(distance, False, string=level, timed=timed)
    return out


PAIR_SCORES: dict[str, PairScore] = {
    **_string_scores(),
    "scanmatch": PairScore("ScanMatch, one symbol per fixation"),
    "scanmatch_time": PairScore("ScanMatch, symbols repeated by duration", timed=True),
    "multimatch": PairScore("MultiMatch", columns=MultiMatch._fields),
    "sed": PairScore("Levenshtein distance of letters of a 5 x 5 grid", False, string="grid"),
    "stde": PairScore("scaled time-delay embedding; the first path is the model's"),
    "length_error": PairScore("absolute difference of the numbers of fixations", False),
}


@dataclass(frozen=True)
class PairSettings:
    """Settings of the scores of two scanpaths.

    Attributes:
        step: Seconds per symbol of the ``_time`` scores, ScanMatch's TempBin among them.
        bins: Columns, rows of ScanMatch.
        threshold: Threshold of ScanMatch.
        gap: Gain of a gap in ScanMatch.
        simplify: MultiMatch's simplification, None as in papers on scanpath prediction.
        short: MultiMatch's treatment of fewer than three fixations; ``pad_ones`` only to reproduce old numbers.

    Raises:
        ConfigError: A setting is out of range.
    """

    step: float = 0.05
    bins: tuple[int, int] = (16, 12)
    threshold: float = 3.5
    gap: float = 0.0
    simplify: Simplify | None = None
    short: Short = "nan"

    def __post_init__(self) -> None:
        """Refuse settings out of range before any score is computed."""
        check_step(self.step, "step")
        check_settings(self.bins, self.threshold, self.gap)
        check_choice("short", self.short, get_args(Short))


@dataclass(frozen=True)
class Stimulus:
    """Facts of one stimulus that scores read beside the paths; ``vision_suite.metrics.scanpath.Scene``.

    Attributes:
        screen_size: Width, height in pixels.
        categories: Category by object, for semantic scores.
        clusters: Mean-shift clusters, for cluster scores.
    """

    screen_size: tuple[float, float] | None = None
    categories: Mapping[int, Hashable] | Sequence[Hashable] | None = None
    clusters: Clusters | None = field(default=None, repr=False)


def pair_scores(
    name: str,
    paths: Sequence[Scanpath],
    scenes: Sequence[Stimulus],
    pairs: Ints,
    settings: PairSettings | None = None,
) -> Floats:
    """One score of many pairs.

    Args:
        name: Name of a score in `PAIR_SCORES`.
        paths: N scanpaths.
        scenes: Stimulus of each scanpath.
        pairs: (P, 2) int64 indices into ``paths``, the model's first where that matters.
        settings: Settings of the scores.

    Returns:
        (P, C) float64, C the number of columns; NaN where a path is too short, a duration is unknown, or no fixation
        of a path is long enough for a symbol.

    Raises:
        ConfigError: The score is unknown.
        DataError: Something that the score needs was not given.

    Example:
        >>> from vision_suite.metrics.scanpath import Scanpath, Scene
        >>> paths = [Scanpath([3, 7, 9]), Scanpath([3, 9])]
        >>> pair_scores("edit_distance", paths, [Scene()] * 2, [(0, 1)]).tolist()
        [[1.0]]
    """
    how = settings or PairSettings()
    if name not in PAIR_SCORES:
        raise ConfigError(f"score {name!r} is unknown: use {', '.join(PAIR_SCORES)}")
    score = PAIR_SCORES[name]
    strings: list[Symbols | None]
    if score.string:
        if score.string == "grid":
            points, sizes = [path.fixations[:, :2] for path in paths], _screens(scenes, name)
            check_points(points, sizes, clamped=True)
            strings = [letters_of(grid_cells(xy, size, GRID)) for xy, size in zip(points, sizes, strict=True)]
        else:
            strings = [_string(path, scene, score, name, how) for path, scene in zip(paths, scenes, strict=True)]
        values = sequence_scores(strings, pairs) if score.higher else edit_distances(strings, pairs)
    elif name == "length_error":
        lengths = np.array([len(path) for path in paths], dtype=np.int64)
        values = np.abs(np.diff(lengths[pairs].reshape(-1, 2), axis=1)[:, 0]).astype(np.float64)
    else:
        points = [path.fixations for path in paths]
        sizes = _screens(scenes, name)
        if name == "multimatch":
            values = multimatches(points, pairs, sizes, how.simplify, short=how.short)
        elif name == "stde":
            values = stdes(points, pairs, sizes)
        else:
            step = how.step if score.timed else None
            values = scanmatches(points, pairs, sizes, how.bins, how.threshold, step, how.gap)
    return values.reshape(len(pairs), len(score.columns) or 1)


def describe(name: str, settings: PairSettings) -> str:
    """Describe a score and its settings in a line.

    Args:
        name: Name of a score in `PAIR_SCORES`.
        settings: Settings of the scores.

    Example:
        >>> describe("scanmatch", PairSettings(gap=-1.0))
        'ScanMatch, one symbol per fixation, 16 x 12 bins, threshold 3.5, gap -1'
    """
    score = PAIR_SCORES[name]
    details = [score.description]
    if name.startswith("scanmatch"):
        columns, rows = settings.bins
        details.append(f"{columns} x {rows} bins, threshold {settings.threshold:g}, gap {settings.gap:g}")
    if score.timed:
        details.append(f"a symbol per {settings.step * 1000:g} ms, no score for paths without a symbol")
    if name == "multimatch":
        details.append("not simplified" if settings.simplify is None else f"simplified by {settings.simplify}")
        short = "give NaN" if settings.short == "nan" else "filled up with (1, 1)"
        details.append(f"fewer than {FEWEST} fixations {short}")
    return ", ".join(details)


def _string(path: Scanpath, scene: Stimulus, score: PairScore, name: str, how: PairSettings) -> Symbols | None:
    symbols: Symbols
    if score.string == "cluster":
        if scene.clusters is None:
            raise DataError(f"{name} needs the clusters of every stimulus: build them with build_clusters")
        symbols = scene.clusters.string(path.fixations)
    else:
        if path.objects is None:
            raise DataError(f"{name} needs the objects of every scanpath: give Scanpath(objects=...)")
        symbols = np.asarray(path.objects, dtype=np.int64).tolist()
        if score.string == "semantic":
            if scene.categories is None:
                raise DataError(f"{name} needs the categories of every stimulus's objects")
            symbols = object_labels(np.asarray(path.objects, dtype=np.int64), scene.categories)
    return repeat_by_duration(symbols, path.seconds, how.step) if score.timed else symbols


def _screens(scenes: Sequence[Stimulus], name: str) -> Floats:
    """(N, 2) width, height in pixels of each screen."""
    known = [scene.screen_size for scene in scenes if scene.screen_size is not None]
    if len(known) < len(scenes):
        raise DataError(f"{name} needs screen_size, width and height in pixels, of every stimulus")
    return screen_sizes(np.array(known, dtype=np.float64).reshape(-1, 2), len(scenes))
