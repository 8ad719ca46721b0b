"""Changes of a hub's folder: one writer at a time, and an entry takes the place of another in one step."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from vision_suite.drafts import UNSUPPORTED
from vision_suite.errors import storage_error

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)
LOCK = ".lock"
HERE, EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


@contextlib.contextmanager
def changing(hub: Path) -> Iterator[None]:
    """Wait for other writers of a hub, and keep them out until the block ends; readers take no lock.

    Args:
        hub: Folder of the hub, which must exist.

    Raises:
        StorageError: It cannot be written.
    """
    try:
        file = _opened(hub / LOCK)
    except OSError as error:
        raise storage_error(error, hub / LOCK) from error
    with file:
        if fcntl is not None:
            try:
                _lock(file, hub)
            except OSError as error:
                if error.errno not in UNSUPPORTED | {errno.ENOLCK, errno.EBADF}:  # a file system without locks
                    raise storage_error(error, hub / LOCK) from error
        yield


@contextlib.contextmanager
def placed(made: Path, folder: Path) -> Iterator[None]:
    """Put a finished folder in the place of another on the same disk, in one step where the system can.

    The earlier one comes back if the block fails. Otherwise it ends where the finished one was, to be removed.

    Args:
        made: The finished folder.
        folder: Its place; what lies there may be a folder, a file or a link.

    Raises:
        OSError: It cannot be put there; everything is as it was.
    """
    if not os.path.lexists(folder):
        os.replace(made, folder)
        try:
            yield
        except BaseException:
            os.replace(folder, made)
            raise
        return
    _exchange(made, folder)
    try:
        yield
    except BaseException:
        _exchange(made, folder)
        raise


def _opened(path: Path) -> BinaryIO:
    try:
        return open(path, "ab")
    except PermissionError:
        return open(path, "rb")  # another user's, in a hub of several


def _lock(file: BinaryIO, hub: Path) -> None:
    """Lock a file, with a word if that takes long."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        log.warning("%s: another command changes this hub: waiting for its end", hub)
        fcntl.flock(file, fcntl.LOCK_EX)


def _exchange(first: Path, second: Path) -> None:
    """Let two paths change places."""
    if _exchanged(first, second):
        return
    aside = first.with_name(f"{first.name}.former")
    try:
        os.replace(second, aside)
        os.replace(first, second)
    except BaseException:
        if os.path.lexists(aside) and not os.path.lexists(second):
            os.replace(aside, second)
        raise
    os.replace(aside, first)


def _exchanged(first: Path, second: Path) -> bool:
    """Let two paths change places in one step; False where the system or the file system has no such operation."""
    try:
        rename = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):  # no Linux, or an old C library
        return False
    return bool(rename(HERE, os.fsencode(first), HERE, os.fsencode(second), EXCHANGE) == 0)
