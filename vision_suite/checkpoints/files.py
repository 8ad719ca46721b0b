"""Checkpoint files: written whole with a checksum, and verified before they are used.

The checksum lies in the comment of the zip file that ``torch.save`` makes, so that every other program reads the file
as before. It is the SHA-256 of the SHA-256 digests of all pieces of 4 MiB, and covers every byte before it; pieces are
hashed in parallel.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch
from torch import Tensor

from vision_suite import __version__
from vision_suite.checkpoints.contents import FORMAT, MARK, check_contents
from vision_suite.checkpoints.foreign import describe
from vision_suite.drafts import replacing, write_all
from vision_suite.errors import CheckpointError, storage_error

PIECE = 4 * 2**20
CHUNK = 2**17  # bytes read at a time, few enough to be hashed in the processor's cache
THREADS = 4
SEAL = b"vision_suite sha256/4MiB "
HEX = 64
END = b"PK\x05\x06"  # first bytes of the record that ends a zip file, 22 bytes without its comment
END_SIZE = 22
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # first bytes of a file of torch.save before version 1.6
RACY = 2.0  # seconds within which a change may leave a file's times as they are

_verified: set[tuple[int, int, int, int, int]] = set()


def write(contents: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint that appears whole or not at all, with a checksum of the whole file.

    Args:
        contents: Contents of the checkpoint; a note of the format is added to those that hold a ``state_dict``.
        path: File to write. An earlier file there is replaced at the end, in one step.

    Raises:
        StorageError: The disk is full, a quota is reached, or the folder is read-only; the earlier file is unchanged.
    """
    marked = dict(contents)
    if "state_dict" in marked:
        marked[MARK] = {"format": FORMAT, "version": __version__}
    try:
        with replacing(path) as file, ThreadPoolExecutor(_threads()) as pool:
            stream = _Sealed(file, pool)
            torch.save(marked, cast("IO[bytes]", stream))
            stream.seal()
    except OSError as error:
        explained = storage_error(error, path, _tensor_bytes(marked))
        if path.is_file():
            explained.add_note("the earlier file is unchanged")
        raise explained from error


def verify(path: Path) -> None:
    """Check that the file of a checkpoint is as it was written.

    The whole file is checked by its checksum; files of earlier versions and of other programs, by the checksums of
    their zip entries. A file that has not changed since it was verified is not read again in the same process.

    Raises:
        CheckpointError: The file is missing, empty, truncated, damaged, or not a checkpoint at all.
    """
    try:
        with open(path, "rb") as file:
            state = os.fstat(file.fileno())
            key = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
            if key in _verified:
                return
            _verify(file, state.st_size, path)
    except OSError as error:
        raise CheckpointError(_unreadable(path, error)) from error
    if time.time() - max(state.st_mtime, state.st_ctime) > RACY:
        _verified.add(key)


def read(path: Path) -> dict[str, Any]:
    """Read a checkpoint of Lightning: verified, as plain data on the CPU, with its structure checked.

    Tensors are mapped from the file, and loaded when they are used. No code in the file is executed.

    Raises:
        CheckpointError: The file is damaged or no such checkpoint; one line says what is wrong and what to do.
    """
    contents = load(path)
    check_contents(contents, path)
    found: dict[str, Any] = contents
    return found


