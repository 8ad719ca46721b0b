"""Greedy matching of predictions with annotations, for all groups and thresholds at once.

A group is a video, or a video and a class. Within a group the best prediction chooses first; across groups nothing
depends on anything, so the n-th prediction of every group is matched in one step.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from vision_suite.ops.segments import paired_tiou
from vision_suite.types.arrays import Bools, Floats, Ints


def pairs(row_group: Ints, column_group: Ints) -> tuple[Ints, Ints]:
    """Every (row, column) of the same group: two arrays (p,), row by row in the given order, columns ascending.

    Example:
        >>> pairs(np.array([1, 0]), np.array([0, 1, 1]))
        (array([0, 0, 1]), array([1, 2, 0]))
    """
    order = np.argsort(column_group, kind="stable")
    groups = column_group[order]
    first = np.searchsorted(groups, row_group, side="left")
    count = np.searchsorted(groups, row_group, side="right") - first
    rows = np.repeat(np.arange(len(row_group)), count)
    offset = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
    return rows, order[np.repeat(first, count) + offset]


def match(found_group: Ints, found: Floats, truth_group: Ints, truth: Floats, thresholds: Floats) -> Ints:
    """Find the annotation that each prediction takes at each threshold: (n, thresholds) int64, -1 for none.

    Each prediction, best first, takes the free annotation of its group with the largest tIoU that reaches the
    threshold (ActivityNet's rule: if the best annotation is taken already, the next best one that suffices counts).

    Args:
        found_group: (n,) group of each prediction, predictions in falling order of score.
        found: (n, 2) segments of the predictions.
        truth_group: (m,) group of each annotation.
        truth: (m, 2) segments of the annotations.
        thresholds: (t,) thresholds on tIoU.

    Example:
        >>> found, truth = np.array([[0.0, 9.0], [0.0, 8.0]]), np.array([[0.0, 10.0]])
        >>> match(np.array([0, 0]), found, np.array([0]), truth, np.array([0.5, 0.95]))
        array([[ 0, -1],
               [-1, -1]])
    """
    out = np.full((len(found), len(thresholds)), -1, dtype=np.int64)
    row, column = pairs(found_group, truth_group)
    overlap = paired_tiou(found[row], truth[column])
    near = overlap >= thresholds.min()
    row, column, overlap = row[near], column[near], overlap[near]
    if not len(row):
        return out
    group = found_group[row]
    # Number the annotations within their group, and the predictions that can match anything within theirs.
    truth_position = _position_in_group(truth_group)
    able, first = np.unique(row, return_index=True)
    turn = _position_in_group(found_group[able])
    ids, group_row = np.unique(found_group[able], return_inverse=True)
    width = np.zeros(len(ids), dtype=np.int64)
    pair_group = np.searchsorted(ids, group)
    np.maximum.at(width, pair_group, truth_position[column] + 1)
    # Groups of like size together: a video with a hundred annotations must not widen the arrays of all others.
    bucket = np.ceil(np.log2(width)).astype(np.int64)
    last = np.append(first[1:], len(row))
    for kind in np.unique(bucket):
        members = np.flatnonzero(bucket == kind)
        local = np.full(len(ids), -1, dtype=np.int64)
        local[members] = np.arange(len(members))
        breadth = int(width[members].max())
        here = np.flatnonzero(local[group_row] >= 0)
        taken: Bools = np.zeros((len(members), len(thresholds), breadth), dtype=np.bool_)
        original = np.full((len(members), breadth), -1, dtype=np.int64)
        chosen = local[pair_group] >= 0
        original[local[pair_group[chosen]], truth_position[column[chosen]]] = column[chosen]
        table = np.full((len(here), breadth), -1.0)
        spans = last[here] - first[here]
        at = np.repeat(first[here] - (np.cumsum(spans) - spans), spans) + np.arange(spans.sum())
        table[np.repeat(np.arange(len(here)), spans), truth_position[column[at]]] = overlap[at]
        by_turn = np.argsort(turn[here], kind="stable")
        limits = np.searchsorted(turn[here][by_turn], np.arange(turn[here].max() + 2))
        for begin, end in pairwise(limits):
            now = by_turn[begin:end]
            g = local[group_row[here[now]]]
            candidates = table[now][:, None, :]
            open_ = np.where(taken[g] | (candidates < thresholds[None, :, None]), -1.0, candidates)
            # From the right: of two annotations with equal overlap the later one is taken, as in the official code.
            best = breadth - 1 - open_[:, :, ::-1].argmax(axis=2)
            hit = np.take_along_axis(open_, best[:, :, None], axis=2)[:, :, 0] >= 0
            r, t = np.nonzero(hit)
            taken[g[r], t, best[r, t]] = True
            out[able[here[now]][r], t] = original[g[r], best[r, t]]
    return out


def _position_in_group(group: Ints) -> Ints:
    """0, 1, 2, ... within each group, in the given order."""
    order = np.argsort(group, kind="stable")
    ordered = group[order]
    starts = np.searchsorted(ordered, ordered, side="left")
    positions = np.empty(len(group), dtype=np.int64)
    positions[order] = np.arange(len(group)) - starts
    return positions
