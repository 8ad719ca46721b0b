"""Curves of a training run."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from vision_suite.viz import canvas
from vision_suite.viz.training import Panel, running_mean, training_curves

STEPS = np.arange(100.0)
PANELS = [
    Panel("Loss", "loss", {"total": (STEPS, np.exp(-STEPS / 30))}),
    Panel("Scores", "%", {name: (STEPS[::25], STEPS[::25]) for name in ("mAP", "R1")}),
]


def test_size_follows_the_number_of_panels():
    one, two = (training_curves(panels) for panels in (PANELS[:1], PANELS))
    assert two.width == pytest.approx(2 * one.width, abs=2)
    many = training_curves(PANELS * 3)
    assert (many.width, many.height) == pytest.approx((3 * one.width, 2 * one.height), abs=3)


def test_empty_panels_are_left_out():
    assert training_curves([Panel("Rates", "", {}), *PANELS]).size == training_curves(PANELS).size
    with pytest.raises(ValueError, match="no curve"):
        training_curves([Panel("Rates", "", {})])


@pytest.mark.parametrize("number", [1, 5])
def test_no_legend_lies_over_a_curve(monkeypatch, number):
    figures = []
    monkeypatch.setattr(canvas, "rendered", figures.append)
    # Curves in every corner, so that no place inside the axes is free.
    curves = {f"loss of part {n}": (STEPS, np.sin(STEPS * (n + 1))) for n in range(number)}
    training_curves([Panel("Loss", "loss", curves)] * 5)
    FigureCanvasAgg(figures[0]).draw()
    for axes in figures[0].axes[:5]:
        legend = axes.get_legend().get_window_extent()
        assert not legend.overlaps(axes.get_window_extent())
        assert not legend.overlaps(axes.xaxis.get_tightbbox())
        assert not any(legend.overlaps(other.get_tightbbox()) for other in figures[0].axes[:5] if other is not axes)


def testrunning_mean_equals_a_loop_and_skips_gaps():
    values = np.random.default_rng(0).normal(size=57)
    values[[3, 4, 5, 6, 7, 8, 9, 30]] = np.nan
    windows = [values[max(0, n - 3) : n + 4] for n in range(57)]
    expected = [np.nanmean(w) if np.isfinite(w).any() else np.nan for w in windows]
    np.testing.assert_allclose(running_mean(values, 3), expected, atol=1e-12)
