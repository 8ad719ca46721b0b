"""Optimiser and schedule of a resumed run: settings that differ from the checkpoint's are applied, or refused.

An optimiser's state holds the rates and the weight decay with which it was saved, so loading it undoes the new
settings. Here the tensors of the state (moments, step counts) are kept and the settings are put back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from vision_suite.errors import CheckpointError, ConfigError
from vision_suite.optim import OptimConfig, grouped, is_part, lr_at, parameter_groups, peak_lr
from vision_suite.records import as_record

OPTIONS = ("lr", "initial_lr", "weight_decay", "betas", "momentum")
LENGTHS = ("total", "global_batch", "batch", "steps_per_epoch")
SAMPLES = 2000  # times at which the rest of a schedule is looked at


@dataclass(frozen=True)
class Plan:
    """Settings and length with which a run trains.

    Attributes:
        optim: Optimiser and schedule.
        total: Length of the run in steps or epochs, as ``optim.interval`` says; 0 without end, None if unknown.
        global_batch: Samples per optimiser step over all devices, None if unknown.
        batch: Samples of a batch over all devices, before steps are accumulated; None if unknown.
        steps_per_epoch: Optimiser steps of an epoch, None if unknown or if the schedule moves by epochs.
    """

    optim: OptimConfig
    total: int | None = None
    global_batch: int | None = None
    batch: int | None = None
    steps_per_epoch: int | None = None

    def plain(self) -> dict[str, Any]:
        """The plan in plain containers, for a checkpoint."""
        settings = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self.optim).items()}
        return {"settings": settings, **{name: getattr(self, name) for name in LENGTHS}}

    @classmethod
    def from_plain(cls, stored: Mapping[str, Any]) -> Plan:
        """The inverse of `plain`; entries that an older version did not store are unknown."""
        lengths = {name: stored.get(name) for name in LENGTHS}
        return cls(as_record(OptimConfig, stored["settings"], "optim"), **lengths)

    @property
    def peak(self) -> float:
        """Peak learning rate."""
        return peak_lr(self.optim, self.global_batch or 1)


def check_optimizer(saved: OptimConfig, now: OptimConfig) -> None:
    """Refuse another optimiser than the checkpoint's.

    Raises:
        ConfigError: The names differ.
    """
    if saved.name != now.name:
        raise ConfigError(
            f"--model.optim.name={now.name}: the checkpoint holds the state of {saved.name}, with which {now.name} "
            f"cannot go on: use --model.optim.name={saved.name}, or start a new run"
        )


def regrouped(state: Mapping[str, Any], model: nn.Module, saved: OptimConfig, now: OptimConfig) -> dict[str, Any]:
    """An optimiser's state with its parameters grouped as other settings group them.

    Args:
        state: State dictionary of an optimiser that `vision_suite.optim.build_optimizer` made of ``model``.
        model: Module whose parameters are optimised.
        saved: Settings with which the state was saved.
        now: Settings that group the parameters now.

    Returns:
        The state itself if the groups are the same; else one whose groups have the options of the group from which
        their first parameter comes.

    Raises:
        CheckpointError: The state is of other parameters than the module's.
    """
    groups = state["param_groups"]
    sizes = [len(group["params"]) for group in groups]
    new = _members(parameter_groups(model, now, 1.0), model)
    # Older versions took decay_factors for texts that a name may hold anywhere.
    rules: tuple[Callable[[str, str], bool], ...] = (is_part, _holds)
    candidates = [_members(grouped(model, saved, 1.0, rule), model) for rule in rules]
    old = next((found for found in candidates if [len(group) for group in found] == sizes), candidates[0])
    if old == new:
        return dict(state)
    if [len(group) for group in old] != sizes:
        raise CheckpointError(
            "settings of --model.optim change the groups of parameters, and the checkpoint's optimiser has other "
            f"groups than this network ({sizes} and {[len(g) for g in old]} "
            "parameters): leave the settings as in the run's config.yaml"
        )
    came_from = {name: (number, slot) for number, names in enumerate(old) for slot, name in enumerate(names)}
    index = {name: groups[number]["params"][slot] for name, (number, slot) in came_from.items()}
    order = [name for names in new for name in names]
    place = {name: number for number, name in enumerate(order)}
    return {
        "state": {place[name]: state["state"][index[name]] for name in order if index[name] in state["state"]},
        "param_groups": [
            {**groups[came_from[names[0]][0]], "params": [place[name] for name in names]} for names in new
        ],
    }


def options_of(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """The settings of each group of an optimiser, without its parameters."""
    return [{name: group[name] for name in OPTIONS if name in group} for group in optimizer.param_groups]


def apply_settings(
    optimizer: torch.optim.Optimizer,
    schedule: LambdaLR,
    options: Sequence[Mapping[str, Any]],
    now: Plan,
    saved: Plan,
    *,
    step: int,
    epoch: int,
) -> str | None:
    """Put the present settings into an optimiser and a schedule that have just loaded a checkpoint's states.

    Nothing is touched if no setting differs, so that an unchanged run goes on exactly.

    Args:
        optimizer: Optimiser with a loaded state.
        schedule: Its schedule, built with the present settings, with a loaded state.
        options: Settings of each group before the state was loaded, see `options_of`.
        now: Present settings.
        saved: Settings of the checkpoint.
        step: Optimiser steps done.
        epoch: Epochs done.

    Returns:
        The changes and the course of the rate in one line; None if nothing changes.
    """
    if now.global_batch is None or saved.global_batch is None:
        saved = replace(saved, global_batch=now.global_batch)
    changes = _changes(now, saved)
    moved = now.optim.interval != saved.optim.interval
    time = {"step": step, "epoch": epoch}[now.optim.interval] if moved else schedule.last_epoch
    factors = [factor(time) for factor in schedule.lr_lambdas]
    rates = [float(group["initial_lr"]) * factor for group, factor in zip(options, factors, strict=True)]
    before = [float(group["lr"]) for group in optimizer.param_groups]
    if not changes:
        if saved.total is not None or all(map(math.isclose, rates, before)):
            return None
        changes = ["the schedule has another length than before"]
    for group, own, rate in zip(optimizer.param_groups, options, rates, strict=True):
        group.update(own)
        group["lr"] = rate
    schedule.base_lrs = [group["initial_lr"] for group in options]
    schedule.last_epoch = time
    schedule._last_lr[:] = rates
    # The group of the common rate tells the course, not one of biases with a factor.
    main = min(range(len(options)), key=lambda number: abs(options[number]["initial_lr"] - now.peak))
    share = float(options[main]["initial_lr"]) / now.peak
    return f"resumed at step {step}: {', '.join(changes)}: {_course(now, time, before[main], rates[main], share)}"


def _holds(text: str, name: str) -> bool:
    return text in name


def _members(groups: Sequence[Mapping[str, object]], model: nn.Module) -> list[list[str]]:
    """The names of the parameters in each group."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [[names[id(parameter)] for parameter in group["params"]] for group in groups]  # type: ignore[attr-defined]


