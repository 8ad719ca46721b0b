"""Trust in an entry: a pin of the package, or the index of its hub with its signature and serial number."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

from vision_suite.drafts import write_whole
from vision_suite.errors import CheckpointError, StorageError
from vision_suite.hub.files import PULL, EntryFiles, read_files
from vision_suite.hub.index import INDEX, read_index
from vision_suite.hub.places import HUB, Place
from vision_suite.hub.signature import SIGNATURE, Trust, check_signature, config_folder, file_of_keys
from vision_suite.hub.sums import SUMS, sha256
from vision_suite.hub.text import MIB, read_json, write_json

PAUSE = 0.2  # seconds after which a writer has put an entry, its index and the signature in their places
SEEN = "hub_serials.json"  # serial numbers by hub, as they were last seen


def vouch(place: Place, files: EntryFiles, *, allow_unsigned: bool = False) -> list[str]:
    """Compare the sums of an entry with what vouches for them; once more after a moment where they differ.

    Args:
        place: Place of the entry.
        files: Its files, as they were read.
        allow_unsigned: Take an entry of a hub without a signature of a trusted key.

    Returns:
        Lines to tell the user.

    Raises:
        CheckpointError: The entry is not the one that was pinned or listed, the index has a wrong signature or an older
            serial number than before, or nobody who is trusted vouches for an entry of a hub.
    """
    name = place.folder.name
    if place.pin is not None:
        if files.sums_sha256 != place.pin:
            raise CheckpointError(
                f"{place.folder}: its sums are {files.sums_sha256[:12]}…, the package pins {place.pin[:12]}…: install "
                "vision-suite again"
            )
        return []
    of_hub = is_of_hub(place)
    if place.hub is None or not (of_hub or os.path.lexists(place.hub / INDEX)):
        return [f"{place.name}: no index lists this entry, so nobody vouches for it"]
    for pause in (PAUSE, 0):
        index, notes = checked_index(place.hub, strict=of_hub and not allow_unsigned)
        listed = index["entries"].get(name, {}).get("sums_sha256")
        if listed == files.sums_sha256:
            return notes
        if listed is None and not of_hub:
            return [*notes, f"{place.name}: the index beside it does not list this entry, so nobody vouches for it"]
        time.sleep(pause)
    if listed is None:
        remedy = f"make it again with 'vision-suite hub index --hub {place.hub}'"
        raise CheckpointError(f"{place.hub / INDEX}: it does not list {name}: {remedy}")
    if is_replaced(files):
        raise CheckpointError(f"{place.folder}: another entry took its place while it was read: load it again")
    raise CheckpointError(
        f"{place.folder}: its sums are {files.sums_sha256[:12]}…, {place.hub / INDEX} says {listed[:12]}…: {PULL}"
    )


def is_replaced(files: EntryFiles) -> bool:
    """True if the sums of an entry are no longer those that were read."""
    try:
        with open(files.folder / SUMS, "rb") as file:
            return sha256(file.read(MIB + 1)) != files.sums_sha256
    except OSError:
        return True


def files_of(place: Place) -> EntryFiles:
    """Files of an entry, read once more if another entry took its place while they were read.

    Raises:
        CheckpointError: There is no folder, or it cannot be read.
    """
    files = read_files(place.folder, place.root)
    return read_files(place.folder, place.root) if files.faults and is_replaced(files) else files


def checked_index(hub: Path, *, strict: bool) -> tuple[dict[str, Any], list[str]]:
    """The index of a hub after its signature and its serial number were checked.

    Args:
        hub: Folder of the hub.
        strict: Refuse an index without a signature of a trusted key; otherwise it is told.

    Raises:
        CheckpointError: It is malformed, has a wrong signature, or is older than the one that was seen last.
    """
    index, trust, key = _signed_index(hub)
    notes: list[str] = []
    if trust != "trusted":
        what = f"{hub / INDEX} is not signed" if trust == "absent" else f"{hub / SIGNATURE} is of the unknown key {key}"
        if strict:
            add = "sign it with 'hub index --key'" if trust == "absent" else f"add it to {file_of_keys()}"
            raise CheckpointError(
                f"{what}: {add}; or trust the folder all the same, with --allow-unsigned of 'hub show' and 'hub "
                f"verify', allow_unsigned=True of hub.load, or the name local-dir:{hub}/NAME"
            )
        notes.append(f"{what}, so nobody vouches for its entries")
    who = f"{key} {index['name']}" if trust == "trusted" else f"{_path_of(hub)} {index['name']}"
    last = _seen().get(who)
    if isinstance(last, int) and index["serial"] < last:
        raise CheckpointError(
            f"{hub / INDEX}: serial {index['serial']} is older than {last}, which was seen before: someone may have "
            "put old entries back; get the present index"
        )
    if last != index["serial"]:
        _remember(who, index["serial"])
    return index, notes


def seen_serial(hub: Path, name: str, key: str) -> int:
    """The greatest serial number that was seen of a hub, under any name of it; 0 for none.

    Args:
        hub: Folder of the hub.
        name: Name of the hub, under which its key is known.
        key: Identifier of the key that signs it; empty for none.
    """
    place = _path_of(hub)
    own = [serial for who, serial in _seen().items() if who == f"{key} {name}" or who.rpartition(" ")[0] == place]
    return max((serial for serial in own if type(serial) is int), default=0)


def _signed_index(hub: Path) -> tuple[dict[str, Any], Trust, str]:
    """Index of a hub, the state of trust in its signature, and the key's identifier.

    A writer puts the index in its place before the signature, so a pair that does not fit is read once more.
    """
    index = read_index(hub)
    try:
        return index, *check_signature(hub, index)
    except CheckpointError:
        time.sleep(PAUSE)
    index = read_index(hub)
    return index, *check_signature(hub, index)


def _path_of(hub: Path) -> str:
    """Path of a hub as a text that JSON can hold."""
    return os.fsencode(os.path.realpath(hub)).decode("utf-8", "backslashreplace")


def _seen() -> dict[str, Any]:
    """Serial numbers that were seen; empty where the file is missing, unreadable or malformed."""
    folder = config_folder()
    try:
        found = {} if folder is None else read_json((folder / SEEN).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _remember(who: str, serial: int) -> None:
    """Write one down, where that is possible: a home that is read-only or missing forgets it."""
    folder = config_folder()
    if folder is None:
        return
    with contextlib.suppress(StorageError, OSError):
        write_whole(folder / SEEN, write_json({**_seen(), who: serial}))


def is_of_hub(place: Place) -> bool:
    """True for a name of the hub, with or without its scheme."""
    return place.name.startswith(HUB) or ":" not in place.name
