"""Emoji-ReID on disk: Market and CUB folders of hard links, their counts, and one digest per list of files."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from vision_suite.datasets.emoji.draw import Drawn
from vision_suite.datasets.emoji.rules import ClassifiedPicture, Picture
from vision_suite.datasets.prepare.archives import sha256_of

logger = logging.getLogger(__name__)

Counts = dict[str, dict[str, int]]
Checksums = dict[str, dict[str, int | str]]


class Linker:
    """Gives a file a second name; copies where the file system has no hard links, and says so once."""

    def __init__(self) -> None:
        self.copying = False

    def link(self, source: Path, target: Path) -> None:
        """Make ``target`` the same file as ``source``."""
        if not self.copying:
            try:
                os.link(source, target)
                return
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EXDEV, errno.EMLINK, errno.ENOSYS):
                    raise
                logger.warning("%s: no hard links here (%s): pictures are copied", target.parent, error.strerror)
                self.copying = True
        shutil.copyfile(source, target)


def list_digest(files: Mapping[str, str]) -> dict[str, int | str]:
    """A list of files as one record: how many, and the sha256 over its sorted ``sha256  path`` lines.

    Args:
        files: The sha256 of each file by its relative path with forward slashes.
    """
    lines = "".join(f"{sha}  {path}\n" for path, sha in sorted(files.items()))
    return {"files": len(files), "sha256": hashlib.sha256(lines.encode()).hexdigest()}


def digest_of_folder(folder: Path, known: dict[tuple[int, int], str] | None = None) -> dict[str, int | str]:
    """The `list_digest` of all files below a folder, read from disk; a file with several names is read once.

    Args:
        folder: Folder to look into.
        known: Digests by (device, inode) of files read before; added to.
    """
    known = {} if known is None else known
    files = {}
    for path in folder.rglob("*"):
        if path.is_file():
            status = path.stat()
            inode = (status.st_dev, status.st_ino)
            if inode not in known:
                known[inode] = sha256_of(path)
            files[path.relative_to(folder).as_posix()] = known[inode]
    return list_digest(files)


def count_files(folder: Path) -> int:
    """The number of files below a folder by their names only; 0 if there is no such folder."""
    total = 0
    stack = [str(folder)] if folder.is_dir() else []
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
                else:
                    total += 1
    return total


def write_market(
    root: Path, splits: Mapping[str, Sequence[Picture]], drawn: Mapping[tuple[int, str], Drawn], linker: Linker
) -> tuple[Counts, Checksums]:
    """Write a Market folder.

    Args:
        root: Folder to write.
        splits: Pictures of each of its sub-folders.
        drawn: Drawn file by (camera, name).
        linker: Maker of the files.

    Returns:
        Per sub-folder the numbers of images and identities, and the digest of its list of files.
    """
    counts: Counts = {}
    checksums: Checksums = {}
    for split, pictures in splits.items():
        folder = root / split
        folder.mkdir(parents=True)
        files = {}
        for picture in pictures:
            master = drawn[picture.camera, picture.name]
            linker.link(master.path, folder / picture.market_name)
            files[picture.market_name] = master.sha256
        counts[split] = {"images": len(pictures), "identities": len({picture.identity for picture in pictures})}
        checksums[split] = list_digest(files)
    return counts, checksums


def write_cub(
    root: Path,
    classes: Sequence[str],
    members: Iterable[ClassifiedPicture],
    drawn: Mapping[tuple[int, str], Drawn],
    linker: Linker,
) -> tuple[Counts, Checksums]:
    """Write a folder in the layout of CUB-200-2011: ``images/`` and the lists joined by image number (from 1).

    Args:
        root: Folder to write.
        classes: Class names; class numbers count from 1.
        members: Pictures of the classes.
        drawn: Drawn file by (camera, name).
        linker: Maker of the files.

    Returns:
        Per half the numbers of images and classes, and the digests of the pictures and of each list.
    """
    width = max(3, len(str(len(classes))))
    folders = [f"{position:0{width}d}.{name}" for position, name in enumerate(classes, start=1)]
    for name in folders:
        (root / "images" / name).mkdir(parents=True)
    files: dict[str, str] = {}
    rows: dict[str, list[str]] = {name: [] for name in ("images.txt", "image_class_labels.txt", "train_test_split.txt")}
    ordered = sorted(members, key=lambda member: (member.label, member.picture.name, member.picture.camera))
    for number, member in enumerate(ordered, start=1):
        master = drawn[member.picture.camera, member.picture.name]
        path = f"{folders[member.label]}/{member.picture.name}_{master.design}.png"
        linker.link(master.path, root / "images" / path)
        files[path] = master.sha256
        rows["images.txt"].append(f"{number} {path}")
        rows["image_class_labels.txt"].append(f"{number} {member.label + 1}")
        rows["train_test_split.txt"].append(f"{number} {int(member.train)}")
    rows["classes.txt"] = [f"{position} {name}" for position, name in enumerate(folders, start=1)]
    checksums: Checksums = {"images": list_digest(files)}
    for name, lines in rows.items():
        (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        checksums[name] = {"files": 1, "sha256": sha256_of(root / name)}
    counts = {
        half: {
            "images": sum(member.train == train for member in ordered),
            "classes": len({member.label for member in ordered if member.train == train}),
        }
        for half, train in (("train", True), ("test", False))
    }
    return counts, checksums
