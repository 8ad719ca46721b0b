"""Curves of a training run."""

import numpy as np
import pytest

from vision_suite.viz.training import _panels, _running_mean, training_curves

STEPS = np.arange(100.0)
LOG = {
    "train/loss": (STEPS, np.exp(-STEPS / 30)),
    **{f"train/loss_{branch}": (STEPS, np.exp(-STEPS / 20)) for branch in ("pwca", "glca", "sa")},
    **{f"train/weight_{branch}": (STEPS, STEPS / 100) for branch in ("pwca", "glca", "sa")},
    **{f"val/{key}": (STEPS[::25], STEPS[::25] / 100) for key in ("sa/mAP", "mAP", "rank1", "num_valid")},
    "epoch": (STEPS, STEPS),
}


def test_panels_sort_keys_by_kind_and_branch():
    losses, weights, scores = _panels(LOG)
    assert list(losses.curves) == ["total", "SA", "GLCA", "PWCA"]
    assert list(weights.curves) == ["SA", "GLCA", "PWCA"]
    assert list(scores.curves) == ["fused mAP", "fused rank1", "SA mAP"]
    np.testing.assert_allclose(scores.curves["SA mAP"][1], [0, 25, 50, 75])


def test_width_follows_the_number_of_panels():
    widths = [training_curves(log).width for log in (LOG, {"train/loss": LOG["train/loss"]})]
    assert widths[0] == pytest.approx(3 * widths[1], abs=2)


def test_an_empty_log_is_refused():
    with pytest.raises(ValueError, match="no loss"):
        training_curves({"epoch": LOG["epoch"]})


def test_running_mean_equals_a_loop_and_skips_gaps():
    values = np.random.default_rng(0).normal(size=57)
    values[[3, 4, 5, 6, 7, 8, 9, 30]] = np.nan
    windows = [values[max(0, n - 3) : n + 4] for n in range(57)]
    expected = [np.nanmean(w) if np.isfinite(w).any() else np.nan for w in windows]
    np.testing.assert_allclose(_running_mean(values, 3), expected, atol=1e-12)
