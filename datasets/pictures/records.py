"""Results of a reader of a data set's folders: labelled pictures by split, and the checks that every reader shares."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytorch_lightning.utilities import rank_zero_info

from vision_suite.errors import DataError
from vision_suite.listing import FolderFiles, folder_files
from vision_suite.types import Role

# The files of a folder that count as pictures. A manifest, or a single file, may name any other that Pillow reads.
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class Record:
    """One labelled picture.

    Attributes:
        path: File name, or an address inside a container file (see `images.open_picture`).
        label: Identity or class, in the data set's own numbers until `relabel` makes training labels of them.
        camera: 0-based camera, -1 if unknown.
        view: 0-based viewpoint, -1 if unknown.
        role: Use of the picture in a retrieval protocol.
    """

    path: str
    label: int
    camera: int = -1
    view: int = -1
    role: Role = Role.GALLERY


@dataclass
class Listing:
    """Everything that a reader of a layout found.

    Attributes:
        layout: Name of the on-disk layout that was recognised.
        root: Folder that was recognised.
        splits: Records by split name, in a fixed (sorted) order.
        expected: Official (pictures, identities) by split; None where a number isn't known for certain.
        class_names: Names of the classes by label, for classification.
        cameras: The data set's own names by camera, where they are not the numbers.
        identities: The data set's own names by identity, where they are not the numbers.
        draws_gallery: True if the protocol draws queries and gallery from one list, without cameras (VehicleID).
        notes: Facts that a reader of the metrics must know, such as the number of junk pictures left out.
    """

    layout: str
    root: Path
    splits: dict[str, list[Record]]
    expected: dict[str, tuple[int | None, int | None]] = field(default_factory=dict)
    class_names: list[str] = field(default_factory=list)
    cameras: dict[int, str] = field(default_factory=dict)
    identities: dict[int, str] = field(default_factory=dict)
    draws_gallery: bool = False
    notes: dict[str, bool | int | float | str | dict[str, dict[str, int]]] = field(default_factory=dict)

    def counts(self) -> dict[str, dict[str, int]]:
        """Numbers of ``images`` and of ``identities`` (or ``classes``, where they have names), by split."""
        word = "classes" if self.class_names else "identities"
        return {
            name: {"images": len(records), word: len({record.label for record in records})}
            for name, records in self.splits.items()
        }


def find_folder(root: Path, names: Sequence[str], markers: Sequence[str]) -> Path:
    """The folder that holds all `markers`: `root` itself or one of the usual sub-folders of it.

    Args:
        root: Folder given by the user.
        names: Vendor folder names and nicknames, also nested ones such as ``market1501/Market-1501-v15.09.15``.
        markers: Files or folders that the right folder contains.

    Raises:
        DataError: Neither `root` nor any of the sub-folders contains the markers.
    """
    for candidate in [root, *(root / name for name in names)]:
        if all((candidate / marker).exists() for marker in markers):
            return candidate
    raise DataError(
        f"{str(root)!r} does not hold {', '.join(markers)}, nor do its sub-folders {', '.join(names)}: "
        "point --data.root at the unpacked data set"
    )


def is_picture(name: str) -> bool:
    """Tell whether a file name is a picture: a known ending in any case, and not hidden (as macOS's ``._*`` are)."""
    return name.lower().endswith(PICTURE_SUFFIXES) and not name.startswith(".")


def list_pictures(folder: Path) -> FolderFiles:
    """Pictures that lie directly in a folder, sorted by name, and what else is there.

    Raises:
        DataError: The folder is missing or holds no picture.
    """
    if not folder.is_dir():
        raise DataError(f"folder {str(folder)!r} is missing: unpack the data set completely")
    found = folder_files(folder, PICTURE_SUFFIXES, deep=False)
    if not found.files:
        others = f" but {note}" if (note := found.note()) else ""
        raise DataError(
            f"folder {str(folder)!r} holds no picture ({', '.join(PICTURE_SUFFIXES)}){others}: is it the right one?"
        )
    return found


def note_passed_over(listing: Listing, folder: str, found: FolderFiles) -> None:
    """Print what a reader passed over in a folder, and keep the numbers for the protocol.

    Args:
        listing: Listing, whose ``notes`` get the numbers by folder and kind under ``passed_over``.
        folder: Name of the folder below the listing's root.
        found: Contents of the folder.
    """
    if found.passed_over:
        numbers = listing.notes.setdefault("passed_over", {})
        assert isinstance(numbers, dict)
        numbers[folder] = {kind: len(paths) for kind, paths in found.passed_over.items()}
        rank_zero_info(f"{str(listing.root / folder)!r}: passed over {found.note()}")


def check_counts(listing: Listing) -> None:
    """Compare what was found with the official numbers.

    Raises:
        DataError: A split has another number of pictures or identities.
    """
    wrong = []
    for split, (images, labels) in listing.expected.items():
        records = listing.splits.get(split, [])
        found = len(records), len({record.label for record in records})
        if images not in (None, found[0]) or labels not in (None, found[1]):
            wanted = f"{'any' if images is None else images} of {'any' if labels is None else labels}"
            wrong.append(f"{split}: found {found[0]} of {found[1]}, expected {wanted}")
    if wrong:
        raise DataError(
            f"{listing.layout} in {str(listing.root)!r} is not complete (pictures of identities or classes: "
            f"{'; '.join(wrong)}): copy it again, or pass --data.check_counts false for a subset"
        )


def relabel(records: Sequence[Record]) -> tuple[list[Record], list[int]]:
    """Records with labels 0..C-1 in the order of the sorted original labels, and those originals."""
    originals = sorted({record.label for record in records})
    new = {label: position for position, label in enumerate(originals)}
    return [replace(record, label=new[record.label]) for record in records], originals


def fingerprint(root: Path, records: Iterable[Record]) -> dict[str, int | str]:
    """Number of different files, and sha256 over their sorted relative paths and sizes.

    Raises:
        DataError: Files named by a list are missing.
    """
    files: dict[str, int] = {}
    missing: list[str] = []
    for path in sorted({record.path.split("::")[0] for record in records}):
        try:
            files[os.path.relpath(path, root)] = os.stat(path).st_size
        except OSError:
            missing.append(path)
    if missing:
        raise DataError(
            f"{len(missing)} listed pictures are missing under {str(root)!r}, the first is {missing[0]!r}: "
            "unpack the data set completely"
        )
    digest = hashlib.sha256()
    for name, size in files.items():
        digest.update(f"{name}\0{size}\n".encode())
    return {"files": len(files), "sha256": digest.hexdigest()}
