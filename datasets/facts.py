"""Contents of the facts that a model takes from the data, and what differs between two of them."""

from __future__ import annotations

import hashlib
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

LONGEST = 100  # names stored one by one; of longer lists a checksum is stored
_PLAIN = (bool, int, float, str)
_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60


def listed(names: Sequence[str]) -> list[str] | dict[str, Any]:
    """Names in plain values: one by one, or the number and the SHA-256 of a long list."""
    if len(names) <= LONGEST:
        return list(names)
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name}\0".encode())
    return {"count": len(names), "sha256": digest.hexdigest()}


def labels(count: int, names: Mapping[int, str], used: set[int]) -> list[str | None]:
    """Label of each index as the data set names it; None for an index that occurs nowhere.

    Args:
        count: Number of indices.
        names: The data set's own names; an index without one is its own name.
        used: Indices that occur.
    """
    return [names.get(index, str(index)) if index in used else None for index in range(count)]


def is_plain(value: object) -> bool:
    """True for a value that a checkpoint stores without a class: numbers, text, None, and lists and dicts of them."""
    if value is None or isinstance(value, _PLAIN):
        return True
    if isinstance(value, list):
        return all(map(is_plain, value))
    return isinstance(value, dict) and all(isinstance(key, str) and is_plain(each) for key, each in value.items())


def differences(stored: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """Phrases for the facts that differ, one for each.

    A fact that one side does not know (None, 0, or empty) differs from nothing.

    Args:
        stored: Contents of the checkpoint's facts, by name.
        own: Contents of the data's facts, by name.
    """
    both = [(name, stored[name], own[name]) for name in own if name in stored]
    return [phrase for name, old, new in both if old and new and (phrase := _difference(name, old, new))]


def uncounted(old: Any, new: Any, count: object) -> tuple[Any, Any]:
    """Contents of one fact on both sides, without the numbers, where another line tells that these differ.

    Args:
        old: Content of the checkpoint.
        new: Content of the data.
        count: Number of the data.
    """
    if isinstance(old, list) and isinstance(new, list):
        length = min(len(old), len(new))
        return old[:length], new[:length]
    if isinstance(old, dict) and isinstance(new, dict) and "count" not in new:
        return old, {name: value for name, value in new.items() if value != count}
    return None, None


def untold(
    stored: Mapping[str, Any], own: Mapping[str, Any], preprocessing: Mapping[str, Any], counts: Mapping[str, object]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Contents of facts on both sides, without what other lines tell.

    Args:
        stored: Contents of the checkpoint's facts, by name.
        own: Contents of the data's facts, by name.
        preprocessing: That of the data, which is compared by itself.
        counts: Numbers of the data, by fact, that are known to differ.
    """
    prepared, before, now = leaves(preprocessing), dict(stored), dict(own)
    for name, content in own.items():
        if isinstance(content, dict):
            now[name] = {key: value for key, value in content.items() if (key, value) not in prepared}
        if name in counts:
            before[name], now[name] = uncounted(stored.get(name), now[name], counts[name])
    return before, now


def other_values(stored: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """Phrases for the settings with other values, one for each that both sides have, those inside records included."""
    both = [(name, stored[name], own[name]) for name in own if name in stored and not same(stored[name], own[name])]
    phrases = []
    for name, old, new in both:
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            phrases += other_values({f"{name}.{k}": v for k, v in old.items()}, {f"{name}.{k}": new[k] for k in new})
        else:
            phrases.append(_values(name, old, new))
    return phrases


def leaves(settings: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Every setting and its value, those inside records included, each under its own last name."""
    inner = [pair for value in settings.values() if isinstance(value, Mapping) for pair in leaves(value)]
    return [*settings.items(), *inner]


def same(first: object, second: object) -> bool:
    """True for equal values; a tuple equals a list, as files hold one for the other, and NaN equals NaN."""
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    return first == second or (first != first and second != second)


def _difference(name: str, old: Any, new: Any) -> str:
    """Phrase for the difference in one fact, empty if there is none."""
    if isinstance(old, list) and isinstance(new, list):
        return _lists(name, old, new)
    if isinstance(old, list | dict) and isinstance(new, list | dict):
        counts = [each.get("count") if isinstance(each, dict) else len(each) for each in (old, new)]
        if counts[0] != counts[1]:
            return _counts(name, *counts)
        if "sha256" in old or "sha256" in new:
            others = f"the {_many(name)} of the checkpoint are others than those of the data ({_short.repr(counts[0])})"
            return "" if old == new else others
    if isinstance(old, dict) and isinstance(new, dict):
        return "; ".join(other_values({name: old}, {name: new}))
    return "" if old == new else _values(name, old, new)


def _lists(name: str, old: list[Any], new: list[Any]) -> str:
    """Phrase for the difference of two lists of labels by index; None is a label that is not known."""
    unlike = [n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b and None not in (a, b)]
    first = _values(f"{_one(name)} {unlike[0]}", old[unlike[0]], new[unlike[0]]) if unlike else ""
    if len(old) != len(new):
        counted = _counts(name, len(old), len(new))
        return f"{counted}; {first}" if first else counted
    if len(unlike) < 2:
        return first
    if sorted(map(repr, old)) == sorted(map(repr, new)):
        return f"the {len(old)} {_many(name)} stand in another order: {first}"
    return f"{len(unlike)} of {len(old)} {_many(name)} differ: {first}"


def _counts(name: str, old: object, new: object) -> str:
    return f"the number of {_many(name)} is {_short.repr(old)} in the checkpoint and {_short.repr(new)} in the data"


def _values(what: str, old: Any, new: Any) -> str:
    texts = _short.repr(old), _short.repr(new)
    if texts[0] == texts[1] and isinstance(old, list | tuple) and isinstance(new, list | tuple):
        unlike = [n for n, (a, b) in enumerate(zip(old, new, strict=False)) if not same(a, b)]
        if unlike:  # beyond the members that are shown
            return _values(f"{what}[{unlike[0]}]", old[unlike[0]], new[unlike[0]])
        return f"{what} has {len(old)} members in the checkpoint and {len(new)} in the data"
    if texts[0] == texts[1]:
        texts = repr(old), repr(new)
    return f"{what} is {texts[0]} in the checkpoint and {texts[1]} in the data"


def _many(name: str) -> str:
    """Word for the members that a fact counts: ``cameras`` for ``num_cameras``."""
    return name.removeprefix("num_")


def _one(name: str) -> str:
    """Word for one member."""
    word = _many(name)
    return word.removesuffix("es") if word.endswith("sses") else word.removesuffix("s")
