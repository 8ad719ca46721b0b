"""Nearest names for a word that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, names: Iterable[str], count: int = 3) -> list[str]:
    """Find the names most like a word, best first; the word itself is none of them.

    A name is compared whole and by its last part (after ``/`` or ``.``), ignoring case.

    Args:
        word: Word that was given.
        names: Known names.
        count: Largest number of names to return.
    """

    def likeness(name: str) -> float:
        forms = {name, name.rsplit("/", 1)[-1], name.rsplit(".", 1)[-1]}
        return max(difflib.SequenceMatcher(None, word.lower(), form.lower()).ratio() for form in forms)

    scored = sorted(((likeness(name), name) for name in set(names) - {word}), key=lambda pair: (-pair[0], pair[1]))
    return [name for score, name in scored[:count] if score >= 0.5]


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """A clause to append to an error: ``: did you mean 'a' or 'b'?``, or nothing when no name is near."""
    found = [f"'{name}'" for name in nearest(word, names)]
    if not found:
        return ""
    return f": did you mean {' or '.join([', '.join(found[:-1]), found[-1]] if found[:-1] else found)}?"
