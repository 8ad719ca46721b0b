"""Scanpath metrics against reference packages: equal values, and CPU time for all pairs.

Each package scores one pair per call; the library takes all pairs at once. Scanpaths are random:
positions uniform on the screen, durations from 50 to 600 ms.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import numpy.typing as npt

from vision_suite.metrics.scanpath import Simplify, edit_distances, multimatches, scanmatches, sequence_scores

SCREEN, BINS, TEMP_BIN, THRESHOLD = (1024, 768), (12, 8), 0.1, 3.5
GROUPING = Simplify(TDir=45.0, TDur=0.3, TAmp=100.0)
SHORTEST, LONGEST, OBJECTS = 5, 30, 84
TOLERANCE = 1e-9
INSTALL = "pip install --no-deps multimatch-gaze==0.1.3 rapidfuzz==3.14.6 GazeParser==0.12.3"
NOTE = (
    "Metrics: all ordered pairs of random scanpaths of 5 to 30 fixations on 1024 x 768 pixels, CPU time of one thread; "
    "packages score one pair per call, the library all at once. rapidfuzz is compiled; the library's string scores "
    "are in NumPy: slower per pair, without a further dependency."
)
Path = npt.NDArray[np.float64]
Pairs = list[tuple[int, int]]
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """One score: ``package`` computes it pair by pair, ``ours`` all pairs at once; both give (P,) or (P, 5)."""

    name: str
    package: str
    ours: Callable[[Sequence[Path], Pairs], Scores]
    theirs: Callable[[Sequence[Path], Pairs], Scores]


def scanpaths(count: int, rng: np.random.Generator) -> list[Path]:
    """Random paths [n, 3]: x, y in pixels, duration in seconds."""
    made = []
    for length in rng.integers(SHORTEST, LONGEST + 1, count):
        place = rng.uniform(0, 1, (length, 2)) * SCREEN
        made.append(np.column_stack([place.round(), rng.integers(50, 600, length) / 1000]))
    return made


def words(paths: Sequence[Path]) -> list[list[int]]:
    """Paths as objects of a scene."""
    return [(path[:, 0] * OBJECTS // SCREEN[0]).astype(int).tolist() for path in paths]


def package_multimatch(paths: Sequence[Path], pairs: Pairs, **limits: Any) -> Scores:
    """By multimatch_gaze; a row is NaN where its simplification fails on a path of one short saccade."""
    import multimatch_gaze

    kinds = [("start_x", float), ("start_y", float), ("duration", float)]
    records = [np.array([tuple(row) for row in path], dtype=kinds) for path in paths]
    found = np.full((len(pairs), 5), np.nan)
    for row, (a, b) in enumerate(pairs):
        try:
            found[row] = multimatch_gaze.docomparison(records[a], records[b], list(SCREEN), **limits)
        except IndexError:
            continue
    return found


def package_scanmatch(paths: Sequence[Path], pairs: Pairs) -> Scores:
    """By GazeParser, whose durations are whole milliseconds."""
    with contextlib.redirect_stdout(io.StringIO()):  # it speaks of its own settings
        from GazeParser.ScanMatch import ScanMatch

    matcher = ScanMatch(
        Xres=SCREEN[0], Yres=SCREEN[1], Xbin=BINS[0], Ybin=BINS[1], Threshold=THRESHOLD, TempBin=TEMP_BIN * 1000
    )
    matcher.mask = matcher.mask.astype(int)  # numbers of bins, which NumPy no longer takes as floats
    written = [matcher.fixationToSequence(path * (1, 1, 1000)) for path in paths]
    return np.array([matcher.match(written[a], written[b])[0] for a, b in pairs])


def package_strings(paths: Sequence[Path], pairs: Pairs, kind: str) -> Scores:
    """By rapidfuzz, compiled: Levenshtein distance, or longest common subsequence over the longer length."""
    from rapidfuzz.distance import LCSseq, Levenshtein

    score = Levenshtein.distance if kind == "edit" else LCSseq.normalized_similarity
    written = words(paths)
    return np.array([score(written[a], written[b]) for a, b in pairs], dtype=np.float64)


COMPARISONS = (
    Comparison("MultiMatch", "multimatch-gaze", lambda p, i: multimatches(p, i, SCREEN), package_multimatch),
    Comparison(
        "MultiMatch, simplified",
        "multimatch-gaze",
        lambda p, i: multimatches(p, i, SCREEN, GROUPING),
        lambda p, i: package_multimatch(p, i, grouping=True, **vars(GROUPING)),
    ),
    Comparison(
        "ScanMatch, 100 ms",
        "GazeParser",
        lambda p, i: scanmatches(p, i, SCREEN, BINS, THRESHOLD, TEMP_BIN),
        package_scanmatch,
    ),
    Comparison(
        "edit distance",
        "rapidfuzz",
        lambda p, i: edit_distances(words(p), i),
        lambda p, i: package_strings(p, i, "edit"),
    ),
    Comparison(
        "Sequence Score",
        "rapidfuzz",
        lambda p, i: sequence_scores(words(p), i),
        lambda p, i: package_strings(p, i, "subsequence"),
    ),
)


def installed(package: str) -> str:
    """Name and version, or an empty string."""
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return ""


def compare(count: int, rounds: int, seed: int) -> list[dict[str, Any]]:
    """Every score over all ordered pairs of ``count`` paths.

    Args:
        count: Number of paths.
        rounds: Number of timings, the two sides in turn; the best counts.
        seed: Seed of the random paths.

    Returns:
        One record per score. A score without its package installed has no times and no package.

    Raises:
        RuntimeError: Values differ.
    """
    paths = scanpaths(count, np.random.default_rng(seed))
    pairs = list(itertools.permutations(range(count), 2))
    records: list[dict[str, Any]] = []
    for one in COMPARISONS:
        record: dict[str, Any] = {"score": one.name, "package": installed(one.package), "pairs": len(pairs)}
        records.append(record)
        if not record["package"]:
            continue
        seconds, values = [float("inf")] * 2, [np.empty(0)] * 2
        for _ in range(rounds):
            for side, work in enumerate((one.ours, one.theirs)):
                start = time.thread_time()
                values[side] = work(paths, pairs)
                seconds[side] = min(seconds[side], time.thread_time() - start)
        counted = ~np.isnan(values[1]).reshape(len(pairs), -1).any(axis=1)
        error = float(np.abs(values[0] - values[1])[counted].max())
        if error > TOLERANCE:
            raise RuntimeError(f"{one.name} differs from {record['package']} by {error:.1e}")
        record |= {
            "compared": int(counted.sum()), "ours_s": seconds[0], "package_s": seconds[1],
            "ratio": seconds[1] / seconds[0], "largest_difference": error,
        }  # fmt: skip
    return records


def table(records: Sequence[dict[str, Any]]) -> str:
    """Rows of the results page."""
    lines = ["| score | reference | pairs compared | reference | library | times faster | largest difference |"]
    lines.append("|---|---|---|---|---|---|---|")
    for record in records:
        if not record["package"]:
            lines.append(f"| {record['score']} | not installed: `{INSTALL}` | - | - | - | - | - |")
            continue
        lines.append(
            f"| {record['score']} | {record['package']} | {record['compared']} of {record['pairs']} | "
            f"{record['package_s']:.3f} s | {record['ours_s']:.3f} s | {record['ratio']:.2g} | "
            f"{record['largest_difference']:.0e} |"
        )
    return "\n".join(lines)
