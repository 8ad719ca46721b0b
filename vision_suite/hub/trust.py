"""Trust in an entry: a pin of the package, or the index of its hub with its signature and serial number."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from vision_suite.drafts import write_whole
from vision_suite.errors import CheckpointError, StorageError
from vision_suite.hub.files import EntryFiles
from vision_suite.hub.index import INDEX, read_index
from vision_suite.hub.places import HUB, Place
from vision_suite.hub.signature import SIGNATURE, check_signature, config_folder
from vision_suite.hub.text import read_json, write_json

SEEN = "hub_serials.json"  # serial numbers by hub, as they were last seen


def vouch(place: Place, files: EntryFiles, *, allow_unsigned: bool = False) -> list[str]:
    """Compare the sums of an entry with what vouches for them.

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
    index, notes = checked_index(place.hub, strict=of_hub and not allow_unsigned)
    listed = index["entries"].get(name)
    if listed is None:
        if of_hub:
            raise CheckpointError(
                f"{place.hub / INDEX}: it does not list {name}: make it again with 'vision-suite hub index'"
            )
        return [*notes, f"{place.name}: the index beside it does not list this entry, so nobody vouches for it"]
    if listed["sums_sha256"] != files.sums_sha256:
        raise CheckpointError(
            f"{place.folder}: its sums are {files.sums_sha256[:12]}…, {place.hub / INDEX} says "
            f"{listed['sums_sha256'][:12]}…: pull the entry again"
        )
    return notes


def checked_index(hub: Path, *, strict: bool) -> tuple[dict[str, Any], list[str]]:
    """The index of a hub after its signature and its serial number were checked.

    Args:
        hub: Folder of the hub.
        strict: Refuse an index without a signature of a trusted key; otherwise it is told.

    Raises:
        CheckpointError: It is malformed, has a wrong signature, or is older than the one that was seen last.
    """
    index = read_index(hub)
    trust, key = check_signature(hub, index)
    notes: list[str] = []
    if trust != "trusted":
        what = f"{hub / INDEX} is not signed" if trust == "absent" else f"{hub / SIGNATURE} is of the unknown key {key}"
        if strict:
            add = "sign it with 'hub index --key'" if trust == "absent" else f"add it to {config_folder()}/trusted_keys"
            raise CheckpointError(
                f"{what}: {add}, take an entry with 'hub pull --allow-unsigned', or name one as local-dir:{hub}/NAME"
            )
        notes.append(f"{what}, so nobody vouches for its entries")
    who = f"{key} {index['name']}" if trust == "trusted" else f"{os.path.realpath(hub)} {index['name']}"
    seen = _seen()
    last = seen.get(who)
    if isinstance(last, int) and index["serial"] < last:
        raise CheckpointError(
            f"{hub / INDEX}: serial {index['serial']} is older than {last}, which was seen before: someone may have "
            "put old entries back; get the present index"
        )
    if last != index["serial"]:
        _remember({**seen, who: index["serial"]})
    return index, notes


def _seen() -> dict[str, Any]:
    """Serial numbers that were seen; empty where the file is missing, unreadable or malformed."""
    try:
        found = read_json((config_folder() / SEEN).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _remember(serials: dict[str, Any]) -> None:
    """Write them down, where that is possible: a home that is read-only or missing forgets them."""
    folder = config_folder()
    if folder.is_absolute():
        with contextlib.suppress(StorageError, OSError):
            write_whole(folder / SEEN, write_json(serials))


def is_of_hub(place: Place) -> bool:
    """True for a name of the hub, with or without its scheme."""
    return place.name.startswith(HUB) or ":" not in place.name
