"""Alignment of symbol strings, many pairs at once: Sequence Score, edit distance, Needleman-Wunsch.

Object level: symbols are object numbers (OAT's evaluation). Other symbols give the other forms of the literature:
labels of mean-shift clusters (Sequence Score, FED), semantic labels (SemSS, SemFED), grid letters (SED), grid bins
(ScanMatch). See `vision_suite.metrics.scanpath.pairwise.symbols`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.scanpath.paths import as_pairs, chunks
from vision_suite.types.arrays import Bools, Floats, Ints

Symbols = Sequence[Hashable] | npt.NDArray[Any]
FEW = 32  # pairs; above it a loop over cells beats NumPy's accumulate, which walks memory pair by pair


def sequence_score(a: Symbols | None, b: Symbols | None) -> float:
    """Sequence Score of two strings: longest common subsequence over the longer length.

    That is Needleman-Wunsch with match 1, mismatch 0 and gap 0, as in OAT, HAT, Gazeformer and IRL.

    Args:
        a: Symbols, any hashables; a ``str`` is a list of letters. Arrays and tensors of one dimension are accepted.
        b: Symbols of the other string.

    Returns:
        0..1; 1 for two empty strings, 0 if one is empty, NaN if one is None (see `sequence_scores`).

    Example:
        >>> sequence_score("ABCD", "ABD"), sequence_score([3, 7, 9], [3, 9])
        (0.75, 0.6666666666666666)
    """
    return float(sequence_scores([a, b], [(0, 1)])[0])


def edit_distance(a: Symbols | None, b: Symbols | None) -> float:
    """Levenshtein distance of two strings with unit costs, not normalised (FED, SED, SemFED).

    Args:
        a: Symbols, any hashables; a ``str`` is a list of letters. Arrays and tensors of one dimension are accepted.
        b: Symbols of the other string.

    Returns:
        0 for two empty strings, the other's length if one is empty, NaN if one is None (see `edit_distances`).

    Example:
        >>> edit_distance("ABCD", "ABD")
        1.0
    """
    return float(edit_distances([a, b], [(0, 1)])[0])


def sequence_scores(paths: Sequence[Symbols | None], pairs: npt.ArrayLike) -> Floats:
    """Sequence Scores of many pairs, see `sequence_score`.

    Args:
        paths: N strings; None, as `repeat_by_duration` has it for unknown or too short durations, gives NaN.
        pairs: (P, 2) indices into ``paths``.

    Returns:
        (P,) float64.

    Example:
        >>> sequence_scores(["ABCD", "ABD", "AB"], [(0, 1), (0, 2)]).tolist()
        [0.75, 0.5]
    """
    codes, lengths, index, known = _prepare(paths, pairs)
    longer = lengths[index].max(axis=1, initial=0)
    common = align(codes, lengths, index, match=1, mismatch=0, gap=0)
    score = np.where(longer > 0, common / np.maximum(longer, 1), 1.0)
    return np.where(known, score, np.nan)


def edit_distances(paths: Sequence[Symbols | None], pairs: npt.ArrayLike) -> Floats:
    """Edit distances of many pairs, see `edit_distance`.

    Args:
        paths: N strings; None gives NaN.
        pairs: (P, 2) indices into ``paths``.

    Returns:
        (P,) float64.

    Example:
        >>> edit_distances(["ABCD", "ABD", "AB"], [(0, 1), (0, 2)]).tolist()
        [1.0, 2.0]
    """
    codes, lengths, index, known = _prepare(paths, pairs)
    return np.where(known, 0.0 - align(codes, lengths, index, match=0, mismatch=-1, gap=-1), np.nan)


def encode(paths: Sequence[Symbols]) -> tuple[Ints, Ints]:
    """Encode strings as one table of integers.

    Returns:
        (N, L) int64, equal numbers for equal symbols, -1 behind the end; (N,) int64 lengths.

    Raises:
        DataError: A symbol is not hashable, such as the rows of a table.

    Example:
        >>> codes, lengths = encode(["ABA", "B"])
        >>> codes.tolist(), lengths.tolist()
        ([[0, 1, 0], [1, -1, -1]], [3, 1])
    """
    lengths = np.array([len(path) for path in paths], dtype=np.int64)
    codes = np.full((len(paths), int(lengths.max(initial=0))), -1, dtype=np.int64)
    number: dict[Hashable, int] = {}
    for row, path in zip(codes, paths, strict=True):
        # Elements of a tensor are tensors, each of which is another symbol.
        symbols: Sequence[Hashable] = path if isinstance(path, Sequence) else np.asarray(path).tolist()
        try:
            row[: len(path)] = [number.setdefault(symbol, len(number)) for symbol in symbols]
        except TypeError as error:
            raise DataError(f"a symbol of a scanpath cannot be compared ({error}): give a flat list") from None
    return codes, lengths


def align(
    codes: Ints,
    lengths: Ints,
    pairs: Ints,
    *,
    match: float = 1.0,
    mismatch: float = 0.0,
    gap: float = 0.0,
    substitution: Floats | None = None,
) -> Floats:
    """Score of the best global alignment (Needleman-Wunsch) of many pairs.

    Row i of the table is computed for all pairs together: first from above and diagonally, then the gaps within the
    row, F[i, j] = max over k <= j of C[i, k] + (j - k) gap, as one running maximum.

    Args:
        codes: (N, L) int64 symbols, anything behind the ends.
        lengths: (N,) int64 lengths.
        pairs: (P, 2) int64 indices of strings.
        match: Gain of equal symbols.
        mismatch: Gain of unequal symbols.
        gap: Gain of a gap, 0 or less.
        substitution: (K, K) gains by symbols instead of ``match`` and ``mismatch``. The result is then the largest cell
            of a table that starts with one gap too many, F[i, 0] = (i + 1) gap, as ScanMatch's programs have it.

    Returns:
        (P,) float64.

    Raises:
        ConfigError: The gap is positive.

    Example:
        >>> codes, lengths = encode(["ABCD", "ABD"])
        >>> align(codes, lengths, np.array([(0, 1)]), match=1, gap=0).tolist()
        [3.0]
        >>> align(codes, lengths, np.array([(0, 1)]), match=1, gap=-1).tolist()
        [2.0]
    """
    if not gap <= 0:
        raise ConfigError(f"gap={gap} rewards gaps: give 0 or less")
    out = np.zeros(len(pairs))
    length_a, length_b = lengths[pairs[:, 0]], lengths[pairs[:, 1]]
    # Small whole numbers are exact in float32; ScanMatch's gains are not whole.
    kind: type[np.floating[Any]] = np.float32 if substitution is None else np.float64
    for rows in chunks(np.ones_like(length_a), length_b):
        rows = rows[np.argsort(-length_a[rows], kind="stable")]
        end_a, end_b = length_a[rows], length_b[rows]
        # Pairs lie along the last axis: every operation, the running maximum too, works on whole rows of memory.
        a, b = codes[pairs[rows, 0]].T, np.ascontiguousarray(codes[pairs[rows, 1], : end_b.max()].T)
        drift = np.arange(len(b) + 1)[:, None].astype(kind) * kind(gap)
        table = np.repeat(drift + kind(0 if substitution is None else gap), len(rows), axis=1)
        behind = np.arange(len(b) + 1)[:, None] > end_b
        largest = np.where(behind, -np.inf, table).max(axis=0)
        alive = (end_a[:, None] > np.arange(end_a.max(initial=0))).sum(axis=0)
        for step, count in enumerate(alive):  # rows are sorted by length: the pairs still running are the first ones
            if substitution is None:
                gain = np.where(b[:, :count] == a[step, :count], kind(match), kind(mismatch))
            else:
                gain = substitution[a[step, :count], b[:, :count]]
            row = table[:, :count] + kind(gap)
            np.maximum(row[1:], table[:-1, :count] + gain, out=row[1:])
            if gap:
                row -= drift
            _running_maximum(row)
            if gap:
                row += drift
            table[:, :count] = row
            if substitution is not None:
                largest[:count] = np.maximum(largest[:count], np.where(behind[:, :count], -np.inf, row).max(axis=0))
        corner = table[end_b, np.arange(len(rows))]
        out[rows] = corner if substitution is None else largest
    return out


def _running_maximum(row: npt.NDArray[np.floating[Any]]) -> None:
    if row.shape[1] < FEW:
        np.maximum.accumulate(row, axis=0, out=row)
        return
    for index in range(1, len(row)):
        np.maximum(row[index], row[index - 1], out=row[index])


def _prepare(paths: Sequence[Symbols | None], pairs: npt.ArrayLike) -> tuple[Ints, Ints, Ints, Bools]:
    codes, lengths = encode([() if path is None else path for path in paths])
    index = as_pairs(pairs, len(paths))
    known = np.array([path is not None for path in paths], dtype=np.bool_)
    both: Bools = known[index[:, 0]] & known[index[:, 1]]
    return codes, lengths, index, both
