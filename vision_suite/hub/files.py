"""Files of an entry: every regular file below its folder, read once and checked against its sums."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass, field
from pathlib import Path

from vision_suite.errors import CheckpointError, printable
from vision_suite.hub.sums import SUMS, read_sums, sha256
from vision_suite.hub.text import LARGEST, LARGEST_ALL, LARGEST_OTHER, read_json

WEIGHTS, CONFIG, RUN_CONFIG, LABELS = "model.safetensors", "config.json", "config.yaml", "labels.json"
CARD, LICENSE, EVALUATION = "README.md", "LICENSE", "evaluation.json"
REQUIRED = (WEIGHTS, CONFIG, RUN_CONFIG, CARD, LICENSE)
IGNORED = {".gitattributes"}  # what a model hub adds to a repository; it is never read
MOST = 1000  # files of an entry
PULL = "pull the entry again"


@dataclass
class EntryFiles:
    """Contents of an entry's files as they were read.

    Attributes:
        folder: The entry.
        contents: Bytes by relative path, of the files whose checksum is right.
        sums_sha256: SHA-256 of the sums.
        faults: What is wrong, one line each.
    """

    folder: Path
    contents: dict[str, bytes] = field(default_factory=dict)
    sums_sha256: str = ""
    faults: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Refuse an entry with a fault.

        Raises:
            CheckpointError: One line names the entry, the first fault, and the number of the others.
        """
        if self.faults:
            more = f" ({len(self.faults) - 1} more: 'vision-suite hub verify' lists them)" if self.faults[1:] else ""
            raise refused(self.folder, f"{self.faults[0]}{more}")


def refused(folder: Path, fault: object) -> CheckpointError:
    """The refusal of an entry for a fault, in one line that a terminal can show."""
    return CheckpointError(printable(f"{folder}: {fault}"))


def read_files(folder: Path, root: Path | None = None) -> EntryFiles:
    """Read an entry's files and compare them with its sums; of what they hold only the size of the weights is used.

    Args:
        folder: Folder of the entry.
        root: Folder that links may lead into, by default the entry itself.

    Raises:
        CheckpointError: There is no such folder, or it cannot be read.
    """
    if not folder.is_dir():
        raise refused(folder, "no such entry: 'vision-suite hub list' names those that are there")
    found = EntryFiles(folder)
    real = os.path.realpath(folder if root is None else root)
    try:
        present = _present(folder, real, found.faults)
    except OSError as error:
        raise refused(folder, f"it cannot be read ({error.strerror}): change its permissions") from error
    if SUMS not in present:
        found.faults.append(f"{SUMS}: it is missing, so nothing in the entry can be trusted: {PULL}")
    elif (sums := _read(folder, SUMS, found.faults)) is not None:
        _compare(found, present, sums)
    found.faults = [printable(fault) for fault in found.faults]  # names of files are anything
    return found


def _compare(found: EntryFiles, present: list[str], sums: bytes) -> None:
    """Read the files that are present and listed, the weights last, and note those whose checksum is another."""
    found.sums_sha256 = sha256(sums)
    listed, faults = read_sums(sums)
    found.faults += faults
    found.faults += [f"{name}: it is missing: {PULL}" for name in listed if name not in present]
    found.faults += [f"{name}: it is not in {SUMS}: remove it, or {PULL}" for name in present
                     if name not in listed and name != SUMS]  # fmt: skip
    found.faults += [f"{name}: every entry has one, and {SUMS} does not name it: {PULL}" for name in REQUIRED
                     if name not in listed]  # fmt: skip
    left = LARGEST_ALL
    for name in sorted((name for name in listed if name in present), key=lambda name: name == WEIGHTS):
        if name == WEIGHTS:
            contents = _read_weights(found)
        elif (contents := _read(found.folder, name, found.faults, left)) is not None:
            left -= len(contents)
        if contents is None:
            continue
        digest = sha256(contents)
        if digest == listed[name]:
            found.contents[name] = contents
        else:
            found.faults.append(f"{name}: hash is {digest[:12]}…, {SUMS} says {listed[name][:12]}…: {PULL}")


def _present(folder: Path, real: str, faults: list[str]) -> list[str]:
    """Relative paths of the regular files below a folder; links that leave it are faults."""
    found: list[str] = []

    def failed(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, onerror=failed):
        below = Path(place).relative_to(folder)
        for name in sorted([*names, *(each for each in folders if os.path.islink(os.path.join(place, each)))]):
            path = (below / name).as_posix()
            target = os.path.realpath(os.path.join(place, name))
            if os.path.commonpath([real, target]) != real:
                faults.append(f"{path}: a link that leaves the entry: put the file itself there")
            elif not os.path.exists(target):
                faults.append(f"{path}: a link to nothing: {PULL}")
            elif not stat.S_ISREG(os.stat(target).st_mode):
                faults.append(f"{path}: neither a file nor a folder of the entry's own: remove it")
            elif path not in IGNORED:
                found.append(path)
        if len(found) > MOST:
            faults.append(f"more than {MOST} files: this is no entry")
            break
    return sorted(found)


def _read(folder: Path, name: str, faults: list[str], left: int = LARGEST_ALL) -> bytes | None:
    """Bytes of a file of allowed size, else None and a fault."""
    most = min(LARGEST.get(name, LARGEST_OTHER), left)
    try:
        with open(folder / name, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= most:
                return file.read(most + 1)[:most]
        all_of_it = f" and {LARGEST_ALL:,} of all files" if most == left else ""
        faults.append(f"{name}: {size:,} bytes, at most {most:,}{all_of_it} are read: this is no such file")
    except OSError as error:
        faults.append(f"{name}: it cannot be read ({error.strerror}): change its permissions")
    return None


def _read_weights(found: EntryFiles) -> bytes | None:
    """Bytes of the weights if they have the size that the configuration tells, which is read before them.

    A configuration that does not tell it has a fault of its own, and the weights are not read.
    """
    try:
        told = read_json(found.contents[CONFIG])["weights"]["bytes"]
    except (ValueError, KeyError, TypeError):
        return None
    if type(told) is not int:
        return None
    try:
        with open(found.folder / WEIGHTS, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == told <= _memory():
                return file.read(size)
        why = f"{CONFIG} says {told:,}: {PULL}" if size != told else "more than the memory of this machine has"
        found.faults.append(f"{WEIGHTS}: {size:,} bytes, {why}")
    except OSError as error:
        found.faults.append(f"{WEIGHTS}: it cannot be read ({error.strerror}): change its permissions")
    except MemoryError:
        found.faults.append(f"{WEIGHTS}: its {told:,} bytes do not fit into memory: free some, or use another machine")
    return None


def _memory() -> int:
    """Bytes of memory of this machine, as far as it tells them."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return sys.maxsize
