"""Callbacks and loggers that are given twice.

``--trainer.callbacks+=NAME`` adds to those of the configuration. The same command with ``--ckpt_path last`` adds to
those of the run, which has that one already.
"""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import Namespace
from lightning_utilities.core.overrides import is_overridden
from pytorch_lightning import Callback

from vision_suite.errors import ConfigError


def drop_repeated(trainer: Namespace) -> list[str]:
    """Leave out callbacks and loggers that stand before with the same settings, and tell each in a line.

    Args:
        trainer: Trainer section of the configuration, changed in place.
    """
    lines = []
    for name in ("callbacks", "logger"):
        given = trainer.get(name)
        kept: list[object] = []
        for each in given if isinstance(given, list) else ():
            if each in kept:
                lines.append(f"trainer.{name} has {_class(each)} twice with the same settings: it is used once")
            else:
                kept.append(each)
        if isinstance(given, list):
            trainer[name] = kept
    return lines


def check_states(callbacks: Sequence[Callback]) -> None:
    """Refuse two callbacks whose states would be one in a checkpoint.

    Raises:
        ConfigError: There are two.
    """
    stateful = [each for each in callbacks if is_overridden("state_dict", each, Callback)]
    keys = [each.state_key for each in stateful]
    twice = next((each for number, each in enumerate(stateful) if keys[number] in keys[:number]), None)
    if twice is not None:
        raise ConfigError(
            f"trainer.callbacks has two {type(twice).__name__} that a checkpoint cannot tell apart: leave one out (a "
            "run that goes on has those that it began with)"
        )


def _class(part: object) -> str:
    """Name of the class of a section."""
    return str(part.get("class_path") if isinstance(part, Namespace) else part).rpartition(".")[2]
