"""Proposals, merging and labels against hand cases and plain loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_suite.errors import ConfigError
from vision_suite.layers.proposal_map import Convention, ProposalMap
from vision_suite.models.csa.detections import class_probabilities, detect, video_scores
from vision_suite.models.csa.merging import VideoMerger, join
from vision_suite.models.csa.network import annotated_logits, interval_logits, video_logits
from vision_suite.models.csa.postprocess import PostProcess, Proposals, candidates, label, propose, suppress
from vision_suite.models.csa.recognizer import SequenceRecognizer, averaged, runs, step_labels


def loop_proposals(start, end, iou, confidence, valid, duration, boundary):
    """Every proposal and its score, one at a time."""
    out = {}
    length = len(start)
    for d in range(duration):
        for s in range(length):
            last = s + d
            at = last if boundary == "cell" else last + 1
            if last < valid and at < valid:
                out[s, last + 1] = iou[d, s] * confidence[d, s] * start[s] * end[at]
    return out


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.sampled_from(["cell", "point", "two_cells"]))
def test_proposals_equal_plain_loops(seed, valid, boundary):
    rng = np.random.default_rng(seed)
    start, end = rng.random(9), rng.random(9)
    iou, confidence = rng.random((6, 9)), rng.random((6, 9))
    convention = Convention(boundary=boundary)
    first, last, scores = propose(
        start, end, iou, confidence, valid, ProposalMap(9, 6), convention, PostProcess(score="all")
    )
    expected = loop_proposals(start, end, iou, confidence, valid, 6, boundary)
    assert dict(zip(zip(first.tolist(), last.tolist(), strict=True), scores, strict=True)) == pytest.approx(expected)
    assert (np.diff(scores) <= 0).all()
    assert (boundary == "cell") == bool(valid in last.tolist()), "only cells let a proposal end with the sequence"


def test_the_start_end_layout_proposes_the_same_segments():
    rng = np.random.default_rng(0)
    maps = rng.random((7, 7))
    by_duration, by_start = ProposalMap(7, 7), ProposalMap(7, 7, "start_end")
    other = np.zeros((7, 7))
    for d in range(7):
        for s in range(7 - d):
            other[s, s + d] = maps[d, s]
    one, two = (
        propose(np.ones(7), np.ones(7), m, m, 7, p, Convention(layout=p.layout), PostProcess())
        for m, p in ((maps, by_duration), (other, by_start))
    )
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_candidates_are_peaks_or_high():
    flags = candidates(np.array([0.1, 0.3, 0.2, 0.2, 0.9, 0.5, 0.46]))
    assert flags.tolist() == [False, True, False, False, True, True, True]
    first, last, _ = propose(
        np.array([0.0, 0.9, 0.0, 0.1]), np.array([0.0, 0.0, 0.9, 0.0]), np.ones((4, 4)), np.ones((4, 4)), 4,
        ProposalMap(4, 4), Convention(), PostProcess(candidates="peaks"),
    )  # fmt: skip
    pairs = set(zip(first.tolist(), last.tolist(), strict=True))
    assert pairs == {(0, 3), (0, 4), (1, 3), (1, 4), (3, 4)}


def proposals(*rows):
    table = np.array([row[:3] for row in rows], dtype=float)
    classes = np.array([row[3:4] for row in rows], dtype=np.int64).reshape(len(rows), -1)
    return Proposals(table[:, :2], table[:, 2], classes, np.ones(classes.shape))


def merge(parts, duration, post, step=float("inf")):
    """The proposals of a video's windows, which begin every ``step`` seconds."""
    merger = VideoMerger(post)
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        merger.add(part, number * step if number else 0.0, float("inf") if last else (number + 1) * step, duration)
    return merger.close(duration)


def test_once_over_the_video_or_twice():
    one, two = proposals((0, 10, 0.9), (0, 9, 0.8)), proposals((1, 10, 0.7))
    once = merge([one, two], 20.0, PostProcess(sigma=0.5), 1.0)
    twice = merge([one, two], 20.0, PostProcess(sigma=0.5, nms_stage="window_then_video"), 1.0)
    first = suppress(one, 20.0, PostProcess(sigma=0.5))
    expected = suppress(join([first, two]), 20.0, PostProcess(sigma=0.5))
    np.testing.assert_array_equal(twice.scores, expected.scores)
    assert once.scores[0] == twice.scores[0] == 0.9
    assert sorted(twice.scores)[0] < sorted(once.scores)[0], "suppressed in its window and again in the video"


def test_long_and_empty_proposals_are_dropped_and_voting_moves():
    found = suppress(proposals((0, 10, 0.9), (0, 40, 0.8)), 50.0, PostProcess(max_seconds=20))
    assert found.segments.tolist() == [[0, 10]]
    assert len(merge([proposals((3, 3, 0.9), (3, 4, 0.1))], 5.0, PostProcess()).scores) == 1
    moved = suppress(proposals((0, 10, 0.9), (0, 10.2, 0.8)), 50.0, PostProcess(vote=0.9)).segments
    assert 10 < moved[0, 1] < 10.2


