"""Short lists: one label a span, thresholds with the best F1 by brute force, and what stands in for them."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_suite.errors import CheckpointError
from vision_suite.metrics.tad.operating_point import (
    FEW,
    check_point,
    choose_thresholds,
    described,
    measures_at,
    one_label_a_span,
    short_list,
)


def entry(start, end, score, label="a"):
    return {"label": label, "score": score, "segment": [start, end]}


def spans(found):
    return [(e["label"], *e["segment"]) for e in found]


def test_each_proposal_once_and_the_weaker_one_gives_way():
    twice = [entry(0, 10, 0.9), entry(0, 10, 0.4, "b")]
    assert spans(one_label_a_span(twice)) == [("a", 0, 10)]
    nested = [entry(0, 10, 0.9), entry(2, 4, 0.8, "b"), entry(0, 100, 0.7)]
    assert spans(one_label_a_span(nested)) == [("a", 0, 10)], "in another one, or around it"
    beside = [entry(10, 20, 0.9), entry(5, 11, 0.8, "b"), entry(19, 25, 0.7), entry(40, 50, 0.1)]
    assert spans(one_label_a_span(beside)) == [("a", 10, 20), ("b", 5, 10), ("a", 20, 25), ("a", 40, 50)]
    between = [entry(0, 10, 0.9), entry(14, 24, 0.8), entry(7, 17, 0.7)]
    assert spans(one_label_a_span(between)) == [("a", 0, 10), ("a", 14, 24)], "4 of 10 seconds are left"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 12), st.floats(0, 1), st.sampled_from("abc")), max_size=25)
)
def test_spans_never_overlap_and_the_best_is_among_them(rows):
    found = [entry(start, start + length, score, label) for start, length, score, label in rows]
    kept = one_label_a_span(found)
    assert [e["score"] for e in kept] == sorted((e["score"] for e in kept), reverse=True)
    ordered = sorted(e["segment"] for e in kept)
    assert all(a[1] <= b[0] for a, b in pairwise(ordered))
    usable = [e for e in found if e["segment"][1] > e["segment"][0]]
    assert bool(kept) == bool(usable)
    if usable:
        assert kept[0]["score"] == max(e["score"] for e in usable)


def case(seed, count):
    """A video of ``count`` annotations of a and two of b, each found with chance 0.8, among false ones."""
    rng = np.random.default_rng(seed)
    notes, entries = [], []
    for number in range(2 * count):
        label = "b" if number < 2 else "a"
        start = 20.0 * number
        if number < count + 2:
            notes.append({"segment": [start, start + 10], "label": label})
        if rng.random() < 0.8:
            entries.append(entry(start, start + 9, float(rng.random()), label))
    return {"database": {"v": {"annotations": notes}}}, {"v": entries}


def f1_at(truth, entries, labels, threshold):
    """F1 of separate spans, which meet an annotation of their label at the same start or none."""
    notes = [(n["segment"][0], n["label"]) for n in truth["database"]["v"]["annotations"] if n["label"] in labels]
    kept = [(e["segment"][0], e["label"]) for e in entries if e["label"] in labels and e["score"] >= threshold]
    return 2 * len(set(notes) & set(kept)) / (len(notes) + len(kept))


@pytest.mark.parametrize("seed", range(5))
def test_thresholds_are_the_best_by_brute_force(seed):
    truth, found = case(seed, 14)
    point = choose_thresholds(truth, found)
    every = [e["score"] for e in found["v"]]
    assert set(point["classes"]) == {"a"}, "of b there are too few annotations"
    for labels, chosen in (("a", point["classes"]["a"]), ("ab", point["shared"])):
        best = max(f1_at(truth, found["v"], labels, score) for score in every)
        assert f1_at(truth, found["v"], labels, chosen) == pytest.approx(best)
    kept = [e for e in found["v"] if e["score"] >= point["classes"].get(e["label"], point["shared"])]
    assert [(e["label"], e["segment"]) for e in short_list(found["v"], point)] == [
        (e["label"], e["segment"]) for e in kept
    ]
    starts = {n["segment"][0] for n in truth["database"]["v"]["annotations"]}
    right = sum(e["segment"][0] in starts for e in kept)
    assert point["precision"] == pytest.approx(right / len(kept))
    assert point["recall"] == pytest.approx(right / 16)
    assert measures_at(truth, found, point) == {name: point[name] for name in ("precision", "recall", "F1")}


def test_a_class_that_is_rare_or_never_found_takes_the_shared_threshold():
    notes = [{"segment": [20 * n, 20 * n + 10], "label": "ab"[n % 2]} for n in range(2 * FEW)]
    truth = {"database": {"v": {"annotations": notes}}}
    found = {"v": [entry(20 * n, 20 * n + 10, 0.5 + n / 100) for n in range(0, 2 * FEW, 2)]}
    point = choose_thresholds(truth, found)
    assert set(point["classes"]) == {"a"}
    assert point["annotations"] == {"a": FEW, "b": FEW}
    assert short_list([entry(0, 5, point["shared"] + 0.01, "b")], point)
    assert not short_list([entry(0, 5, point["shared"] - 0.01, "never annotated")], point)


def test_a_class_without_annotation_is_wrong_where_it_is_found():
    truth = {"database": {"v": {"annotations": [{"segment": [0, 10], "label": "a"}]}}}
    found = {"v": [entry(0, 10, 0.9), entry(20, 30, 0.8, "c")]}
    assert measures_at(truth, found, {"shared": 0.1, "classes": {}})["precision"] == 0.5


def test_without_thresholds_the_default_is_told():
    truth = {"database": {"v": {"annotations": [{"segment": [0, 10], "label": "a"}]}}}
    assert choose_thresholds(truth, {"v": [entry(50, 60, 0.9)]}) == {}, "nothing is right"
    kept = short_list([entry(0, 10, 0.4), entry(20, 30, 0.21), entry(40, 50, 0.19)], {})
    assert [e["score"] for e in kept] == [0.4, 0.21]
    assert "down to 0.5 of the video's best: the checkpoint has no thresholds" in described({})
    assert short_list([], {}) == []


@pytest.mark.parametrize(
    "point", [{"shared": "high", "classes": {}}, {"classes": {"a": 0.5}}, {"shared": 0.5}, {"x": 1}]
)
def test_a_damaged_operating_point_is_one_line(point):
    with pytest.raises(CheckpointError, match="operating_point has the thresholds"):
        check_point(point)
    check_point({})