def load(path: Path) -> Any:
    """Read any file of ``torch.save``: verified, as plain data on the CPU.

    Raises:
        CheckpointError: The file is damaged, no such file, or holds code.
    """
    verify(path)
    try:
        return torch.load(path, weights_only=True, map_location="cpu", mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a file of another kind makes the reader fail in any way
        raise CheckpointError(f"{path}: {describe(path, error)}") from error


class _Sealed:
    """Stream for `torch.save` that hashes what it writes.

    It keeps the first error to itself until `seal`: an exception inside ``write`` reaches the caller of `torch.save` as
    another one, without its cause.

    Args:
        file: Unbuffered file.
        pool: Threads that hash.
    """

    def __init__(self, file: BinaryIO, pool: ThreadPoolExecutor) -> None:
        self._file, self._pool = file, pool
        self._error: BaseException | None = None
        self._tail = bytearray()  # the last bytes, which `seal` changes
        self._piece = bytearray()
        self._waiting: deque[Future[bytes]] = deque()
        self._digest = hashlib.sha256()

    def write(self, data: memoryview) -> int:
        """Take bytes; returns their number."""
        size = len(data)
        if self._error is None:
            try:
                self._hold(memoryview(data).cast("B"))
            except BaseException as error:  # raised by `seal`
                self._error = error
        return size

    def flush(self) -> None:
        """Do nothing: `seal` writes the rest."""

    def seal(self) -> None:
        """Write the end of the zip file with the checksum as its comment; raises what `write` ran into."""
        if self._error is not None:
            raise self._error
        if bytes(self._tail[:4]) != END or len(self._tail) != END_SIZE:
            raise CheckpointError(f"torch {torch.__version__} writes files that do not end as zip files do")
        self._tail[END_SIZE - 2 :] = struct.pack("<H", len(SEAL) + HEX)
        self._emit(memoryview(bytes(self._tail) + SEAL))
        self._flush_piece()
        while self._waiting:
            self._digest.update(self._waiting.popleft().result())
        write_all(self._file, memoryview(self._digest.hexdigest().encode()))

    def _hold(self, data: memoryview) -> None:
        """Emit all but the last bytes of the stream."""
        kept = bytes(self._tail) + bytes(data[-END_SIZE:]) if len(data) < END_SIZE else bytes(data[-END_SIZE:])
        if len(data) >= END_SIZE:
            self._emit(memoryview(bytes(self._tail)))
            self._emit(data[:-END_SIZE])
        else:
            self._emit(memoryview(kept[:-END_SIZE]))
        self._tail = bytearray(kept[-END_SIZE:])

    def _emit(self, data: memoryview) -> None:
        while len(data):
            room = PIECE - len(self._piece)
            self._piece += data[:room]
            data = data[room:]
            if len(self._piece) == PIECE:
                self._flush_piece()

    def _flush_piece(self) -> None:
        """Hash a piece in a thread while it is written."""
        piece, self._piece = self._piece, bytearray()
        if piece:
            self._waiting.append(self._pool.submit(_hash, piece))
            write_all(self._file, memoryview(piece))
        while len(self._waiting) > 2 * THREADS:
            self._digest.update(self._waiting.popleft().result())


def _verify(file: BinaryIO, size: int, path: Path) -> None:
    """Check an open file."""
    if size == 0:
        raise CheckpointError(f"{path}: the file is empty (a write was cut off): use an earlier checkpoint")
    file.seek(max(0, size - len(SEAL) - HEX))
    seal = file.read()
    if seal[:-HEX] == SEAL:
        if seal[-HEX:] != _checksum(file, size - HEX).encode():
            raise CheckpointError(
                f"{path}: damaged (its checksum is wrong, the file changed after it was written): use another "
                "checkpoint, or copy it again"
            )
        return
    file.seek(0)
    if file.read(len(LEGACY)) == LEGACY:
        return  # holds no checksum of any kind
    if not zipfile.is_zipfile(file):
        raise CheckpointError(f"{path}: {describe(path)}")
    if (damage := _zip_damage(file)) is not None:
        raise CheckpointError(f"{path}: damaged ({damage}): use another checkpoint, or copy it again")


def _zip_damage(file: BinaryIO) -> str | None:
    """Damage of a zip file that has no checksum as a whole, None if there is none."""
    try:
        with zipfile.ZipFile(file) as archive:
            wrong = archive.testzip()
            if wrong is not None:
                return f"the checksum of {wrong} is wrong"
            names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            marked = any(MARK.encode() in archive.read(name) for name in names)
            # Contents saved again by torch.save end as its files do; no cut and no flipped byte gives that.
            if marked and not _ends_plainly(file):
                return "the checksum at its end is missing"
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        struct.error,
        ValueError,
    ) as error:
        return " ".join(str(error).split()) or type(error).__name__
    return None


def _ends_plainly(file: BinaryIO) -> bool:
    """True if the last bytes are the end of a zip file without a comment."""
    file.seek(-END_SIZE, os.SEEK_END)
    end = file.read()
    return end.startswith(END) and end.endswith(b"\0\0")


def _checksum(file: BinaryIO, size: int) -> str:
    """The checksum of the first bytes of an open file."""
    digest = hashlib.sha256()
    descriptor = file.fileno()
    with ThreadPoolExecutor(_threads()) as pool:
        for piece in pool.map(lambda start: _piece_digest(descriptor, start, size), range(0, size, PIECE)):
            digest.update(piece)
    return digest.hexdigest()


def _piece_digest(descriptor: int, start: int, size: int) -> bytes:
    """Digest of the piece that begins at an offset; of fewer bytes if the file has become shorter."""
    digest = hashlib.sha256()
    stop = min(start + PIECE, size)
    while start < stop and (part := os.pread(descriptor, min(CHUNK, stop - start), start)):
        digest.update(part)
        start += len(part)
    return digest.digest()


def _hash(piece: bytes | bytearray) -> bytes:
    return hashlib.sha256(piece).digest()


def _threads() -> int:
    return max(1, min(THREADS, len(os.sched_getaffinity(0))))


def _tensor_bytes(contents: object) -> int:
    """Bytes of all tensors in nested containers, shared memory counted once."""
    return sum({storage.data_ptr(): storage.nbytes() for storage in _storages(contents)}.values())


def _storages(contents: object) -> Iterator[torch.UntypedStorage]:
    if isinstance(contents, Tensor):
        yield contents.untyped_storage()
    elif isinstance(contents, Mapping):
        for value in contents.values():
            yield from _storages(value)
    elif isinstance(contents, list | tuple):
        for value in contents:
            yield from _storages(value)


def _unreadable(path: Path, error: OSError) -> str:
    """One line for a file that cannot be opened."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"{path}: no such file"
    if isinstance(error, IsADirectoryError):
        if (path / "meta.pt").is_file():
            return (
                f"{path}: a sharded checkpoint: make a file of it with 'python -m "
                "lightning_fabric.utilities.consolidate_checkpoint'"
            )
        return f"{path}: a folder: name the checkpoint file in it"
    return f"{path}: cannot be read ({error.strerror})"
