"""Bayesian search: Optuna's Gaussian process in the unit cube, rebuilt from the history for every proposal.

A sampler that lived through a sweep and one that is built from its history propose different points, while two that are
built from one history and one seed propose the same. So none lives on, and a resumed sweep goes on as it would have.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from vision_suite.errors import MissingDependencyError
from vision_suite.sweeps.events import FAILED, FINISHED, RUNNING, STOPPED, SweepTrial, TrialEvents
from vision_suite.sweeps.settings import SweepMetric

MOST_GAUSSIAN = 200  # finished trials; the process slows down, and TPE takes over


def next_place(metric: SweepMetric, events: TrialEvents, size: int, seed: int) -> list[float] | None:
    """Place of the next trial in the unit cube; None while no trial has a value, so that a random one is due.

    Trials in flight count with the worst value so far, so that two slots do not get one point.

    Args:
        metric: Metric of the sweep.
        events: History of the sweep.
        size: Number of searched parameters.
        seed: Seed of the proposal.

    Raises:
        MissingDependencyError: Optuna is not installed.
    """
    told = outcomes(metric, events)
    if told is None:
        return None
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise MissingDependencyError("method: bayes", "optuna", "sweeps") from error

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler: optuna.samplers.BaseSampler
        if len(told) <= MOST_GAUSSIAN:
            sampler = optuna.samplers.GPSampler(seed=seed, n_startup_trials=1, deterministic_objective=False)
        else:
            sampler = optuna.samplers.TPESampler(seed=seed)
        study = optuna.create_study(sampler=sampler, direction="minimize")
        space: dict[str, optuna.distributions.BaseDistribution] = {
            f"x{index}": optuna.distributions.FloatDistribution(0.0, 1.0) for index in range(size)
        }
        for place, value in told:
            params = dict(zip(space, place, strict=True))
            study.add_trial(optuna.trial.create_trial(params=params, distributions=space, value=value))
        asked = study.ask(fixed_distributions=dict(space))
        return [float(asked.params[name]) for name in space]


def outcomes(metric: SweepMetric, events: TrialEvents) -> list[tuple[Sequence[float], float]] | None:
    """Places and values of the trials, ended ones in the order of their ends; None if none has a value.

    Less is better in these values. A finished trial has its best value, a stopped one its last; failed ones and those
    in flight have the values that the file's ``impute`` and ``impute_while_running`` choose, the worst by default.

    Args:
        metric: Metric of the sweep.
        events: History of the sweep.
    """
    ended = [events.trials[number] for number in events.order]
    known = [each.history for each in ended if each.history]
    if not known:
        return None
    worst = max(max(metric.sign * value for value in history) for history in known)
    flying = [trial for number, trial in events.trials.items() if number not in events.order]
    return [(trial.unit, _value(trial, metric, worst)) for trial in [*ended, *flying] if trial.unit is not None]


def _value(trial: SweepTrial, metric: SweepMetric, worst: float) -> float:
    """The value of a trial."""
    history = [metric.sign * value for value in trial.history]
    if trial.state == FINISHED:
        return min(history, default=worst)
    if trial.state == STOPPED:
        return history[-1] if history else worst
    how = metric.impute if trial.state == FAILED else metric.impute_while_running if trial.state == RUNNING else "worst"
    if not history or how in ("worst", "false"):
        return worst
    return min(history) if how == "best" else history[-1]
