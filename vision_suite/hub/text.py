"""JSON of the hub: read within bounds, without doubled keys and without numbers that are not finite."""

from __future__ import annotations

import json
from typing import Any

from vision_suite.errors import printable

MIB = 2**20
LARGEST = {"config.json": MIB, "evaluation.json": 16 * MIB, "labels.json": 16 * MIB, "SHA256SUMS": MIB}
LARGEST_INDEX = 16 * MIB
LARGEST_OTHER = 16 * MIB  # of every other file than the weights
LARGEST_ALL = 128 * MIB  # of all other files together
LARGEST_WHOLE = 2**63 - 1
DEEPEST = 32


def read_json(contents: bytes) -> Any:
    """A value of JSON.

    Raises:
        ValueError: It is no JSON in UTF-8, has a key twice, NaN, an infinity, a whole number of more than 64 bits or
            half of a character, or is nested too deeply.
    """
    try:
        value = json.loads(
            contents.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_finite,
            parse_int=_whole,
        )  # fmt: skip
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if _depth(value) > DEEPEST:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels")
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("a text in it has half of a character (a lone surrogate)") from None
    return value


def write_json(value: Any) -> str:
    """Text of a file: indented by 2, keys sorted, no NaN."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def one_line(error: BaseException, most: int = 160) -> str:
    """Message of an error in one line."""
    return printable(" ".join(str(error).split())[:most]) or type(error).__name__


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name!r:.60} is there twice")
        found[name] = value
    return found


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON")


def _whole(word: str) -> int:
    if len(word) > len(str(-LARGEST_WHOLE)) or abs(value := int(word)) > LARGEST_WHOLE:
        raise ValueError(f"{word:.40} is too large")
    return value


def _finite(word: str) -> float:
    value = float(word)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{word:.40} is too large")
    return value


def _depth(value: Any) -> int:
    """Levels of nested containers."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return depth
