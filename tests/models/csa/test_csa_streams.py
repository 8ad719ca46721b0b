"""Streams: the four contracts, against the path by which tests and predictions make detections of a whole video."""

from collections import Counter
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch
from long_tests import long

from vision_suite.callbacks.predict import tad as detection_writer
from vision_suite.callbacks.predict.tad import _Open
from vision_suite.datasets.tad.windows import window_starts
from vision_suite.errors import ConfigError, DataError
from vision_suite.models.csa import CSADetector
from vision_suite.models.csa.detections import detect, proposal_rows, video_rows
from vision_suite.models.csa.merging import StreamMerger, VideoMerger
from vision_suite.models.csa.postprocess import PostProcess, Proposals
from vision_suite.models.csa.streaming import StreamingDetector

NAMES = ["a", "b", "c"]
T, STRIDE, STEP = 16, 8, 0.5
SEGMENT = PostProcess(class_scope="segment")
POSTS = {
    "default": SEGMENT,
    "sharp": PostProcess(class_scope="segment", sigma=0.4, min_score=0.01, top_classes=1, per_sequence=60),
    "few": PostProcess(class_scope="segment", keep=7, vote=0.95, max_seconds=3.0),
    "none": PostProcess(class_scope="segment", nms="none", keep=30, fusion="sqrt"),
}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    made = CSADetector(8, 3, T, max_duration=8, self_attention="csa").eval()
    for parameter in made.parameters():
        parameter.data.mul_(1.5)  # scores that differ
    return made


def rows_of(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)


def detector_of(network, post=POSTS["sharp"]):
    return StreamingDetector(network, NAMES, post, cell_seconds=STEP)


def streamed(network, rows, sizes, post=POSTS["sharp"]):
    """What each piece and the end gave; every piece comes in the same array, as a reader's buffer does."""
    detector, out, at = detector_of(network, post), [], 0
    buffer = np.zeros((max(sizes), 8), dtype=np.float32)
    for size in sizes:
        piece = buffer[: len(rows[at : at + size])]
        piece[:] = rows[at : at + size]
        out.append(detector.feed(piece))
        at += size
    assert at >= len(rows)
    return [*out, detector.close()]


def flat(pieces):
    return list(chain.from_iterable(pieces))


def key(found):
    return [(e["label"], round(e["score"], 5), *np.round(e["segment"], 5)) for e in found]


def window_batches(network, rows, post):
    """The windows of a whole video, each as the batch and the output that predict gives its writer."""
    starts = window_starts(len(rows), T, STRIDE)
    for number, start in enumerate(starts):
        window = rows[start : start + T]
        features = torch.zeros(1, 8, T)
        features[0, :, : len(window)] = torch.from_numpy(window.T.copy())
        horizon = float("inf") if number == len(starts) - 1 else (start + STRIDE) * STEP
        facts = {"origin": start * STEP, "cell_seconds": STEP, "duration": len(rows) * STEP, "horizon": horizon}
        batch = {name: torch.tensor([value], dtype=torch.float64) for name, value in facts.items()}
        batch |= {"valid": (torch.arange(T) < len(window))[None], "video": torch.zeros(1, dtype=torch.int64)}
        batch["index"] = torch.tensor([number])
        with torch.inference_mode():
            output = network(features, batch["valid"])
            curves = torch.sigmoid(torch.stack([output.start, output.end], dim=1))
            yield batch, proposal_rows(network, output, batch, post), video_rows(output, batch), curves


def offline(network, rows, post):
    """Detections by the path of a test."""
    parts = list(window_batches(network, rows, post))
    proposals, windows = ([torch.cat(x) for x in zip(*(part[n] for part in parts), strict=True)] for n in (1, 2))
    return detect(proposals, windows, np.zeros((1, 3)), ["it"], [len(rows) * STEP], NAMES, post)[0]["it"]


def held_by_a_prediction(network, rows, post):
    """The most proposals and curve points that predict's writer holds of a video, and its detections."""
    video, most, points = _Open(0, post), 0, 0
    for batch, (sequence, values), (index, classes), curves in window_batches(network, rows, post):
        outputs = {"sequence": sequence - index[0], "values": values, "index": index, "classes": classes}
        video.add({**outputs, "curves": curves}, batch)
        most, points = max(most, video.merger.held), max(points, video.curve.points.shape[1])
    return most, points, video.detections(NAMES)


