"""Errors that a user can correct. Each message is one line: what was given, where, and how to correct it."""

from __future__ import annotations

import errno
import math
import os
import signal as signals
import sys
from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints


class SuiteError(Exception):
    """Base of every error that the suite raises for something the user can correct."""


class ConfigError(SuiteError, ValueError):
    """A setting is unknown, contradictory or out of range."""


class DataError(SuiteError, ValueError):
    """A data set is incomplete, malformed, corrupt or empty."""


class CheckpointError(SuiteError, ValueError):
    """A checkpoint is truncated, of another class, or holds settings this version does not know."""


class TrainingError(SuiteError, RuntimeError):
    """Training cannot go on: the loss or the weights are not finite."""


class ExportError(SuiteError, RuntimeError):
    """A network cannot be written in an exchange format, or what was written gives other outputs."""


class MissingDependencyError(SuiteError, ModuleNotFoundError):
    """An optional package is needed for what was asked."""

    def __init__(self, feature: str, package: str, extra: str | None = None) -> None:
        """Name the feature, the missing package, and the command that installs it."""
        target = f"'vision-suite[{extra}]'" if extra else package
        super().__init__(f"{feature} needs the package {package}: pip install {target}")


class MemoryShortError(SuiteError, MemoryError):
    """The network and its batches do not fit into the memory of this machine or its GPU."""


class StorageError(SuiteError, OSError):
    """A file cannot be written or read: the disk is full, read-only or closed to this user. See `storage_error`."""


class ProcessError(SuiteError, RuntimeError):
    """Another process of the group failed, so this one cannot go on.

    Attributes:
        status: Exit status of that process, which becomes the status of the command.
    """

    def __init__(self, rank: int, status: int) -> None:
        super().__init__(f"the process of rank {rank} ended with status {status}; its own message tells the reason")
        self.status = status


class Stopped(BaseException):
    """A signal ended the command. Like `KeyboardInterrupt`, it is no `Exception`.

    Attributes:
        signal: Signal that was received.
    """

    def __init__(self, signal: signals.Signals) -> None:
        super().__init__(signal)
        self.signal = signal

    def __str__(self) -> str:
        return f"stopped by {self.signal.name}"


# Reason and remedy by error number. Further numbers, such as a missing file, are no matter of storage.
STORAGE = {
    errno.ENOSPC: ("no space left on the disk", "free some space, or choose a folder on another disk"),
    errno.EDQUOT: ("disk quota exceeded", "free some space, or choose a folder on another disk"),
    errno.EFBIG: ("the file is larger than the limit", "raise the limit (ulimit -f), or choose another disk"),
    errno.EROFS: ("the file system is read-only", "choose a folder that can be written"),
    errno.EACCES: ("permission denied", "change the permissions, or choose another folder"),
    errno.EPERM: ("operation not permitted", "change the permissions, or choose another folder"),
    errno.ENAMETOOLONG: ("the name is too long for a file", "give a shorter one"),
    errno.ELOOP: ("symbolic links that lead back to themselves", "name the folder itself"),
}
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # those for which sizes explain something


def storage_error(error: OSError, path: Path | None = None, needed: int | None = None) -> StorageError:
    """Explain an error of the file system in one line: path, reason, remedy, and the bytes where room is the reason.

    Args:
        error: Error as raised, with one of the numbers in `STORAGE`; other numbers keep the system's own words. An
            error that is explained already comes back as it is.
        path: File that was written; None for the name in the error.
        needed: Size of the file in bytes, if known.
    """
    if isinstance(error, StorageError):
        return error
    named = path if path is not None else error.filename
    reason, remedy = STORAGE.get(error.errno or 0, (error.strerror or str(error), "choose another folder"))
    full = error.errno in FULL
    free = _free_bytes(Path(os.fsdecode(named))) if full and isinstance(named, str | bytes | os.PathLike) else None
    sizes = [f"{needed:,} bytes needed"] if full and needed is not None else []
    sizes += [f"{free:,} bytes free"] if free is not None else []
    where = f"{os.fsdecode(named)}: " if isinstance(named, str | bytes | os.PathLike) else ""
    size = f" ({', '.join(sizes)})" if sizes else ""
    explained = StorageError(f"{where}{reason}{size}: {remedy}")
    explained.errno = error.errno
    return explained


def _free_bytes(path: Path) -> int | None:
    """Bytes that this user can still write on the disk of a path, which need not exist; None if unknown."""
    for folder in (path, *path.absolute().parents):
        try:
            state = os.statvfs(folder)
        except OSError:
            continue
        return state.f_bavail * state.f_frsize
    return None


def printable(text: object) -> str:
    """A text with a question mark for each character that a terminal cannot show or would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text))


def is_number(value: object, most: float = sys.float_info.max) -> bool:
    """True for a finite number: neither a boolean, nor a whole number that no float can hold.

    Args:
        value: Value, out of a file for example.
        most: Largest size.
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= most


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Refuse a word that is not among the choices, with a `ConfigError`."""
    known = list(choices)
    if value not in known:
        raise ConfigError(f"{name}={value!r} is not known: choose one of {', '.join(known)}")


def check_literals(settings: object, section: str) -> None:
    """Refuse unknown words in every field of a dataclass whose type is a `Literal`.

    The command line checks them itself; a typing error in Python would otherwise train with another setting.
    """
    for name, hint in get_type_hints(type(settings)).items():
        if get_origin(hint) is Literal:
            check_choice(f"{section}.{name}", getattr(settings, name), get_args(hint))


def check_number(
    name: str,
    value: object,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    below: float | None = None,
    whole: bool = False,
) -> None:
    """Refuse what is no finite number or lies outside its range, with a `ConfigError`.

    Args:
        name: Dotted name of the setting.
        value: Its value.
        low: Least value allowed.
        above: Value that is too small itself.
        high: Largest value allowed.
        below: Value that is too large itself.
        whole: Allow whole numbers only.
    """
    kind: type = Integral if whole else Real
    try:
        number = float(value) if isinstance(value, kind) and not isinstance(value, bool) else math.nan  # type: ignore[arg-type]
    except OverflowError:  # a whole number that no float can hold
        number = math.inf
    inside = (
        math.isfinite(number)
        and (low is None or number >= low)
        and (above is None or number > above)
        and (high is None or number <= high)
        and (below is None or number < below)
    )
    if inside:
        return
    words = {"at least": low, "above": above, "at most": high, "below": below}
    limits = " and ".join(f"{word} {limit:g}" for word, limit in words.items() if limit is not None)
    raise ConfigError(f"{name}={value!r} must be a {'whole' if whole else 'finite'} number {limits}".rstrip())
