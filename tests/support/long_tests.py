"""Parameters of tests that only the long target runs."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def long(*values: Any) -> Any:
    """One set of a test's parameters, left out unless long tests are asked for."""
    return pytest.param(*values, marks=pytest.mark.long)


def sampled(values: Iterable[Any], kept: Collection[Any]) -> list[Any]:
    """All values of one parameter: some for every run, the rest for long runs.

    Raises:
        ValueError: A kept value is none of the values.
    """
    every = list(values)
    if missing := [value for value in kept if value not in every]:
        raise ValueError(f"{missing} are none of {every}")
    return [value if value in kept else long(value) for value in every]
