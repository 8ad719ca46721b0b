"""Files of a folder by their endings, and what of the folder is passed over."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from vision_suite.errors import DataError

NAMED = 3  # names of each kind in the message


@dataclass(frozen=True)
class FolderFiles:
    """Files found in a folder.

    Attributes:
        files: Files with a wanted ending, sorted.
        passed_over: Other files, and folders that were not searched, by kind: ``hidden``, ``folder``, or the ending.
    """

    files: list[Path]
    passed_over: dict[str, list[Path]] = field(repr=False)

    @property
    def number_passed_over(self) -> int:
        """Number of files and folders that are passed over."""
        return sum(map(len, self.passed_over.values()))

    def note(self) -> str:
        """Numbers and first names of what is passed over, in words; empty if that is nothing.

        Example:
            >>> FolderFiles([], {"hidden": [Path("._a.jpg")], ".gif": [Path("b.gif"), Path("c.gif")]}).note()
            '1 hidden (._a.jpg), 2 .gif (b.gif, c.gif)'
        """
        kinds = []
        for kind, paths in self.passed_over.items():
            names = ", ".join(path.name for path in paths[:NAMED]) + (", ..." if len(paths) > NAMED else "")
            kinds.append(f"{len(paths)} {kind} ({names})")
        return ", ".join(kinds)


def folder_files(folder: Path, endings: Collection[str], *, deep: bool = True) -> FolderFiles:
    """Find the files of some kinds in a folder; every other file is named in the result.

    Hidden files and folders (their names begin with a dot, as macOS's ``._x.jpg`` does) are passed over whatever their
    ending. A folder that is not searched counts once.

    Args:
        folder: Folder to search.
        endings: Wanted endings in lower case, such as ``.jpg``; the case of the files' own endings is ignored.
        deep: Search folders within the folder too, also behind symbolic links.

    Raises:
        DataError: The folder, or one within it, is missing or cannot be listed.
    """
    found: list[Path] = []
    other: dict[str, list[Path]] = {}
    seen: set[tuple[int, int]] = set()  # a link to a folder above would never end

    def refuse(error: OSError) -> None:
        raise DataError(f"folder {str(error.filename)!r} cannot be listed ({error.strerror}): check its name")

    for where, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        status = os.stat(where)
        if status.st_ino and (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        hidden = [name for name in folders if name.startswith(".")]
        seen_folders = sorted(name for name in folders if name not in hidden)
        folders[:] = seen_folders if deep else []
        if not deep and seen_folders:
            other["folder"] = [Path(where, name) for name in seen_folders]
        for name in [*names, *hidden]:
            path = Path(where, name)
            ending = path.suffix.lower()
            if name.startswith("."):
                other.setdefault("hidden", []).append(path)
            elif ending in endings:
                found.append(path)
            else:
                other.setdefault(ending or "without ending", []).append(path)
    return FolderFiles(sorted(found), {kind: sorted(other[kind]) for kind in sorted(other)})
