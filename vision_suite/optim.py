"""Optimiser, parameter groups and learning-rate schedule from one plain record."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, cast

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from vision_suite.errors import ConfigError, check_literals, check_number


@dataclass
class OptimConfig:
    """Settings of the optimiser and its schedule.

    Attributes:
        name: Optimiser: ``adamw`` (decoupled weight decay), ``adam`` (weight decay as an L2 term) or ``sgd``.
        lr: Peak learning rate, or the rate per ``lr_reference_batch`` pictures if that is set.
        lr_reference_batch: Scale the rate by global batch / this number (DeiT: 512); unset for no scaling.
        weight_decay: Weight decay.
        decay_all: Decay norms, biases and tokens too (TransReID does).
        bias_lr_factor: Factor on the peak rate of biases (TransReID: 2); warm-up and cosine end at the common rates.
        momentum: Momentum of SGD.
        betas: Betas of Adam and AdamW.
        schedule: After the warm-up ``cosine`` down to ``min_lr``, ``constant``, or ``step``: times ``gamma`` behind
            each of the ``milestones``.
        interval: Interval at which the schedule moves, every ``step`` or every ``epoch``.
        warmup: Length of the linear warm-up, in steps or epochs as ``interval`` says; below 1, a share of the run.
        warmup_lr: Rate at which the warm-up starts.
        min_lr: Rate at which the cosine ends.
        milestones: Steps or epochs that still run at the rate before the drop, of ``schedule: step``.
        gamma: Factor of each drop.
        decay_factors: Factor on the weight decay of the parameters of a part of the network, by its dotted name, such
            as ``host.base: 10``; the name is whole, or a run of whole words of it.
        lr_factors: Factor on the learning rate of the parameters of a part, named as in ``decay_factors``, such as
            ``decoder: 0.02``; a part's whole curve, warm-up and end included, is the common one times its factor. Of
            several parts that hold a parameter the innermost one counts: ``wings`` within a ``decoder``.
        fused: Update each parameter in a single pass: equal up to rounding, and on a CPU several times as fast for a
            network of 100 M parameters.
    """

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = 5e-4
    lr_reference_batch: int | None = None
    weight_decay: float = 0.05
    decay_all: bool = False
    bias_lr_factor: float = 1.0
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Literal["cosine", "constant", "step"] = "cosine"
    interval: Literal["step", "epoch"] = "step"
    warmup: float = 0.0
    warmup_lr: float = 0.0
    min_lr: float = 0.0
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    decay_factors: dict[str, float] = field(default_factory=dict)
    lr_factors: dict[str, float] = field(default_factory=dict)
    fused: bool = False

    def __post_init__(self) -> None:
        """Refuse what would silently train with another setting (the command line checks the choices itself)."""
        self.betas = (self.betas[0], self.betas[1])  # a checkpoint holds a list
        self.milestones = tuple(self.milestones)
        check_literals(self, "optim")
        for name in ("weight_decay", "warmup_lr", "min_lr"):
            check_number(f"optim.{name}", getattr(self, name), low=0)
        for name in ("bias_lr_factor", "gamma"):
            check_number(f"optim.{name}", getattr(self, name), above=0)
        for name, value in (("momentum", self.momentum), *((f"betas[{n}]", beta) for n, beta in enumerate(self.betas))):
            check_number(f"optim.{name}", value, low=0, below=1)
        for milestone in self.milestones:
            check_number("optim.milestones", milestone, low=1, whole=True)
        for part, times in self.decay_factors.items():
            check_number(f"optim.decay_factors.{part}", times, low=0)
        for part, times in self.lr_factors.items():
            check_number(f"optim.lr_factors.{part}", times, above=0)
        if not 0 < self.lr < math.inf or not 0 <= self.warmup < math.inf:
            raise ConfigError(f"optim.lr={self.lr} must be above 0 and optim.warmup={self.warmup} not below")
        for name in ("weight_decay", "bias_lr_factor", "momentum", "warmup_lr", "min_lr", "gamma"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"optim.{name}={getattr(self, name)}: give 0 or more")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"optim.betas={list(self.betas)}: give two numbers from 0 to below 1")
        if (self.schedule == "step") != bool(self.milestones) or list(self.milestones) != sorted(set(self.milestones)):
            raise ConfigError(
                f"optim.milestones={list(self.milestones)} with schedule={self.schedule!r}: schedule=step needs "
                "ascending milestones, and only it takes them"
            )
        if self.lr_reference_batch is not None and self.lr_reference_batch < 1:
            raise ConfigError(f"optim.lr_reference_batch={self.lr_reference_batch} must be 1 or more, or unset")


def peak_lr(config: OptimConfig, global_batch: int) -> float:
    """Peak learning rate for a global batch (all devices and accumulated steps)."""
    return config.lr if config.lr_reference_batch is None else config.lr * global_batch / config.lr_reference_batch


def lr_at(config: OptimConfig, peak: float, time: int, total: int) -> float:
    """Learning rate at a time, in steps or epochs.

    The cosine is evaluated at the absolute time, so the warm-up cuts its beginning off rather than shifting it (timm's
    scheduler without ``warmup_prefix``; TransReID uses it with time = 1 .. 120).

    Args:
        config: The record.
        peak: Peak rate.
        time: Steps or epochs since the start.
        total: Length of the run in the same unit.
    """
    warmup = config.warmup if config.warmup >= 1 else config.warmup * total
    if time < warmup:
        return config.warmup_lr + (peak - config.warmup_lr) * time / warmup
    if config.schedule == "constant":
        return peak
    if config.schedule == "step":
        drops = sum(time > milestone for milestone in config.milestones)
        return float(peak * config.gamma**drops)
    share = min(time / max(total, 1), 1.0)
    return config.min_lr + 0.5 * (peak - config.min_lr) * (1 + math.cos(math.pi * share))


def parameter_groups(model: nn.Module, config: OptimConfig, lr: float) -> list[dict[str, object]]:
    """Trainable parameters by weight decay and learning rate; learnt loss weights are never decayed.

    Raises:
        ConfigError: Nothing is trainable, or a name in ``decay_factors`` or ``lr_factors`` is of no part.
    """
    names = [name for name, _ in model.named_parameters()]
    named = [("decay_factors", part) for part in config.decay_factors]
    for setting, part in [*named, *(("lr_factors", part) for part in config.lr_factors)]:
        if not any(is_part(part, name) for name in names):
            near = sorted({".".join(name.split(".")[:-1]) for name in names if part in name})[:3]
            raise ConfigError(
                f"optim.{setting}: {part!r} names no part of the network: give a whole dotted name, such as "
                f"{' or '.join(near) if near else names[0].rpartition('.')[0]}"
            )
    return grouped(model, config, lr, is_part)


def is_part(part: str, name: str) -> bool:
    """Tell whether a parameter belongs to a part: ``host.base`` is a part of ``model.host.base.0.weight``.

    Example:
        >>> is_part("host.base", "model.host.base.0.weight"), is_part("host.base", "model.host.baseline.weight")
        (True, False)
    """
    return f".{part}." in f".{name}."


def innermost(parts: Iterable[str], name: str) -> str | None:
    """The part that lies deepest in a parameter's dotted name, in whatever order parts are given; None without one.

    Example:
        >>> innermost(["wings", "decoder"], "decoder.layers.0.wings.query.a")
        'wings'
    """
    found = [(f".{name}.".rindex(f".{part}.") + len(part), len(part), part) for part in parts if is_part(part, name)]
    return max(found)[2] if found else None


def grouped(
    model: nn.Module, config: OptimConfig, lr: float, belongs: Callable[[str, str], bool]
) -> list[dict[str, object]]:
    """The groups of `parameter_groups` for another rule that tells which parameters belong to a part.

    The rule is that of ``decay_factors``. Each group has its ``lr_factor`` beside the optimiser's own options.

    Raises:
        ConfigError: Nothing is trainable.
    """
    groups: dict[tuple[float, float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        leaf = name.rsplit(".", 1)[-1]
        flat = parameter.ndim < 2 or leaf in {"cls_token", "dist_token", "reg_token", "pos_embed", "table"}
        free = "log_variance" in name.split(".") or (flat and not config.decay_all)
        factor = config.bias_lr_factor if leaf == "bias" else 1.0
        decay = 0.0 if free else config.weight_decay
        for part, times in config.decay_factors.items():
            decay *= times if belongs(part, name) else 1.0
        of_part = config.lr_factors.get(innermost(config.lr_factors, name) or "", 1.0)
        groups.setdefault((decay, factor, of_part), []).append(parameter)
    if not groups:
        raise ConfigError("no parameter is trainable: unfreeze a part of the model")
    return [
        {"params": parameters, "weight_decay": decay, "lr": lr * factor * of_part, "lr_factor": of_part}
        for (decay, factor, of_part), parameters in groups.items()
    ]


def build_optimizer(
    model: nn.Module, config: OptimConfig, *, total: int, global_batch: int
) -> tuple[torch.optim.Optimizer, LambdaLR]:
    """Optimiser and schedule.

    Args:
        model: Module whose parameters are optimised.
        config: The record.
        total: Length of the run, in the unit ``config.interval``; 0 if unknown, which only ``constant`` without a
            relative warm-up can do with.
        global_batch: Pictures per optimiser step over all devices.

    Returns:
        The optimiser and a schedule to be stepped once per ``config.interval``. By epoch, the n-th epoch (from 1) runs
        at time n; by step, the first step runs at time 1, so that a warm-up from 0 never wastes a step.

    Raises:
        ConfigError: The schedule needs the run's length and it isn't known, or nothing is trainable.
    """
    if total < 1 and (config.schedule == "cosine" or 0 < config.warmup < 1):
        limit = "trainer.max_steps or trainer.max_epochs" if config.interval == "step" else "trainer.max_epochs"
        raise ConfigError(
            f"optim.schedule={config.schedule!r} with interval={config.interval!r} needs the length of the run: "
            f"give {limit}, or use schedule=constant"
        )
    peak = peak_lr(config, global_batch)
    groups = parameter_groups(model, config, peak)
    of_parts = [cast(float, group.pop("lr_factor")) for group in groups]
    optimizer: torch.optim.Optimizer
    if config.name == "sgd":
        optimizer = torch.optim.SGD(groups, lr=peak, momentum=config.momentum, fused=config.fused or None)
    else:
        kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
        optimizer = kind(groups, lr=peak, betas=config.betas, fused=config.fused or None)

    def curve(top: float) -> Callable[[int], float]:
        return lambda time: lr_at(config, top, time + 1, total) / top

    # Each group has its own curve to the common end rate, as timm's schedulers have; a part's is that curve times its
    # factor.
    tops = [group["lr"] / of_part for group, of_part in zip(optimizer.param_groups, of_parts, strict=True)]
    return optimizer, LambdaLR(optimizer, [curve(top) for top in tops])
