"""Errors that a user can correct. Each message is one line: what was given, where, and how to correct it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args, get_origin, get_type_hints


class SuiteError(Exception):
    """Base of every error that the suite raises for something the user can correct."""


class ConfigError(SuiteError, ValueError):
    """A setting is unknown, contradictory or out of range."""


class DataError(SuiteError, ValueError):
    """A data set is incomplete, malformed, corrupt or empty."""


class CheckpointError(SuiteError, ValueError):
    """A checkpoint is truncated, of another class, or holds settings this version does not know."""


class TrainingError(SuiteError, RuntimeError):
    """Training cannot go on: the loss or the weights are not finite."""


class ExportError(SuiteError, RuntimeError):
    """A network cannot be written in an exchange format, or what was written gives other outputs."""


class MissingDependencyError(SuiteError, ModuleNotFoundError):
    """An optional package is needed for what was asked."""

    def __init__(self, feature: str, package: str, extra: str | None = None) -> None:
        """Name the feature, the missing package, and the command that installs it."""
        target = f"'vision-suite[{extra}]'" if extra else package
        super().__init__(f"{feature} needs the package {package}: pip install {target}")


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Refuse a word that is not among the choices, with a `ConfigError`."""
    known = list(choices)
    if value not in known:
        raise ConfigError(f"{name}={value!r} is not known: choose one of {', '.join(known)}")


def check_literals(settings: object, section: str) -> None:
    """Refuse unknown words in every field of a dataclass whose type is a `Literal`.

    The command line checks them itself; a typing error in Python would otherwise train with another setting.
    """
    for name, hint in get_type_hints(type(settings)).items():
        if get_origin(hint) is Literal:
            check_choice(f"{section}.{name}", getattr(settings, name), get_args(hint))