def test_labels_by_video_and_by_segment():
    found = proposals((0, 10, 0.5))
    by_video = label(found, np.array([0.2, 0.9, 0.4]), ["a", "b", "c"], PostProcess(top_classes=2))
    assert [(e["label"], round(e["score"], 3)) for e in by_video] == [("b", 0.45), ("c", 0.2)]
    assert by_video[0]["segment"] == [0.0, 10.0]
    rooted = label(found, np.array([0.2, 0.5, 0.4]), ["a", "b", "c"], PostProcess(top_classes=1, fusion="sqrt"))
    assert rooted[0]["score"] == pytest.approx(0.5)
    own = label(proposals((0, 10, 0.5, 2)), None, ["a", "b", "c"], PostProcess(class_scope="segment"))
    assert [e["label"] for e in own] == ["c"]


def test_class_scores_of_a_video_are_the_mean_of_its_cells():
    values = torch.tensor([[0, 0, 9, 10, 20.0, -10], [1, 0, 9, 5, 5.0, 5], [0, 9, 99, 30, 20.0, 50]]).double()
    found = video_scores(values, 2, outside=False)
    expected = 1 / (1 + np.exp(-np.array([[1.0, 1.0], [1.0, 1.0]])))
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(video_scores(values, 2, outside=True), [[1, 1], [1, 1]])
    np.testing.assert_allclose(class_probabilities(np.array([[2.0, 0.0]])), [[0.5]])


def test_interval_logits_are_means():
    snippet = torch.randn(3, 8)
    found = interval_logits(snippet, torch.tensor([0, 2]), torch.tensor([8, 3]))
    torch.testing.assert_close(found, torch.stack([snippet.mean(1), snippet[:, 2]]))
    valid = torch.tensor([[True] * 5 + [False] * 3])
    torch.testing.assert_close(video_logits(snippet[None], valid)[0], snippet[:, :5].mean(1))
    segments, present = torch.tensor([[[1.2, 3.1], [0, 0], [7.9, 8.0]]]), torch.tensor([[True, False, True]])
    touched = annotated_logits(snippet[None], segments, present)
    torch.testing.assert_close(touched, torch.stack([snippet[:, 1:4].mean(1), snippet[:, 7]]))


def test_detections_of_several_videos():
    rows = torch.tensor([[1, 0, 5, 0.9, 0, 0.8], [1, 20, 30, 0.5, 1, 0.7], [0, 0, 4, 0.9, 1, 1.0]], dtype=torch.float64)
    end = float("inf")
    windows = torch.tensor([[1, 0, end, 1, 0, 0], [2, 0, end, 1, 0, 0], [0, 0, end, 1, 0, 0]], dtype=torch.float64)
    found, bare = detect(
        (torch.tensor([0, 0, 3]), rows), (torch.tensor([0, 1, 3]), windows), np.zeros((3, 2)), ["a", "b", "c"],
        [5.0, 30.0, 1.0], ["x", "y"], PostProcess(class_scope="segment"),
    )  # fmt: skip
    assert {name: len(entries) for name, entries in found.items()} == {"a": 1, "b": 2, "c": 0}
    assert [(e["label"], e["segment"]) for e in found["b"]] == [("x", [0, 5]), ("y", [20, 30])]
    assert "label" not in bare["b"][0]
    single = (torch.tensor(3), rows[2:]), (torch.tensor(3), windows[2:])
    alone, _ = detect(*single, np.zeros((1, 2)), ["a"], [5.0], ["x", "y"], PostProcess(class_scope="segment"))
    assert alone == {"a": found["a"]}


def test_impossible_settings():
    for settings_ in ({"keep": 0}, {"vote": 1.5}, {"sigma": 0.0}, {"top_classes": 0}):
        with pytest.raises(ConfigError):
            PostProcess(**settings_)


def test_steps_and_runs():
    labels = step_labels(torch.tensor([[[1.0, 3.0], [4.0, 9.0], [0, 0]]]), torch.tensor([[1, 0, -1]]), 6, 2)
    assert labels.tolist() == [[2, 1, 1, 2, 0, 0]]
    probability = np.array(
        [[0.1, 0.1, 0.1, 0.2, 0.9, 0.7], [0.1, 0.8, 0.6, 0.1, 0.0, 0.1], [0.8, 0.1, 0.3, 0.7, 0.1, 0.2]]
    )
    found = runs(probability, ["x", "y"], 10.0, 2.0, 21.0)
    assert [(e["label"], round(e["score"], 2), e["segment"]) for e in found] == [
        ("x", 0.8, [18.0, 21.0]),
        ("y", 0.7, [12.0, 16.0]),
    ]


def test_overlapping_windows_are_averaged_step_by_step():
    early, late = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), np.array([[0.5, 0.0], [0.5, 1.0]])
    origin, joined = averaged([(11.0, late), (10.0, early), (12.0, late)], 0.5)
    assert origin == 10.0
    np.testing.assert_allclose(joined, [[1, 1, 0.25, 0, 0.5, 0], [0, 0, 0.75, 1, 0.5, 1]])


def test_the_recogniser_sees_its_surroundings_and_gives_semantics():
    network = SequenceRecognizer(4, 3, width=8, depth=3).eval()
    sequence = torch.randn(2, 4, 30)
    assert network.semantics(sequence).shape == (2, 8 + 4, 30)
    torch.testing.assert_close(network.semantics(sequence)[:, 8:], network(sequence))
