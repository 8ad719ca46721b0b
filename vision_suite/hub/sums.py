"""``SHA256SUMS`` of an entry, in the form that ``sha256sum -c`` reads."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

SUMS = "SHA256SUMS"
LINE = re.compile(r"([0-9a-f]{64})  (.+)")
LONGEST = 200  # characters of a path


def sha256(contents: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(contents).hexdigest()


def write_sums(files: Mapping[str, bytes]) -> bytes:
    """Text of the file: one line for each file, sorted by the bytes of its path.

    Args:
        files: Contents by path relative to the entry, without the sums themselves.
    """
    ordered = sorted(files, key=lambda name: name.encode("utf-8"))
    return "".join(f"{sha256(files[name])}  {name}\n" for name in ordered).encode("utf-8")


def read_sums(contents: bytes) -> tuple[dict[str, str], list[str]]:
    """Checksum by path, and what is wrong with the file; paths that are wrong are left out.

    Args:
        contents: Bytes of the file.
    """
    try:
        text = contents.decode("utf-8")
    except UnicodeDecodeError:
        return {}, [f"{SUMS}: it is no text in UTF-8"]
    faults: list[str] = []
    found: dict[str, str] = {}
    if not text.endswith("\n"):
        faults.append(f"{SUMS}: its last line is cut off")
    lines = text.split("\n")[:-1] if text.endswith("\n") else text.split("\n")
    for number, line in enumerate(lines, start=1):
        match = LINE.fullmatch(line)
        if match is None:
            faults.append(f"{SUMS}: line {number} is not a checksum, two spaces and a path")
        elif (reason := wrong_path(match[2])) is not None:
            faults.append(f"{SUMS}: line {number} names {match[2]!r:.80}, {reason}")
        elif match[2] in found:
            faults.append(f"{SUMS}: line {number} names {match[2]} a second time")
        else:
            found[match[2]] = match[1]
    if list(found) != sorted(found, key=lambda name: name.encode("utf-8")):
        faults.append(f"{SUMS}: its lines are not sorted by their paths")
    return found, faults


def wrong_path(path: str) -> str | None:
    """The reason why a path cannot be one of an entry's files; None if it can."""
    parts = path.split("/")
    if path.startswith("/"):
        return "which is not relative to the entry"
    if ".." in parts:
        return "which leads out of the entry"
    if "" in parts or "." in parts:
        return "which is not the plain path of a file"
    if "\\" in path or any(ord(letter) < 32 or ord(letter) == 127 for letter in path):
        return "which has a letter that no path of an entry may have"
    if len(path) > LONGEST or path == SUMS:
        return "which is too long" if path != SUMS else "the sums themselves"
    return None
