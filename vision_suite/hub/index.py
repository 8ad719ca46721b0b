"""Index of a hub: one line of sums for each of its entries, in a canonical form that can be signed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vision_suite.errors import CheckpointError
from vision_suite.hub.schema import HEX64, NAME, TASKS, TIME
from vision_suite.hub.text import LARGEST_INDEX, one_line, read_json

INDEX = "index.json"
DOMAIN = b"vision-suite-hub-index-v1\n"
FORMAT = 1
HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class MalformedIndexError(CheckpointError):
    """An index that is none, in whose place a new one may be written."""


def canonical(index: Mapping[str, Any]) -> bytes:
    """Canonical bytes of an index, equal to those of RFC 8785 because it holds no floating-point number."""
    text = json.dumps(index, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def signed_bytes(index: Mapping[str, Any]) -> bytes:
    """Bytes that a signature is of."""
    return DOMAIN + canonical(index)


def read_index(hub: Path) -> dict[str, Any]:
    """The index of a hub.

    Args:
        hub: Folder of the hub.

    Raises:
        MalformedIndexError: It is too large or malformed.
        CheckpointError: It cannot be read, or was made by a newer suite.
    """
    path = hub / INDEX
    remedy = f"make it again with 'vision-suite hub index --hub {hub}'"
    try:
        with open(path, "rb") as file:
            contents = file.read(LARGEST_INDEX + 1)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: it is missing: {remedy}") from error
    except OSError as error:
        raise CheckpointError(f"{path}: it cannot be read ({error.strerror}): change its permissions") from error
    try:
        if len(contents) > LARGEST_INDEX:
            raise ValueError(f"it has more than {LARGEST_INDEX:,} bytes")
        found: dict[str, Any] = read_json(contents)
        if not _is_newer(found):
            _check(found)
            return found
    except ValueError as error:
        raise MalformedIndexError(f"{path}: {one_line(error)}: {remedy}") from error
    raise CheckpointError(
        f"{path}: format {found['format']}, made by a newer suite; this one reads {FORMAT}: "
        "pip install --upgrade vision-suite"
    )


def _is_newer(index: Any) -> bool:
    """True for an index of a later format."""
    form = index.get("format") if isinstance(index, dict) else None
    return type(form) is int and form > FORMAT


def _check(index: Any) -> None:
    """Refuse what is no index.

    Raises:
        ValueError: One line says why.
    """
    if not isinstance(index, dict):
        raise ValueError(f"it holds a {type(index).__name__}, no object")
    kinds = {"format": int, "name": str, "serial": int, "created": str, "entries": dict}
    if set(index) != set(kinds) or any(type(index[name]) is not kind for name, kind in kinds.items()):
        raise ValueError(f"it must have {', '.join(kinds)}, and nothing else")
    if index["format"] != FORMAT or index["serial"] < 0 or not HUB_NAME.fullmatch(index["name"]):
        raise ValueError("its format, name or serial is wrong")
    if not TIME.fullmatch(index["created"]):
        raise ValueError("created is no time such as 2026-01-01T00:00:00Z")
    for name, entry in index["entries"].items():
        good = (
            NAME.fullmatch(name) is not None
            and isinstance(entry, dict)
            and set(entry) == {"sums_sha256", "bytes", "method", "task"}
            and isinstance(entry["sums_sha256"], str)
            and HEX64.fullmatch(entry["sums_sha256"]) is not None
            and type(entry["bytes"]) is int
            and entry["bytes"] >= 0
            and isinstance(entry["method"], str)
            and entry["task"] in TASKS
        )
        if not good:
            raise ValueError(f"the entry {name!r:.80} is malformed")
