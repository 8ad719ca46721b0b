"""Where a data set is: as given, in the working folder, or in the data cache."""

from __future__ import annotations

from pathlib import Path

from vision_suite.errors import DataError


def find_root(root: str, *, needed: bool) -> Path | None:
    """As `resolve_root`; None for a folder that is not there and not needed, such as a recipe's on another machine."""
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
        DataError: It's in neither place; names the command that prepares it if there is one.
    """
    from vision_suite.datasets.prepare.catalog import prepare_command
    from vision_suite.datasets.prepare.fetch import data_dir

    path = Path(root).expanduser()
    places = [path] if path.is_absolute() else [Path.cwd() / path, data_dir() / path]
    for place in places:
        if place.exists():
            return place
    looked = " and ".join(repr(str(place)) for place in places)
    command = prepare_command(root)
    if command:
        raise DataError(f"data set {root!r} is not prepared (looked for {looked}): run `{command}`")
    raise DataError(f"data set folder {root!r} does not exist (looked for {looked}): give the right --data.root")
