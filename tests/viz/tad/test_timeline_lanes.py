"""Bars and labels of a timeline: nothing lies over anything else or beyond the border, however crowded it is."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_suite.viz import canvas
from vision_suite.viz.tad import timeline as drawing
from vision_suite.viz.tad.lanes import Item, place
from vision_suite.viz.tad.timeline import Timeline, timeline

WIDTH = 1500.0
FACE = canvas.font(17)
NAMES = [f"a name of forty characters, number {n:05d}" for n in range(20)]


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-5, 100), st.floats(0.01, 120), st.sampled_from(["a", "run fast", *NAMES, "w" * 100])),
        max_size=50,
    ),
    st.sampled_from(["", "0.98"]),
)
def test_nothing_meets_in_a_lane_or_leaves_the_row(rows, suffix):
    items = [Item(start, start + length, name, suffix) for start, length, name in rows]
    placed, left = place(items, 100.0, WIDTH, FACE, 50)
    assert (len(placed), left) == (len(items), 0), "fifty lanes take fifty items"
    for bar in placed:
        low, high = bar.text_span
        assert -1e-6 <= min(low, bar.bar[0])
        assert max(high, bar.bar[1]) <= WIDTH + 1e-6
        assert high - low == pytest.approx(FACE.getlength(bar.text))
        assert bar.text.endswith(suffix)
        covered = min(high, bar.bar[1]) - max(low, bar.bar[0])
        assert (covered == pytest.approx(high - low)) if bar.inside else covered <= 0
    for one, two in combinations(placed, 2):
        if one.lane == two.lane:
            assert one.extent[1] < two.extent[0] or two.extent[1] < one.extent[0]


def test_the_best_of_those_that_overlap_lies_uppermost_and_the_rest_is_counted():
    placed, left = place([Item(0, 10, "one"), Item(5, 15, "two"), Item(50, 60, "three")], 100.0, WIDTH, FACE, 1)
    assert ([bar.index for bar in placed], left) == ([0, 2], 1)
    assert placed[0].bar == (0.0, 150.0)


def crowded():
    rng = np.random.default_rng(0)
    starts = rng.uniform(0, 99, 50)
    entries = [
        {
            "label": NAMES[n % 20],
            "score": float(rng.random()),
            "segment": [float(s), float(min(100, s + rng.exponential(8)))],
        }
        for n, s in enumerate(starts)
    ]
    return Timeline(100.0, entries, entries, np.stack([np.linspace(0, 100, 50), *rng.random((3, 50))]))


def test_drawn_texts_do_not_meet_and_are_not_cut_off(monkeypatch):
    """As matplotlib lays them out, not as they were planned."""
    figures = []
    monkeypatch.setattr(drawing.canvas, "rendered", lambda figure: figures.append(figure))
    timeline(crowded(), title="a heading " * 30)
    (figure,) = figures
    figure.draw_without_rendering()
    border = figure.bbox
    rows = {axes.get_ylabel(): axes for axes in figure.axes}
    assert list(rows) == ["ground truth", "predicted", "boundaries"]
    everything = []
    for name in ("ground truth", "predicted"):
        texts = [text for text in rows[name].texts if text.get_text()]
        assert len(texts) == 50
        everything += [text.get_window_extent() for text in texts]
        bars = [patch.get_window_extent() for patch in rows[name].patches]
        for text, (number, own) in zip(texts, enumerate(bars), strict=True):
            box = text.get_window_extent()
            others = [bar for index, bar in enumerate(bars) if index != number]
            assert not any(_meet(box, bar) for bar in others), text.get_text()
            assert own.x0 >= rows[name].bbox.x0 - 1
    everything += [axes.yaxis.label.get_window_extent() for axes in rows.values()]
    everything += [text.get_window_extent() for text in figure.texts]
    for box in everything:
        assert border.x0 <= box.x0 < box.x1 <= border.x1
        assert border.y0 <= box.y0 < box.y1 <= border.y1
    assert not [1 for one, two in combinations(everything, 2) if _meet(one, two)]


def _meet(one, two):
    return min(one.x1, two.x1) - max(one.x0, two.x0) > 1 and min(one.y1, two.y1) - max(one.y0, two.y0) > 1
