"""Verification of an entry: every fault, where loading tells the first."""

from __future__ import annotations

from dataclasses import dataclass, field

from vision_suite.errors import CheckpointError
from vision_suite.hub.files import EVALUATION, read_files
from vision_suite.hub.loading import Opened, config_faults, loaded, method_of
from vision_suite.hub.places import locate
from vision_suite.hub.text import one_line, read_json
from vision_suite.hub.trust import vouch


@dataclass
class Verified:
    """Result of a verification.

    Attributes:
        faults: What is wrong, one line each.
        notes: Lines to tell the user.
        words: What was checked, where nothing is wrong.
    """

    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    words: str = ""


def verify(name: str, *, run: bool = False, allow_unsigned: bool = False) -> Verified:
    """Check an entry as far as it can be checked.

    Args:
        name: Name of the entry, as `vision_suite.hub.load` takes it.
        run: Build the network, and compare its output for the entry's sample.
        allow_unsigned: Take an entry of a hub without a signature of a trusted key.
    """
    found = Verified()
    try:
        place = locate(name)
        files = read_files(place.folder, place.root)
    except CheckpointError as error:
        found.faults.append(str(error))
        return found
    found.notes += place.notes
    found.faults += files.faults
    try:
        if files.sums_sha256:
            found.notes += vouch(place, files, allow_unsigned=allow_unsigned)
    except CheckpointError as error:
        found.faults.append(str(error))
    faults, config = config_faults(files, None if place.root != place.folder else place.folder.name)
    found.faults += faults
    if not faults:
        try:
            opened = Opened(place, files, config, method_of(config), ())
            _weights(opened, found, run=run and not found.faults)
        except CheckpointError as error:
            found.faults.append(str(error))
    if EVALUATION in files.contents:
        try:
            read_json(files.contents[EVALUATION])
        except ValueError as error:
            found.faults.append(f"{EVALUATION}: {one_line(error)}")
    found.words = f"{len(files.contents)} files are right{', and its sample gives what it should' if run else ''}"
    return found


def _weights(opened: Opened, found: Verified, *, run: bool) -> None:
    """Check the tensors, and with ``run`` the network."""
    if not run:
        opened.tensors()
        return
    from vision_suite.hub.sample import sample_faults

    found.faults += sample_faults(opened, loaded(opened))
