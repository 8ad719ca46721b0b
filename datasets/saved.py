"""Data state of a checkpoint, which is untrusted: the datamodule's state, and its preprocessing entry by entry."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from vision_suite.datasets.facts import other_values, same
from vision_suite.errors import CheckpointError, is_number
from vision_suite.records import as_record

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from vision_suite.datasets.base import BaseData


def data_state(contents: Mapping[str, Any]) -> dict[str, Any] | None:
    """The state of the suite's datamodule in a checkpoint, whatever its class; None if there is none."""
    for state in contents.values():
        if isinstance(state, dict) and isinstance(state.get("preprocessing"), dict):
            return state
    return None


def check_state(state: Mapping[str, Any]) -> None:
    """Refuse a datamodule's state whose parts have wrong types.

    Raises:
        CheckpointError: One has.
    """
    names, parts = state.get("class_names") or [], ("facts", "preprocessing", "order")
    named = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not named or not all(isinstance(state.get(name) or {}, dict) for name in parts):
        raise CheckpointError("the checkpoint's state of the data is malformed: use another checkpoint")


def other_preprocessing(data: BaseData, stored: Mapping[str, Any], told: Collection[str]) -> list[str]:
    """Phrases for the preprocessing of a datamodule that differs from a checkpoint's.

    Args:
        data: The datamodule.
        stored: Preprocessing in the checkpoint.
        told: Settings of the constructor whose differences are known already.
    """
    own = data.preprocessing
    before, now = (type(data)._settings(SavedPreprocessing(entries)) for entries in (stored, own))
    if before is None or now is None:  # a class without such settings, as of another package
        before, now = dict(stored), own
    unlike = [name for name in now if name not in told and MISSING not in (now[name], before.get(name, MISSING))]
    unlike = [name for name in unlike if not same(before[name], now[name])]
    return other_values({name: before[name] for name in unlike}, {name: now[name] for name in unlike})


class _Missing:
    """Stands for an entry that a stored preprocessing lacks."""


MISSING: Final = _Missing()


class SavedPreprocessing:
    """Entries of a stored preprocessing; each is checked when it is read, and `MISSING` stands for an absent one.

    Files of earlier versions lack entries, so an absent one is no error.

    Args:
        entries: Preprocessing as `vision_suite.datasets.base.BaseData.preprocessing` gave it.

    Raises:
        CheckpointError: It has no names.
    """

    def __init__(self, entries: Mapping[str, Any]) -> None:
        if not isinstance(entries, Mapping):
            raise CheckpointError(f"the checkpoint's preprocessing is {reprlib.repr(entries)}: use another checkpoint")
        self._entries = entries
        self._read: set[object] = set()

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

    def whole(self, name: str, least: int = 0, *, unset: bool = False) -> Any:
        """A whole number of at least ``least``; None too if ``unset`` is true."""
        allowed = f"a whole number of {least} or more"
        return self._checked(name, allowed, lambda value: _whole(value, least) or (unset and value is None))

    def share(self, name: str) -> Any:
        """A number from 0 to below 1."""
        return self._checked(name, "a number from 0 to below 1", lambda value: is_number(value) and 0 <= value < 1)

    def numbers(self, name: str, count: int, above: float = -math.inf) -> Any:
        """A list of so many finite numbers above a bound."""
        bound = f" above {above:g}" if above > -math.inf else ""
        return self._list(name, count, f"{count} finite numbers{bound}", lambda each: is_number(each) and each > above)

    def size(self, name: str) -> Any:
        """Height and width in pixels."""
        return self._list(name, 2, "a height and a width in pixels", lambda each: _whole(each, 1))

    def choice(self, name: str, choices: Iterable[str]) -> Any:
        """One of some words."""
        known = tuple(choices)
        return self._checked(name, f"one of {', '.join(known)}", lambda value: value in known)

    def text(self, name: str, *, unset: bool = False) -> Any:
        """A text; None too if ``unset`` is true."""
        return self._checked(name, "a text", lambda value: isinstance(value, str) or (unset and value is None))

    def flag(self, name: str) -> Any:
        """True or false."""
        return self._checked(name, "true or false", lambda value: isinstance(value, bool))

    def record(self, name: str, kind: type[DataclassInstance]) -> Any:
        """Settings of a record by name.

        Args:
            name: Name of the entry.
            kind: Dataclass of the record, which refuses wrong values.
        """
        found = self._get(name)
        if found is MISSING:
            return MISSING
        try:
            whole = as_record(kind, found, name) if isinstance(found, dict) else None
            typed = whole is not None and all(_is(getattr(whole, f.name), str(f.type)) for f in fields(kind))
        except (TypeError, ValueError):
            typed = False
        if not typed:
            raise self._wrong(name, f"settings of {kind.__name__}")
        return dict(found)

    def fixed(self, name: str, value: object) -> None:
        """Refuse another value of an entry that may have one only.

        Raises:
            CheckpointError: It has another one.
        """
        self._checked(name, repr(value), lambda found: (list(found) if isinstance(found, tuple) else found) == value)

    def _checked(self, name: str, allowed: str, check: Callable[[Any], bool]) -> Any:
        found = self._get(name)
        if found is not MISSING and not check(found):
            raise self._wrong(name, allowed)
        return found

    def _list(self, name: str, count: int, allowed: str, check: Callable[[Any], bool]) -> Any:
        found = self._checked(
            name,
            allowed,
            lambda value: isinstance(value, list | tuple) and len(value) == count and all(map(check, value)),
        )
        return found if found is MISSING else list(found)

    def _get(self, name: str) -> Any:
        self._read.add(name)
        return self._entries.get(name, MISSING)

    def _wrong(self, name: str, allowed: str) -> CheckpointError:
        found = reprlib.repr(self._entries[name])
        return CheckpointError(
            f"the checkpoint's preprocessing has {name}={found}, which is not {allowed}: use another checkpoint"
        )


def _whole(value: object, least: int) -> bool:
    return type(value) is int and value >= least


def _is(value: object, annotation: str) -> bool:
    """True for a value of a field's type; types other than plain ones are left to the record."""
    checks = {
        "int": type(value) is int,
        "float": is_number(value),
        "bool": type(value) is bool,
        "str": type(value) is str,
    }
    return checks.get(annotation, True)
