"""Pictures of detections: sizes, colours where something happens, and cases without anything to show."""

import numpy as np
from PIL import Image

from vision_suite.viz.tad.curves import error_analysis, tiou_curves
from vision_suite.viz.tad.timeline import LEFT, ROW, WIDTH, Timeline, timeline


def entry(start, end, score=1.0, label="run"):
    return {"segment": [start, end], "score": score, "label": label}


def colours(picture):
    """Number of pixels that are neither grey nor nearly so."""
    pixels = np.asarray(picture).astype(int)
    return int((pixels.max(2) - pixels.min(2) > 60).sum())


def test_a_timeline_shows_actions_over_their_time():
    picture = timeline(Timeline(100.0, [entry(0, 50)], [entry(50, 100)]), title="a video")
    pixels = np.asarray(picture).astype(int)
    coloured = pixels.max(2) - pixels.min(2) > 60
    half = picture.width // 2
    upper, lower = coloured[: picture.height // 2], coloured[picture.height // 2 :]
    assert upper[:, half:].sum() > 5 * upper[:, :half].sum(), "truth stands in the second half"
    assert lower[:, :half].sum() > 5 * lower[:, half:].sum(), "the prediction in the first"


def test_paler_where_less_sure_and_lanes_where_they_overlap():
    sure, unsure = (timeline(Timeline(10.0, [entry(0, 5, s), entry(6, 9, 1.0)]), title="") for s in (1.0, 0.05))
    assert colours(sure) > colours(unsure)
    one, three = (timeline(Timeline(10.0, [entry(0, 5, 0.9)] * n), title="") for n in (1, 3))
    assert three.height > one.height


def test_curves_gates_and_thumbnails():
    seconds = np.linspace(0, 10, 20)
    gate = np.linspace(0.2, 0.8, 20)
    curve = np.stack([seconds, np.abs(np.sin(seconds)), np.abs(np.cos(seconds)), gate])
    pictures = [(5.0, Image.new("RGB", (64, 36), (200, 30, 30)))] * 3
    full = timeline(Timeline(10.0, [], [], curve, pictures), title="x")
    bare = timeline(Timeline(10.0, [], None), title="x")
    assert full.height > bare.height
    curve[3] = np.nan
    assert colours(timeline(Timeline(10.0, [], [], curve), title="x")) < colours(full)


def test_thumbnails_stand_at_their_times_however_few_were_found():
    pictures = [(1.5, Image.new("RGB", (64, 36), (200, 30, 30))), (8.5, Image.new("RGB", (64, 36), (30, 30, 200)))]
    drawn = np.asarray(timeline(Timeline(10.0, [], thumbnails=pictures), title="")).astype(int)
    for colour, seconds in ((0, 1.5), (2, 8.5)):
        columns = np.flatnonzero((drawn[..., colour] - drawn[..., 1] > 100).any(0))
        middle = (columns[0] + columns[-1]) / 2 / drawn.shape[1]
        assert abs(middle - (LEFT + ROW * seconds / 10) / WIDTH) < 0.01, (middle, seconds)


def test_scores_and_errors_draw():
    ap = np.random.default_rng(0).random((10, 30))
    picture = tiou_curves(np.linspace(0.5, 0.95, 10), ap, [f"class {n}" for n in range(30)], title="t")
    assert picture.width > 1000
    length = {
        "XS": {"bounds": [0, 0.2], "annotations": 3, "missed": 0.5, "mAP": 0.2},
        "S": {"bounds": [0.2, np.inf], "annotations": 0},
    }
    errors = {"tiou": 0.5, "kinds": ["true positive", "background"], "profile": np.full((10, 2), 0.5), "length": length}
    assert colours(error_analysis(errors, title="t")) > 1000
