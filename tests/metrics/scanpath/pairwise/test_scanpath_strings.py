"""String metrics against hand oracles, rapidfuzz, and plain loops over one pair."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import LCSseq, Levenshtein

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.scanpath import (
    edit_distance,
    edit_distances,
    grid_letters,
    labels_at,
    object_labels,
    repeat_by_duration,
    sequence_score,
    sequence_scores,
)
from vision_suite.metrics.scanpath.pairwise.strings import align
from vision_suite.types import BACKGROUND

WORDS = st.lists(st.integers(0, 4), max_size=9)


def loop_needleman_wunsch(a, b, match, mismatch, gap):
    table = np.zeros((len(a) + 1, len(b) + 1))
    table[:, 0], table[0] = gap * np.arange(len(a) + 1), gap * np.arange(len(b) + 1)
    for i in range(len(a)):
        for j in range(len(b)):
            diagonal = table[i, j] + (match if a[i] == b[j] else mismatch)
            table[i + 1, j + 1] = max(diagonal, table[i, j + 1] + gap, table[i + 1, j] + gap)
    return table[-1, -1]


@pytest.mark.parametrize(
    ("a", "b", "score", "distance"),
    [
        ("ABCD", "ABD", 0.75, 1),
        ("ABAB", "BABA", 0.75, 2),
        ("A", "A", 1, 0),
        ("A", "B", 0, 1),
        ("AAAA", "A", 0.25, 3),
        ("ABCDE", "EDCBA", 0.2, 4),
        ("ABC", "", 0, 3),
        ("", "ABC", 0, 3),
        ("", "", 1, 0),
        ("KITTEN", "SITTING", 4 / 7, 3),
    ],
)
def test_hand_oracles(a, b, score, distance):
    assert sequence_score(a, b) == pytest.approx(score, abs=1e-12)
    assert edit_distance(a, b) == distance
    assert sequence_score(list(a), tuple(b)) == sequence_score(a, b)


def test_a_table_is_no_list_of_symbols():
    with pytest.raises(DataError, match=r"cannot be compared .*: give a flat list"):
        sequence_score(np.zeros((2, 2)), [1])


def test_any_hashable_is_a_symbol():
    assert sequence_score([("cup", 1), None, 3], [("cup", 1), 3]) == pytest.approx(2 / 3)
    assert sequence_score(np.array([5, 1, 9]), [5, 9]) == pytest.approx(2 / 3)
    assert edit_distance(torch.tensor([5, 1, 9]), [5, 9]) == 1, "elements of a tensor are equal only to themselves"


@settings(max_examples=40, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=7))
def test_many_pairs_equal_a_loop(words):
    pairs = [(i, j) for i in range(len(words)) for j in range(len(words))]
    scores, distances = sequence_scores(words, pairs), edit_distances(words, pairs)
    for (i, j), score, distance in zip(pairs, scores, distances, strict=True):
        a, b = words[i], words[j]
        common = loop_needleman_wunsch(a, b, 1, 0, 0)
        assert score == pytest.approx(common / max(len(a), len(b)) if a or b else 1.0, abs=1e-12)
        assert distance == -loop_needleman_wunsch(a, b, 0, -1, -1)
        assert len(a) + len(b) - 2 * common >= distance >= max(len(a), len(b)) - common
    table = distances.reshape(len(words), -1)
    np.testing.assert_array_equal(table, table.T)
    assert (table[:, None, :] <= table[:, :, None] + table[None]).all()  # triangle inequality


@settings(max_examples=25, deadline=None)
@given(WORDS, WORDS, st.sampled_from([0.0, -0.5, -1.0, -3.0]), st.sampled_from([-2.0, 0.0, 0.25]))
def test_needleman_wunsch_equals_a_loop(a, b, gap, mismatch):
    codes = np.full((2, 9), -1)
    codes[0, : len(a)], codes[1, : len(b)] = a, b
    lengths = np.array([len(a), len(b)])
    # The same pair often enough that both forms of the running maximum are met.
    for count in (1, 50):
        found = align(codes, lengths, np.array([[0, 1]] * count), match=2, mismatch=mismatch, gap=gap)
        np.testing.assert_allclose(found, loop_needleman_wunsch(a, b, 2, mismatch, gap), atol=1e-6)


def test_bundles_do_not_change_scores(monkeypatch):
    generator = np.random.default_rng(0)
    words = [generator.integers(0, 5, generator.integers(0, 30)).tolist() for _ in range(20)]
    pairs = generator.integers(0, 20, (200, 2))
    whole = sequence_scores(words, pairs), edit_distances(words, pairs)
    from vision_suite.metrics.scanpath import paths as scanpath_paths

    monkeypatch.setattr(scanpath_paths.chunks, "__defaults__", (200,))
    np.testing.assert_array_equal(whole, (sequence_scores(words, pairs), edit_distances(words, pairs)))


def test_no_pairs_and_unknown_strings():
    assert sequence_scores(["AB"], []).shape == (0,)
    scores = sequence_scores(["AB", None], [(0, 0), (0, 1), (1, 1)])
    np.testing.assert_array_equal(scores, [1, np.nan, np.nan])
    assert np.isnan(edit_distances([None], [(0, 0)])).all()
    with pytest.raises(DataError, match="pairs name path 2 of 2"):
        sequence_scores(["A", "B"], [(0, 2)])
    with pytest.raises(ConfigError, match="rewards gaps"):
        align(np.zeros((1, 1), dtype=np.int64), np.array([1]), np.array([[0, 0]]), gap=1)


def test_duration_oracle():
    a = repeat_by_duration("ABC", [0.210, 0.149, 0.400])
    b = repeat_by_duration("ABD", [0.180, 0.160, 0.350])
    assert ("".join(a), "".join(b)) == ("AAAABBCCCCCCCC", "AAABBBDDDDDDD")
    assert sequence_score(a, b) == pytest.approx(0.357142857, abs=1e-9)
    assert edit_distance(a, b) == 9
    assert sequence_score("ABC", "ABD") == pytest.approx(2 / 3)
    assert edit_distance("ABC", "ABD") == 1


def test_a_path_without_a_symbol_has_no_score_and_an_empty_one_has():
    short, other = repeat_by_duration([0, 1], [0.02, 0.03]), repeat_by_duration([2, 3], [0.01, 0.04])
    assert short is None
    assert other is None
    whole = repeat_by_duration([0], [0.05])
    for score in (sequence_score, edit_distance):
        assert np.isnan(score(short, other))
        assert np.isnan(score(short, whole))
        assert np.isnan(score(short, repeat_by_duration([], [])))
    # No fixation at all is something else, and by duration the same as without.
    assert repeat_by_duration([], []) == []
    assert (sequence_score([], []), edit_distance([], [])) == (1, 0)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_whole_multiples_of_50_ms_stay_whole(kind):
    for count in range(1, 61):
        assert len(repeat_by_duration("A", np.array([count * 50 / 1000], dtype=kind))) == count


def test_durations_are_seconds():
    assert repeat_by_duration("AB", [0.2, np.nan]) is None
    with pytest.raises(DataError, match="divide milliseconds by 1000"):
        repeat_by_duration("A", [210])
    with pytest.raises(DataError, match="duration of -1"):
        repeat_by_duration("A", [-1])
    with pytest.raises(ConfigError, match=r"50 ms are 0\.05"):
        repeat_by_duration("A", [0.2], step=50)
    with pytest.raises(ConfigError, match=r"step=1\.2 must be in seconds, above 0 and at most 1"):
        repeat_by_duration("A", [0.2], step=1.2)
    with pytest.raises(DataError, match="2 symbols but 1 durations"):
        repeat_by_duration("AB", [0.2])


def test_semantic_symbols():
    assert object_labels([0, 2, BACKGROUND], ["cup", "fork", "cup"]) == ["cup", "cup", BACKGROUND]
    assert object_labels(np.array([7]), {7: "cup"}) == ["cup"]
    with pytest.raises(DataError, match="object 3 has no category"):
        object_labels([3], ["cup"])
    label_map = np.arange(12).reshape(3, 4)
    with pytest.warns(UserWarning, match="1 of 3 fixations lie outside the screen of 4 x 3"):
        assert labels_at(label_map, [(1.9, 0.2), (3, 2), (-5, 50)]) == [1, 11, 8]
    with pytest.raises(DataError, match=r"label map has shape \(0, 4\)"):
        labels_at(label_map[:0], [(1, 1)])
    assert labels_at(label_map, np.empty((0, 3))) == []


def test_grid_letters_oracle():
    first = [(100, 100, 0.20), (300, 150, 0.25), (350, 400, 0.15), (700, 420, 0.30), (640, 200, 0.22)]
    second = [(120, 110, 0.22), (310, 170, 0.20), (600, 400, 0.35), (660, 220, 0.25)]
    letters = grid_letters(first, (1024, 768)), grid_letters(second, (1024, 768))
    assert letters == ("ablni", "agmi")
    assert edit_distance(*letters) == 3
    with pytest.warns(UserWarning, match="2 of 2 fixations lie outside the screen of 1024 x 768"):
        assert grid_letters([(-9, -9), (5000, 5000)], (1024, 768)) == "ay"
    assert grid_letters([], (1024, 768)) == ""
    with pytest.raises(ConfigError, match="cells=6"):
        grid_letters(first, (1024, 768), 6)
    with pytest.raises(DataError, match="multiply shares by the screen"):
        grid_letters([(0.1, 0.2), (0.9, 0.5)], (1024, 768))


@settings(max_examples=200, deadline=None)
@given(WORDS, WORDS)
def test_equal_rapidfuzz(a, b):
    assert edit_distance(a, b) == Levenshtein.distance(a, b)
    if a or b:  # two empty paths are equal there
        assert sequence_score(a, b) == pytest.approx(LCSseq.normalized_similarity(a, b))
