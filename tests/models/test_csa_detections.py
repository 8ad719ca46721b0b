"""Proposals, merging, labels and streams against hand cases, plain loops and the contracts of a stream."""

from itertools import chain, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_suite.datasets.tad_windows import window_starts
from vision_suite.errors import ConfigError
from vision_suite.layers.proposal_map import Convention, ProposalMap
from vision_suite.models.csa import CSADetector
from vision_suite.models.csa.detections import class_probabilities, detect, to_proposals, video_scores
from vision_suite.models.csa.network import annotated_logits, interval_logits, video_logits
from vision_suite.models.csa.postprocess import PostProcess, Proposals, candidates, label, merge, propose, suppress
from vision_suite.models.csa.recognizer import SequenceRecognizer, runs, step_labels
from vision_suite.models.csa.streaming import StreamingDetector, StreamMerger


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


def test_once_over_the_video_or_twice():
    one, two = proposals((0, 10, 0.9), (0, 9, 0.8)), proposals((1, 10, 0.7))
    once = merge([one, two], 20.0, PostProcess(sigma=0.5))
    twice = merge([one, two], 20.0, PostProcess(sigma=0.5, nms_stage="window_then_video"))
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
    values = torch.tensor([[0, 10, 20.0, -10], [1, 5, 5.0, 5], [0, 30, 20.0, 50]]).double()
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
    found, bare = detect(
        torch.tensor([0, 0, 3]), rows, np.zeros((3, 2)), ["a", "b", "c"], [5.0, 30.0, 1.0], ["x", "y"],
        PostProcess(class_scope="segment"),
    )  # fmt: skip
    assert set(found) == {"a", "b"}
    assert [(e["label"], e["segment"]) for e in found["b"]] == [("x", [0, 5]), ("y", [20, 30])]
    assert "label" not in bare["b"][0]


POST = PostProcess(class_scope="segment", sigma=0.4, min_score=0.01, top_classes=1, per_sequence=60)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    made = CSADetector(8, 3, 16, max_duration=8, self_attention="csa").eval()
    for parameter in made.parameters():
        parameter.data.mul_(1.5)  # scores that differ
    return made


def streamed(network, rows, sizes, post=POST):
    detector = StreamingDetector(network, ["a", "b", "c"], post, cell_seconds=0.5, overlap=0.5)
    out, at, held = [], 0, []
    for size in sizes:
        out.append(detector.feed(rows[at : at + size]))
        at += size
        held.append(detector.cutter.held + detector.merger.held)
    assert at >= len(rows)
    out.append(detector.close())
    return out, held


def flat(pieces):
    return list(chain.from_iterable(pieces))


def rows_of(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)


def key(found):
    return [(e["label"], round(e["score"], 5), *np.round(e["segment"], 5)) for e in found]


@pytest.mark.parametrize("count", [5, 16, 17, 83])
def test_a_stream_does_not_depend_on_its_pieces(network, count):
    rows = rows_of(count)
    whole = key(flat(streamed(network, rows, [count])[0]))
    for sizes in ([1] * count, [7] * (count // 7 + 1), [40, 2, count]):
        assert key(flat(streamed(network, rows, sizes)[0])) == whole
    assert whole


def test_a_stream_equals_the_offline_run_of_the_same_windows(network):
    rows = rows_of(83)
    merger, offline = StreamMerger(POST), []
    starts = window_starts(83, 16, 8)
    for number, start in enumerate(starts):
        alone = StreamingDetector(network, ["a", "b", "c"], POST, cell_seconds=0.5, origin=start * 0.5)
        batch_values = []
        original = alone.merger.add
        alone.merger.add = lambda found, begin, horizon, keep=batch_values, add=original: (
            keep.append(found),
            add(found, begin, horizon),
        )[1]
        alone.feed(rows[start : start + 16])
        alone.close()
        horizon = float("inf") if number == len(starts) - 1 else (start + 8) * 0.5
        offline += label(merger.add(batch_values[-1], start * 0.5, horizon), None, ["a", "b", "c"], POST)
    stream = flat(streamed(network, rows, [83])[0])
    assert sorted(key(stream)) == sorted(key(offline))


def test_memory_does_not_grow_and_nothing_is_taken_back(network):
    short, long = (streamed(network, rows_of(n), [5] * (n // 5))[1] for n in (200, 1600))
    assert max(long) <= 1.25 * max(short)
    out, _ = streamed(network, rows_of(200), [5] * 40)
    emitted = [piece for piece in out if piece]
    assert len(emitted) > 5
    for earlier, later in pairwise(emitted):
        # What comes later ends later than the horizon of the earlier piece began.
        assert max(e["segment"][1] for e in later) > max(e["segment"][1] for e in earlier) - 8 * 0.5


def test_what_was_said_goes_on_to_suppress():
    merger = StreamMerger(PostProcess(sigma=0.3))
    said = merger.add(proposals((0, 6, 0.9), (4, 12, 0.5)), 0.0, 8.0)
    assert said.segments.tolist() == [[0, 6]]
    rest = merger.add(proposals((8, 9, 0.1)), 8.0, float("inf"))
    lowered = rest.scores[rest.segments[:, 0] == 4][0]
    overlap = 2 / 12
    assert lowered == pytest.approx(0.5 * np.exp(-(overlap**2) / 0.3))
    assert merger.held == 0


def test_a_stream_refuses_what_needs_the_whole_video():
    with pytest.raises(ConfigError, match="needs gaussian or none"):
        StreamMerger(PostProcess(nms="bsn"))


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


def test_the_recogniser_sees_its_surroundings_and_gives_semantics():
    network = SequenceRecognizer(4, 3, width=8, depth=3).eval()
    sequence = torch.randn(2, 4, 30)
    assert network.semantics(sequence).shape == (2, 8 + 4, 30)
    torch.testing.assert_close(network.semantics(sequence)[:, 8:], network(sequence))


def test_positive_horizon_keeps_indices(network):
    """Rows of a network's output come back as the proposals they were."""
    values = np.array([[0, 1.0, 2.0, 0.5, 1, 0.6]])
    found = to_proposals(values)
    assert (found.classes.tolist(), found.class_scores.tolist()) == ([[1]], [[0.6]])
