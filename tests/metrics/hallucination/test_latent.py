"""Error rates without labels: found again in drawn answers, and refused where the data cannot fix them."""

import numpy as np
import pytest

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.hallucination.latent import fit_hidden_states, levels

PRIOR, RATES = 0.8, ((0.90, 0.12), (0.82, 0.08), (0.75, 0.2))


def drawn(seed=0, count=40_000):
    generator = np.random.default_rng(seed)
    real = generator.random(count) < PRIOR
    columns = [np.where(real, generator.random(count) < tpr, generator.random(count) < fpr) for tpr, fpr in RATES]
    return real, np.stack(columns, 1).astype(float)


def test_three_detectors_give_their_rates_away():
    _, answers = drawn()
    found = fit_hidden_states(answers)
    assert found.unique
    assert found.prior == pytest.approx(PRIOR, abs=0.02)
    for detector, rates in enumerate(RATES):
        assert found.rates(detector) == pytest.approx(rates, abs=0.03)


def test_abstentions_take_nothing_away_but_evidence():
    real, answers = drawn()
    hidden = np.random.default_rng(1).random(answers.shape) < 0.3
    found = fit_hidden_states(np.where(hidden, np.nan, answers))
    assert found.prior == pytest.approx(real.mean(), abs=0.03)
    for detector, rates in enumerate(RATES):
        assert found.rates(detector) == pytest.approx(rates, abs=0.05)


def test_no_other_state_is_likelier_than_the_fit():
    """The likelihood of the rates that the answers were drawn with is below that of the fit, by chance only."""
    _, answers = drawn(count=5000)
    found = fit_hidden_states(answers)
    there, absent = (np.prod([rate[state] ** answers.T[d] * (1 - rate[state]) ** (1 - answers.T[d])
                              for d, rate in enumerate(RATES)], axis=0) for state in (0, 1))  # fmt: skip
    drawn_with = np.log(PRIOR * there + (1 - PRIOR) * absent).mean()
    assert drawn_with <= found.likelihood < drawn_with + 0.005


def test_two_detectors_with_several_thresholds_are_fitted_but_not_fixed():
    generator = np.random.default_rng(0)
    real = generator.random(20_000) < 0.7
    scores = np.clip(generator.normal(np.where(real, 0.7, 0.3)[:, None], 0.1, (20_000, 2)), 0, 1)
    answers = np.stack([levels(column, np.array([0.35, 0.5, 0.65])) for column in scores.T], 1)
    found = fit_hidden_states(answers)
    assert not found.unique
    assert found.prior == pytest.approx(0.7, abs=0.03)
    assert found.rates(0, level=2).tpr == pytest.approx(0.977, abs=0.02)
    assert found.rates(0, level=2).fpr == pytest.approx(0.023, abs=0.02)


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(ConfigError, match="two detectors with 2 levels: error rates need three"):
        fit_hidden_states(np.array([[0.0, 1.0], [1.0, 0.0]]))
    with pytest.raises(ConfigError, match="at least two detectors"):
        fit_hidden_states(np.zeros((3, 1)))
    with pytest.raises(DataError, match="abstains on every object"):
        fit_hidden_states(np.full((3, 3), np.nan))
    with pytest.raises(ConfigError, match="rising order"):
        levels(np.zeros(2), np.array([0.5, 0.3]))
