"""Folder of a data set: as given, in the working folder, or in the data cache."""

from __future__ import annotations

from pathlib import Path

from vision_suite.errors import DataError

NAMED = 12  # names of a folder in a message


def find_root(root: str, *, needed: bool) -> Path | None:
    """Find a folder as `resolve_root` does; None if it does not exist and is not needed (a path of another machine)."""
    try:
        return resolve_root(root)
    except DataError:
        if needed:
            raise
        return None


def resolve_root(root: str) -> Path:
    """Find a data set's folder (or manifest file).

    Args:
        root: A path as the user wrote it; a relative one is looked up in the working folder, then in the data cache.

    Raises:
        DataError: It is in neither folder; the message names the command that prepares it, if there is one.
    """
    from vision_suite.datasets.prepare.base import MANIFEST
    from vision_suite.datasets.prepare.catalog import prepare_command
    from vision_suite.datasets.prepare.fetch import data_dir

    path = Path(root).expanduser()
    candidates = [path] if path.is_absolute() else [Path.cwd() / path, data_dir() / path]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    prepared = [folder for each in candidates for folder in each.parents if (folder / MANIFEST).is_file()]
    if prepared:
        names = _names(prepared[0])
        raise DataError(f"{root!r} does not exist: the set is prepared in {str(prepared[0])!r}, which holds {names}")
    looked = " and ".join(repr(str(candidate)) for candidate in candidates)
    command = prepare_command(root)
    if command:
        raise DataError(f"data set {root!r} is not prepared (looked for {looked}): run `{command}`")
    raise DataError(f"data set {root!r} does not exist (looked for {looked}): give the path of one that does")


def _names(folder: Path) -> str:
    """Names in a folder, of many the first ones."""
    names = sorted(each.name for each in folder.iterdir())
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