def _changes(now: Plan, saved: Plan) -> list[str]:
    """The settings that differ, with both values."""
    found = []
    for field in fields(OptimConfig):
        new, old = getattr(now.optim, field.name), getattr(saved.optim, field.name)
        if new != old:
            found.append(f"optim.{field.name}={_text(new)} (was {_text(old)})")
    if now.global_batch != saved.global_batch:
        found.append(f"global batch {now.global_batch} (was {saved.global_batch})")
    if None not in (now.steps_per_epoch, saved.steps_per_epoch) and now.steps_per_epoch != saved.steps_per_epoch:
        found.append(f"{now.steps_per_epoch} steps per epoch (was {saved.steps_per_epoch})")
    if now.peak != saved.peak and now.optim.lr == saved.optim.lr:
        found.append(f"peak rate {now.peak:.4g} (was {saved.peak:.4g})")
    if saved.total is not None and now.total != saved.total and now.optim.interval == saved.optim.interval:
        relative = 0 < now.optim.warmup < 1
        if now.optim.schedule == "cosine" or relative:
            what = "cosine" if now.optim.schedule == "cosine" else "run"
            found.append(f"the {what} now ends at {now.optim.interval} {now.total} instead of {saved.total}")
    return found


def _course(now: Plan, time: int, before: float, rate: float, share: float) -> str:
    """Course of the rate from here to the end of the run, in words; it is ``share`` of the common one."""
    if math.isclose(rate, before, rel_tol=1e-3):
        words = f"the rate goes on at {rate:.4g}"
    else:
        words = f"the rate goes {'up' if rate > before else 'down'} from {before:.4g} to {rate:.4g}"
    # The step after n steps runs at time n + 1, and the last one at the total.
    ahead = range(time + 1, (now.total or 0) + 1)
    times = [*ahead[:: max(len(ahead) // SAMPLES, 1)], *ahead[-1:]]
    course = [share * lr_at(now.optim, now.peak, when, now.total or 0) for when in times]
    if not course:
        return words
    top = max(range(len(course)), key=course.__getitem__)
    if course[top] > rate * 1.001:
        words += f", on to {course[top]:.4g} at {now.optim.interval} {times[top]}"
    if course[-1] < max(course[top], rate) * 0.999:
        words += f" and down to {course[-1]:.4g} at {now.optim.interval} {times[-1]}"
    return words


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(list(value) if isinstance(value, tuple) else value)
