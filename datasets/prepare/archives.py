"""Archives opened as data: named members only, into memory, nothing executed and nothing unpacked to disk."""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath

from vision_suite.errors import DataError

# What tarfile, zipfile and the decompressors below them raise for truncated, damaged, encrypted or foreign files.
_UNREADABLE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OSError,
)
AR, AR_HEADER = b"!<arch>\n", 60


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_members(path: Path, names: Collection[str]) -> dict[str, bytes]:
    """The bytes of the named members of a tar (any compression), of a zip archive, or of a Debian package.

    Every member of the archive is looked at, also those not asked for: an archive that holds a link, a device, an
    absolute path or ``..`` is not what it claims to be and is refused whole.

    Raises:
        DataError: The archive is truncated, of an unknown kind, unsafe, or lacks a named member or holds it twice.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return _collect(path, names, _zip_members(archive))
        with _tape(path) as tape:
            return _collect(path, names, _tar_members(tape))
    except _UNREADABLE as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(":")
        raise DataError(f"{path}: not a readable archive ({reason}): delete it and fetch it again") from None


def _tape(path: Path) -> tarfile.TarFile:
    """A tar archive, or the one with the files of a Debian package: an ``ar`` archive of three files (deb(5))."""
    with path.open("rb") as stream:
        if stream.read(len(AR)) != AR:
            return tarfile.open(path, "r:*")
        while header := stream.read(AR_HEADER):
            # Name, time, owner, group, mode, size in decimals, and two closing bytes; files begin at even offsets.
            if len(header) < AR_HEADER or header[58:] != b"`\n" or not header[48:58].strip().isdigit():
                raise tarfile.ReadError("a damaged Debian package")
            size = int(header[48:58])
            if header.startswith(b"data.tar"):
                return tarfile.open(fileobj=io.BytesIO(stream.read(size)), mode="r:*")
            stream.seek(size + size % 2, os.SEEK_CUR)
    raise tarfile.ReadError("a Debian package without files")


def members_of(contents: bytes, names: Collection[str], what: str) -> dict[str, bytes]:
    """Named members of an archive that is itself in memory, refused like any other if it is unsafe.

    Args:
        contents: The archive.
        names: Its members.
        what: Its file name in messages.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / what
        path.write_bytes(contents)
        return read_members(path, names)


Member = tuple[str, str, Callable[[], bytes]]
"""A member's name, its kind in words, and how to read it."""


def _collect(path: Path, names: Collection[str], members: Iterable[Member]) -> dict[str, bytes]:
    """Walk over all members, refuse unsafe ones, read those asked for."""
    found: dict[str, bytes] = {}
    for name, kind, read in members:
        if kind not in ("file", "folder"):
            raise DataError(f"{path}: member {name!r} is a {kind}, which is refused: this is not the archive asked for")
        if _leaves_folder(name):
            raise DataError(f"{path}: member {name!r} points outside of the archive: this is not the archive asked for")
        if name in names:
            if name in found or kind == "folder":
                raise DataError(
                    f"{path}: member {name!r} is there twice or is a folder: this is not the archive asked for"
                )
            found[name] = read()
    if missing := sorted(set(names) - set(found)):
        raise DataError(f"{path}: no member {missing[0]!r} ({len(missing)} missing): this is not the archive asked for")
    return found


def _leaves_folder(name: str) -> bool:
    """True if a member's name is absolute or climbs up, read as a POSIX or as a Windows path."""
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    return posix.is_absolute() or bool(windows.anchor) or ".." in posix.parts or ".." in windows.parts


def _tar_members(archive: tarfile.TarFile) -> Iterator[Member]:
    for info in archive:
        kind = "file" if info.isfile() else "folder" if info.isdir() else "link or device"
        yield info.name, kind, partial(_tar_bytes, archive, info)


def _zip_members(archive: zipfile.ZipFile) -> Iterator[Member]:
    for info in archive.infolist():
        # The upper half holds the Unix mode where the archive was made on Unix, else zeros.
        kind = "folder" if info.is_dir() else "link" if stat.S_ISLNK(info.external_attr >> 16) else "file"
        yield info.filename, kind, partial(archive.read, info)


def _tar_bytes(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(info)
    if stream is None:  # only links and devices, refused before
        raise tarfile.ReadError(f"member {info.name!r} has no bytes")
    with stream:
        return stream.read()
