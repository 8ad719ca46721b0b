"""Data state of a checkpoint, which is untrusted: the datamodule's state, and its preprocessing entry by entry."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

from vision_suite.errors import CheckpointError


def data_state(contents: Mapping[str, Any]) -> dict[str, Any] | None:
    """The state of the suite's datamodule in a checkpoint, whatever its class; None if there is none."""
    for state in contents.values():
        if isinstance(state, dict) and isinstance(state.get("preprocessing"), dict):
            return state
    return None


class SavedPreprocessing:
    """Entries of a stored preprocessing; each is checked when it is read, and None stands for one that is missing.

    Files of earlier versions lack entries, so a missing one is no error.

    Args:
        entries: Preprocessing as `vision_suite.datasets.base.BaseData.preprocessing` gave it.

    Raises:
        CheckpointError: It has no names.
    """

    def __init__(self, entries: Mapping[str, Any]) -> None:
        if not isinstance(entries, Mapping):
            raise CheckpointError(f"the checkpoint's preprocessing is {reprlib.repr(entries)}: use another checkpoint")
        self._entries = entries
        self._read: set[str] = set()

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def check_all_read(self, owner: str) -> None:
        """Refuse entries that nothing has read.

        Raises:
            CheckpointError: There is one.
        """
        unknown = [str(name) for name in self._entries if name not in self._read]
        if unknown:
            raise CheckpointError(
                f"the checkpoint's preprocessing has the entry {unknown[0][:60]!r}, which {owner} does not know: "
                "use the version and the datamodule that it was trained with"
            )

    def whole(self, name: str, least: int = 0) -> int | None:
        """A whole number of at least ``least``."""
        value = self._get(name)
        if value is None:
            return None
        if type(value) is not int or value < least:
            raise self._wrong(name, f"a whole number of {least} or more")
        return value

    def flag(self, name: str) -> bool | None:
        """True or false."""
        value = self._get(name)
        if value is not None and type(value) is not bool:
            raise self._wrong(name, "true or false")
        return value

    def number(self, name: str) -> float | None:
        """A finite number."""
        value = self._get(name)
        if value is None:
            return None
        if not _finite(value):
            raise self._wrong(name, "a finite number")
        return float(value)

    def numbers(self, name: str, count: int, above: float = -math.inf) -> list[float] | None:
        """So many finite numbers above a bound."""
        value = self._get(name)
        if value is None:
            return None
        if not _is_list(value, count) or not all(_finite(each) and each > above for each in value):
            raise self._wrong(name, f"{count} finite numbers" + (f" above {above:g}" if above > -math.inf else ""))
        return [float(each) for each in value]

    def size(self, name: str) -> list[int] | None:
        """Height and width in pixels."""
        value = self._get(name)
        if value is None:
            return None
        if not _is_list(value, 2) or not all(type(each) is int and each >= 1 for each in value):
            raise self._wrong(name, "a height and a width in pixels")
        return list(value)

    def choice(self, name: str, choices: Iterable[str]) -> str | None:
        """One of some words."""
        value = self._get(name)
        known = list(choices)
        if value is None:
            return None
        if value not in known:
            raise self._wrong(name, f"one of {', '.join(known)}")
        return str(value)

    def section(self, name: str) -> dict[str, Any] | None:
        """Settings of a record by name; the record checks them."""
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise self._wrong(name, "settings by name")
        return dict(value)

    def fixed(self, name: str, value: float | str | list[int]) -> None:
        """Refuse another value of an entry that may have one only.

        Raises:
            CheckpointError: It has another one.
        """
        found = self._get(name)
        if found is not None and (list(found) if isinstance(found, tuple) else found) != value:
            raise self._wrong(name, repr(value))

    def _get(self, name: str) -> Any:
        self._read.add(name)
        return self._entries.get(name)

    def _wrong(self, name: str, wanted: str) -> CheckpointError:
        found = reprlib.repr(self._entries[name])
        return CheckpointError(
            f"the checkpoint's preprocessing has {name}={found}, which is not {wanted}: use another checkpoint"
        )


def _is_list(value: object, count: int) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == count


def _finite(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
