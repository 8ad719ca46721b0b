"""Files that appear whole or not at all: written as a draft beside their place, then renamed."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from vision_suite.errors import STORAGE, StorageError, storage_error

DRAFT = ".draft"
# What file systems answer that have no such operation: some network and FUSE ones cannot sync, or lock.
UNSUPPORTED = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY}


def draft_of(path: Path) -> Path:
    """The draft of a file; a killed writer may leave it, and the next writer replaces it."""
    return path.with_name(path.name + DRAFT)


@contextlib.contextmanager
def replacing(path: Path, *, shared: bool = False) -> Iterator[BinaryIO]:
    """Open the draft of a file for writing; when the block ends, it is on the disk and takes the file's place.

    If the block fails or is interrupted, the earlier file stays as it was and the draft is removed. While it is written
    the draft is locked, and a second writer is refused.

    Args:
        path: The file; its folder is made if it is missing.
        shared: True if several processes may write the file at the same time: each has a draft of its own.

    Raises:
        StorageError: Another process writes the file.
        OSError: The draft cannot be made, written or renamed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = draft_of(path.with_name(f".{path.name}.{os.getpid()}")) if shared else draft_of(path)
    _remove_left(draft, path)
    with _created(draft, path) as file:
        _lock(file, path)  # before this another writer may take the draft for one that was left
        try:
            yield file
            _sync(file)
            if not _is(draft, file):  # where locks are not supported
                raise _taken(path)
            os.replace(draft, path)
        except BaseException:
            with contextlib.suppress(OSError):  # else the next writer removes it
                if _is(draft, file):
                    draft.unlink()
            raise
    _sync_folder(path.parent)


def write_whole(path: Path, contents: str | bytes) -> None:
    """Write a small file that appears whole or not at all.

    Args:
        path: The file.
        contents: Its bytes, or its text, which is written in UTF-8.

    Raises:
        StorageError: The disk is full or the folder is read-only; the earlier file is unchanged.
    """
    data = contents.encode("utf-8") if isinstance(contents, str) else contents
    try:
        with replacing(path, shared=True) as file:
            write_all(file, memoryview(data))
    except OSError as error:
        raise storage_error(error, path, len(data)) from error


@contextlib.contextmanager
def replacing_text(path: Path) -> Iterator[TextIO]:
    """Open the draft of a text file in UTF-8, as `replacing` does; line ends are written as they are given."""
    with replacing(path, shared=True) as file:
        stream = io.TextIOWrapper(io.BufferedWriter(cast(io.RawIOBase, file)), encoding="utf-8", newline="")
        yield stream
        stream.flush()
        stream.detach().detach()


def move_whole(source: Path, target: Path) -> None:
    """Put a finished file in the place of another on the same disk, in one step.

    Raises:
        OSError: It cannot be moved; both files are as they were.
    """
    with open(source, "rb") as file:
        _sync(file)
    os.replace(source, target)
    _sync_folder(target.parent)


@contextlib.contextmanager
def drafted(path: Path) -> Iterator[Path]:
    """A draft to write by any means, which takes the file's place when the block ends, and vanishes if it fails.

    Unlike `replacing` it does not wait for the disk: for files that can be made again.

    Args:
        path: The file.

    Raises:
        StorageError: The disk is full or the folder is read-only; the earlier file is unchanged.
    """
    draft = draft_of(path)
    try:
        yield draft
        os.replace(draft, path)
    except OSError as error:
        if error.errno in STORAGE:
            raise storage_error(error, path) from error
        raise
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def write_all(file: BinaryIO, data: memoryview) -> None:
    """Write every byte to an unbuffered file, whose ``write`` may take fewer at a time.

    Raises:
        OSError: The disk is full, a quota is reached, or the device failed.
    """
    while len(data):
        data = data[file.write(data) :]


def _is(path: Path, file: BinaryIO) -> bool:
    """True if an open file still lies at a path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.lstat(path))
    except FileNotFoundError:
        return False


def _remove_left(draft: Path, path: Path) -> None:
    """Remove the draft that a killed process left; refuse if a living one writes it."""
    if draft.is_symlink():
        draft.unlink(missing_ok=True)
    try:
        with open(draft, "r+b", buffering=0) as left:
            _lock(left, path)
            if _is(draft, left):  # else its writer has just finished
                draft.unlink()
    except FileNotFoundError:
        return
    except PermissionError:  # of another user, perhaps; the folder decides whether it can be removed
        draft.unlink(missing_ok=True)


def _created(draft: Path, path: Path) -> BinaryIO:
    """A new draft, open for writing."""
    try:
        return open(draft, "xb", buffering=0)
    except FileExistsError as error:
        raise _taken(path) from error


def _lock(file: BinaryIO, path: Path) -> None:
    """Lock a draft until it is closed; without effect where the system or the file system has no locks.

    Raises:
        StorageError: Another writer has locked it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise _taken(path) from error
        if error.errno not in UNSUPPORTED | {errno.ENOLCK}:
            raise


def _taken(path: Path) -> StorageError:
    found = StorageError(f"{path}: another process writes it at the same time: wait for its end, or use another folder")
    found.errno = errno.EEXIST
    return found


def _sync(file: BinaryIO) -> None:
    """Wait until a file is on the disk, where the file system can tell."""
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut; some network file systems refuse it, and the file is whole anyway."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
