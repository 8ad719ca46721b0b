"""Video files that a path names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vision_suite.errors import DataError
from vision_suite.listing import FolderFiles, folder_files

SUFFIXES = (
    ".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".mts", ".m2ts", ".3gp",
    ".ogv", ".mxf",
)  # fmt: skip


def list_videos(inputs: str) -> FolderFiles:
    """Find the video files that a path names: a file of any ending, or a folder searched to the bottom.

    Raises:
        DataError: There is none, or two have the same name without folder and ending.
    """
    path = Path(inputs).expanduser()
    if path.is_file():
        return FolderFiles([path], {})
    if not path.is_dir():
        raise DataError(f"no video found at {inputs!r}, which does not exist: give a file or a folder of videos")
    found = folder_files(path, SUFFIXES)
    if not found.files:
        held = found.note() or "nothing"
        raise DataError(f"no video found at {inputs!r}, which holds {held}: videos end in {', '.join(SUFFIXES)}")
    refuse_same_names(found.files)
    return found


def refuse_same_names(paths: Sequence[Path]) -> None:
    """Refuse files whose results would have the same name.

    Raises:
        DataError: Two have the same name without folder, ending and ``v_``.
    """
    seen: dict[str, Path] = {}
    for path in paths:
        name = path.stem.removeprefix("v_")
        other = seen.setdefault(name, path)
        if other is not path:
            raise DataError(f"two videos are called {name!r} ({other} and {path}): rename one, results go by name")
