"""Thresholds of temporal overlap as a setting."""

from __future__ import annotations

from collections.abc import Sequence

from vision_suite.errors import ConfigError, check_number


def check_tiou(tiou: Sequence[float]) -> tuple[float, ...]:
    """The thresholds on tIoU at which average precision is reported.

    Raises:
        ConfigError: There is none, one is not above 0 and at most 1, or they do not ascend.

    Example:
        >>> check_tiou([0.5, 0.75])
        (0.5, 0.75)
    """
    if not isinstance(tiou, list | tuple) or not tiou:
        raise ConfigError(f"tiou={tiou!r} must be a list of at least one threshold, such as [0.5, 0.75, 0.95]")
    for value in tiou:
        check_number("tiou", value, above=0, high=1)
    if list(tiou) != sorted(set(tiou)):
        raise ConfigError(f"tiou={list(tiou)} must ascend without a threshold twice: give {sorted(set(tiou))}")
    return tuple(float(value) for value in tiou)
