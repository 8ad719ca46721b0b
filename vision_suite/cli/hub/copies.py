"""Copies of entries in the user's hub."""

from __future__ import annotations

import os
from pathlib import Path

from vision_suite.errors import ConfigError
from vision_suite.hub.loading import open_entry
from vision_suite.hub.signature import SIGNATURE
from vision_suite.hub.sums import SUMS, write_sums
from vision_suite.hub.writing import check_free, put_entry


def pull(name: str, hub: Path, *, allow_unsigned: bool = False, replace: bool = False) -> tuple[Path, tuple[str, ...]]:
    """Copy an entry into a hub; what is written is what was checked, and the hub's index then lists it.

    Args:
        name: Name of the entry, as `vision_suite.hub.load` takes it.
        hub: Folder of the hub.
        allow_unsigned: Take an entry of a hub without a signature of a trusted key.
        replace: Put it in the place of an earlier one.

    Returns:
        Folder of the copy, and lines to tell the user.

    Raises:
        CheckpointError: There is no such entry, or something in it or in another entry of the hub is wrong.
        ConfigError: The hub has such an entry or is where it lies, or its index is signed by someone else.
        StorageError: It cannot be written.
    """
    opened = open_entry(name, allow_unsigned=allow_unsigned)
    opened.tensors()  # refuses weights that are not finite
    folder = hub / opened.config["name"]
    if os.path.realpath(folder) == os.path.realpath(opened.place.folder):
        raise ConfigError(
            f"{folder} is that entry itself: pull it into another hub with --hub, or sign this one with 'vision-suite "
            "hub index --key'"
        )
    check_free(folder, replace=replace)
    if (hub / SIGNATURE).exists():
        raise ConfigError(f"{hub / SIGNATURE}: this hub's index is signed, so a copy does not belong there: give --hub")
    contents = {**opened.files.contents, SUMS: write_sums(opened.files.contents)}
    return put_entry(hub, opened.config, contents, replace=replace), opened.notes
