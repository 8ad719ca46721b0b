"""Errors a user can mend. Each message is one line: what was given, where, and how to mend it."""

from __future__ import annotations

from collections.abc import Sequence


class SuiteError(Exception):
    """Base of every error that the suite raises for something the user can mend."""


class ConfigError(SuiteError, ValueError):
    """A setting is unknown, contradictory or out of range."""


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a word that is not known (the command line checks typed choices itself; Python does not).

    Raises:
        ConfigError: The value is none of the choices.
    """
    if value not in choices:
        raise ConfigError(f"{name}={value!r} is not known: choose one of {', '.join(choices)}")


class DataError(SuiteError, ValueError):
    """A data set is incomplete, malformed, corrupt or empty."""


class CheckpointError(SuiteError, ValueError):
    """A checkpoint is truncated, of another class, or holds settings this version does not know."""


class ExportError(SuiteError, RuntimeError):
    """A network cannot be written in an exchange format, or what was written gives other outputs."""


class MissingDependencyError(SuiteError, ModuleNotFoundError):
    """An optional package is needed for what was asked."""

    def __init__(self, feature: str, package: str, extra: str | None = None) -> None:
        """Name the feature, the missing package, and the command that installs it."""
        target = f"'vision-suite[{extra}]'" if extra else package
        super().__init__(f"{feature} needs the package {package}: pip install {target}")
