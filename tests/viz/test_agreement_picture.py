"""Picture of two detectors' agreement: shares are shades, and texts stay inside."""

import math

import numpy as np

from vision_suite.viz import agreement as drawing
from vision_suite.viz.agreement import agreement_picture


def texts(counts, kappa, monkeypatch, names=("a", "b")):
    """Texts of the picture, after a check that none leaves it."""
    figures = []
    monkeypatch.setattr(drawing.canvas, "rendered", figures.append)
    agreement_picture(counts, names, kappa, title="mined")
    (figure,) = figures
    figure.draw_without_rendering()
    (axes,) = figure.axes
    shown = [*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label]
    for text in shown:
        box = text.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width
        assert 0 <= box.y0 < box.y1 <= figure.bbox.height
    return [text.get_text() for text in shown]


def test_counts_and_shares_stand_in_their_cells(monkeypatch):
    found = texts([[70, 0, 9], [1, 2, 3], [6, 0, 9]], 0.5704, monkeypatch)
    assert found[:9] == [
        "70\n70.0%", "0\n0.0%", "9\n9.0%", "1\n1.0%", "2\n2.0%", "3\n3.0%", "6\n6.0%", "0\n0.0%", "9\n9.0%",
    ]  # fmt: skip
    assert found[9] == "mined\n100 objects, kappa 0.570, 21.0% uncertain"
    assert found[10:] == ["b", "a"]


def test_long_names_and_empty_tables_fit(monkeypatch):
    found = texts([[0] * 3] * 3, math.nan, monkeypatch, ("x" * 200, "IDEA-Research/" + "y" * 90))
    assert "kappa undefined" in found[9]


def test_a_larger_share_is_darker():
    def shade(both):
        picture = np.asarray(agreement_picture([[both, 0, 0], [0] * 3, [0, 0, 50]], ("a", "b"), 1.0, title="t"))
        return picture[220:260, 200:240].mean()

    assert shade(5) > shade(500) + 10
