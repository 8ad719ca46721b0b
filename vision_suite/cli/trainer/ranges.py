"""Numbers out of range, refused before anything is built: the parser checks types only."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from jsonargparse import Namespace

from vision_suite.cli.trainer.vocabulary import class_defaults
from vision_suite.errors import ConfigError

LARGEST_SEED = 2**32 - 1  # NumPy's
PROCESSES_PER_CORE = 4
MOST_WORKERS = 256
UNLIMITED = "-1 for no limit"
# Smallest value of a setting of the trainer, and a word that may be given instead.
SMALLEST: dict[str, tuple[float, str]] = {
    "max_epochs": (-1, UNLIMITED),
    "min_epochs": (0, ""),
    "max_steps": (-1, UNLIMITED),
    "min_steps": (0, ""),
    "check_val_every_n_epoch": (1, "null"),
    "log_every_n_steps": (0, ""),
    "accumulate_grad_batches": (1, ""),
    "gradient_clip_val": (0, "null for no clipping"),
    "num_sanity_val_steps": (-1, "-1 for the whole split"),
    "num_nodes": (1, ""),
}
SIZES = ("size", "width", "dim", "depth", "heads", "layers", "cells", "instances")  # last words of names


def check_seed(seed: object) -> None:
    """Refuse a seed that NumPy cannot take.

    Raises:
        ConfigError: It is negative or too large.
    """
    if isinstance(seed, int) and not isinstance(seed, bool) and not 0 <= seed <= LARGEST_SEED:
        raise ConfigError(f"--seed_everything={seed}: give a whole number from 0 to {LARGEST_SEED}")


def check_ranges(section: Namespace, command: str, classes: Mapping[str, type | None]) -> None:
    """Refuse numbers of the trainer, the data and the model that no run can have.

    Args:
        section: Configuration of the command.
        command: The command.
        classes: Class of ``model`` and of ``data``.

    Raises:
        ConfigError: One line names the setting, its value and the values allowed.
    """
    _check_trainer(section.trainer, command)
    for name in ("data", "model"):
        settings = section[name].get("init_args")
        for key, value in _numbers({} if settings is None else settings.as_dict()):
            owner = classes.get(name)
            _check_setting(f"{name}.{key}", value, _default(owner, key), str(getattr(owner, "__module__", "")))


def check_loggers(trainer: Namespace) -> None:
    """Refuse Weights & Biases offline that would upload checkpoints.

    Raises:
        ConfigError: Both are chosen.
    """
    loggers = trainer.logger if isinstance(trainer.get("logger"), list) else [trainer.get("logger")]
    for logger in loggers:
        if not isinstance(logger, Namespace) or not str(logger.get("class_path")).endswith("WandbLogger"):
            continue
        log_model = logger.init_args.get("log_model")
        if logger.init_args.get("offline") and log_model:
            raise ConfigError(
                f"--trainer.logger.log_model={str(log_model).lower()} uploads checkpoints, and the logger is offline: "
                "leave log_model out, or use --trainer.logger wandb"
            )


def _check_trainer(trainer: Namespace, command: str) -> None:
    for name, (smallest, instead) in SMALLEST.items():
        value = trainer.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and not value >= smallest:
            either = f", or {instead}" if instead and smallest >= 0 else f" ({instead})" if instead else ""
            raise ConfigError(f"--trainer.{name}={value}: give {smallest:g} or more{either}")
    interval = trainer.get("val_check_interval")
    if isinstance(interval, int | float) and not (interval > 0 and (isinstance(interval, int) or interval <= 1)):
        raise ConfigError(
            f"--trainer.val_check_interval={interval}: give a share of an epoch above 0 and up to 1.0, or a whole "
            "number of batches"
        )
    for name in ("limit_train_batches", "limit_val_batches", "limit_test_batches", "limit_predict_batches",
                 "overfit_batches"):  # fmt: skip
        value = trainer.get(name)
        if value is not None and not (value >= 0 and (isinstance(value, int) or value <= 1)):
            raise ConfigError(f"--trainer.{name}={value}: give a share from 0.0 to 1.0, or a whole number of batches")
    if command == "fit":
        _check_length(trainer)
    _check_devices(trainer)


def _check_length(trainer: Namespace) -> None:
    """Refuse a training without a batch, or of contradictory length."""
    if trainer.get("max_steps") == 0:
        raise ConfigError("--trainer.max_steps=0: nothing would be trained: give more, or leave it out")
    if trainer.get("limit_train_batches") == 0:
        raise ConfigError("--trainer.limit_train_batches=0: nothing would be trained: give more, or leave it out")
    for unit in ("epochs", "steps"):
        least, most = trainer.get(f"min_{unit}"), trainer.get(f"max_{unit}")
        if least is not None and most is not None and 0 <= most < least:
            raise ConfigError(f"--trainer.min_{unit}={least} is above --trainer.max_{unit}={most}: lower the first")


def _check_devices(trainer: Namespace) -> None:
    """Refuse numbers of processes that a CPU cannot have; Lightning would start every one of a thousand."""
    devices, accelerator = trainer.get("devices"), trainer.get("accelerator")
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available())
    if not on_cpu or devices is None or devices == "auto":
        return
    most = PROCESSES_PER_CORE * (os.cpu_count() or 1)
    try:
        count = int(devices)
    except (TypeError, ValueError):
        count = 0
    if not 1 <= count <= most:
        raise ConfigError(f"--trainer.devices={devices}: on this machine's CPU give 1 to {most} processes")


def _check_setting(key: str, value: float, default: object, module: str) -> None:
    """Refuse a number of the data or the model.

    Args:
        key: Dotted key of the setting.
        value: Its value.
        default: Default of the setting, None if unknown.
        module: Module of the class that takes it.
    """
    if value == default:
        return
    name = key.rsplit(".", 1)[-1]
    if name in ("batch_size", "eval_batch_size", "num_instances"):
        allowed = value >= 1
    elif name == "num_workers":
        if not 0 <= value <= MOST_WORKERS:
            raise ConfigError(f"--{key}={value}: give 0 to {MOST_WORKERS} workers")
        return
    elif name == "seed":
        allowed = 0 <= value <= LARGEST_SEED
        if not allowed:
            raise ConfigError(f"--{key}={value}: give a whole number from 0 to {LARGEST_SEED}")
    elif name.rsplit("_", 1)[-1] in SIZES:
        # A default below 1 tells that the setting is a share, or has a value for "all".
        free = (isinstance(default, int | float) and default < 0) or not isinstance(value, int)
        allowed = free or value >= 1 or (value == 0 and (default is None or default == 0))
    else:
        # A setting of the suite whose default is above zero counts something.
        positive = isinstance(default, int) and not isinstance(default, bool) and default > 0
        positive &= module.split(".")[0] == "vision_suite"
        allowed = value >= 0 or not positive or not isinstance(value, int)
    if not allowed:
        raise ConfigError(f"--{key}={value}: give {1 if default != 0 else 0} or more")


def _numbers(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Numbers of settings with their dotted keys; the members of a list under the list's own key."""
    for name, value in settings.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{key}.")
        for each in value if isinstance(value, list | tuple) else (value,):
            if isinstance(each, int | float) and not isinstance(each, bool):
                yield key, each


def _default(owner: type | None, key: str) -> Any:
    """Default of a setting of a class; the first member of a list."""
    value = None if owner is None else class_defaults(owner).get(key)
    return value[0] if isinstance(value, list | tuple) and value else value