@pytest.mark.parametrize("count", [5, 16, 17, 83])
def test_a_stream_does_not_depend_on_its_pieces(network, count):
    rows = rows_of(count)
    whole = key(flat(streamed(network, rows, [count])))
    for sizes in ([1] * count, [3] * (count // 3 + 1), [7] * (count // 7 + 1), [40, 2, count]):
        assert key(flat(streamed(network, rows, sizes))) == whole
    assert whole


@pytest.mark.parametrize("name", POSTS)
@pytest.mark.parametrize("count", [5, 16, 17, 83, long(200)])
def test_a_stream_equals_a_test_and_a_prediction_of_the_same_windows(network, count, name):
    rows = rows_of(count)
    for post in (replace(POSTS[name], keep=10_000), POSTS[name]):
        tested, predicted = key(offline(network, rows, post)), key(held_by_a_prediction(network, rows, post)[2])
        said = key(flat(streamed(network, rows, [count], post)))
        assert sorted(predicted) == sorted(tested)
        # A whole video keeps the best of all that its stream says.
        assert len(tested) == min(post.keep * post.top_classes, len(said))
        assert not Counter(tested) - Counter(said)
    assert len(said) > len(tested) or count < 83 or name in ("sharp", "none")


@pytest.mark.parametrize("name", ["sharp", long("few")])
def test_what_was_said_is_not_changed_by_what_follows(network, name):
    rows = rows_of(200)
    for count in (17, 90, 151):
        begun = detector_of(network, POSTS[name])
        early = key(begun.feed(rows[:count]))
        other = rows.copy()
        other[count:] = rows_of(200 - count, seed=1) * 9
        for whole in (rows, other):
            said = key(flat(streamed(network, whole, [5] * 40, POSTS[name])))
            assert said[: len(early)] == early
    assert early


@pytest.mark.long
def test_memory_is_the_same_for_ten_minutes_and_two_hours(network, monkeypatch):
    """At a row every four seconds; counted where rows and proposals are held, in the stream and in predict's writer."""
    monkeypatch.setattr(detection_writer, "POINTS", 64)
    post, held = PostProcess(class_scope="segment", top_classes=1, per_sequence=40, min_score=1e-3, keep=20), []
    for minutes in (10, 120):
        rows, detector, most = rows_of(minutes * 15), detector_of(network, post), [0, 0]
        for at in range(0, len(rows), 5):
            detector.feed(rows[at : at + 5])
            most = np.maximum(most, [detector.cutter.held, detector.merger.held])
        held.append([*most, *held_by_a_prediction(network, rows, post)[:2]])
    short, long = np.array(held)
    assert (long <= 1.15 * short).all(), held
    assert long[0] <= 2 * T + 5
    assert long[3] <= 2 * 64


def proposals(*rows):
    table = np.array([row[:3] for row in rows], dtype=float)
    return Proposals(table[:, :2], table[:, 2], np.zeros((len(rows), 0), dtype=np.int64), np.ones((len(rows), 0)))


def test_what_was_said_goes_on_to_suppress():
    merger = StreamMerger(PostProcess(sigma=0.3))
    said = merger.add(proposals((0, 6, 0.9), (4, 12, 0.5)), 0.0, 8.0)
    assert said.segments.tolist() == [[0, 6]]
    rest = merger.add(proposals((8, 9, 0.1)), 8.0, float("inf"))
    lowered = rest.scores[rest.segments[:, 0] == 4][0]
    overlap = 2 / 12
    assert lowered == pytest.approx(0.5 * np.exp(-(overlap**2) / 0.3))
    assert merger.held == 0


def test_a_video_of_which_the_last_windows_are_missing_gives_what_there_is():
    merger = VideoMerger(PostProcess(nms="none"))
    merger.add(proposals((0, 6, 0.9), (4, 12, 0.5)), 0.0, 8.0, 20.0)
    assert merger.close(20.0).segments.tolist() == [[0, 6], [4, 12]]


@pytest.mark.parametrize(
    "settings", [{"nms": "bsn"}, {"nms_stage": "window_then_video"}, {"class_scope": "video"}], ids=str
)
def test_a_stream_refuses_what_needs_the_whole_video(network, settings):
    with pytest.raises(ConfigError, match="a stream has no whole video"):
        detector_of(network, PostProcess(**{"class_scope": "segment", **settings}))


def test_a_stream_refuses_networks_and_times_that_do_not_fit(network):
    with pytest.raises(ConfigError, match="2 class names were given to a network of 3"):
        StreamingDetector(network, NAMES[:2], SEGMENT, cell_seconds=STEP)
    for settings in ({"cell_seconds": 0.0}, {"cell_seconds": float("nan")}, {"overlap": 1.0}, {"origin": float("inf")}):
        with pytest.raises(ConfigError, match="must be above 0"):
            StreamingDetector(network, NAMES, SEGMENT, **{"cell_seconds": STEP, **settings})
    with pytest.raises(ConfigError, match=r"training mode: call its eval\(\)"):
        detector_of(CSADetector(8, 3, T))


def test_a_stream_refuses_rows_that_do_not_fit_and_goes_on_without_them(network):
    detector, rows = detector_of(network), rows_of(40)
    out = [detector.feed(rows[:20])]
    broken = rows[20:].copy()
    broken[3, 2] = np.nan
    for given, said in (
        (rows[:, :6], r"not a ndarray of shape \(40, 6\)"),
        (rows[0], r"of shape \(8,\)"),
        (torch.from_numpy(rows), "not a Tensor"),
        (broken, "row 23 of the stream"),
    ):
        with pytest.raises(DataError, match=said):
            detector.feed(given)
    out += [detector.feed(rows[20:]), detector.close()]
    assert key(flat(out)) == key(flat(streamed(network, rows, [40])))
    for again in (detector.close, lambda: detector.feed(rows)):
        with pytest.raises(DataError, match="the stream was closed"):
            again()
