"""Names of entries and the folders that they mean: ``local-dir:PATH``, ``hub:NAME``, ``hf-hub:ORG/NAME[@REVISION]``."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from vision_suite.errors import CheckpointError, ConfigError, DataError
from vision_suite.hub.schema import HEX64, NAME

LOCAL, HUB, HF_HUB = SCHEMES = ("local-dir:", "hub:", "hf-hub:")
VARIABLE = "VISION_SUITE_HUB"
HF_NAME = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*)(?:@([\w./-]+))?")
# What a terminal obeys, what ends a line or turns the order of letters, and bytes of a name that is not UTF-8.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
OWN = Path(__file__).resolve().parent
SHIPPED, PINS = OWN / "entries", OWN / "pins"  # entries of the package, and the sums that they are pinned to


@dataclass(frozen=True)
class Place:
    """Folder of an entry, and what must vouch for it.

    Attributes:
        name: Name as it was given.
        folder: Folder of the entry.
        root: Folder that links in the entry may lead into.
        hub: Folder with the index that lists the entry; None for one that stands alone or is pinned.
        pin: SHA-256 of the sums of an entry of the package; None for others.
        notes: Lines to tell the user.
    """

    name: str
    folder: Path
    root: Path
    hub: Path | None = None
    pin: str | None = None
    notes: tuple[str, ...] = ()


def is_name(text: object) -> bool:
    """True for a text that begins with a scheme of the hub."""
    return isinstance(text, str) and text.startswith(SCHEMES)


def user_folder(kind: Literal["cache", "config"]) -> Path | None:
    """The user's folder of caches or of settings, which need not exist; None for a user without a home."""
    try:
        if kind == "cache":
            found = platformdirs.user_cache_path("vision_suite")
        else:
            found = platformdirs.user_config_path("vision_suite")
    except RuntimeError:
        return None
    return found if found.is_absolute() else None  # older versions leave the "~" that means nothing


def hub_folder() -> Path | None:
    """The user's hub: ``$VISION_SUITE_HUB``, else in the cache folder, which need not exist; None for neither."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(os.path.expanduser(chosen)).absolute()
    cache = user_folder("cache")
    return None if cache is None else cache / "hub"


def chosen_hub(given: Path | None) -> Path:
    """The folder of a hub that a command writes into: the one that was given, else the user's.

    Raises:
        ConfigError: None was given, and the user has none.
    """
    found = given or hub_folder()
    if found is None:
        raise ConfigError(f"there is no home that a hub could lie in: name its folder with --hub, or in {VARIABLE}")
    return found


def shipped() -> list[str]:
    """Names of the entries in the package, each of which has a pin."""
    return sorted(path.stem for path in PINS.glob("*.sha256"))


def pin_of(name: str) -> str:
    """SHA-256 of the sums that an entry of the package must have.

    Raises:
        CheckpointError: Its pin is malformed.
    """
    text = (PINS / f"{name}.sha256").read_text(encoding="utf-8").strip()
    if not HEX64.fullmatch(text):
        raise CheckpointError(f"{PINS / name}.sha256: no SHA-256: install vision-suite again")
    return text


def entries_in(folder: Path | None) -> list[str]:
    """Names of the folders of a hub that are called like entries; none where there is no such hub.

    Raises:
        CheckpointError: The hub cannot be read.
    """
    if folder is None or not os.path.isdir(folder):
        return []
    try:
        return sorted(path.name for path in folder.iterdir() if NAME.fullmatch(path.name) and path.is_dir())
    except OSError as error:
        raise CheckpointError(f"{folder}: it cannot be read ({error.strerror}): change its permissions") from error


def all_names() -> list[str]:
    """Names of all entries of the user's hub and of the package; one of them may be no entry that can be located."""
    return sorted({*entries_in(hub_folder()), *shipped()})


def check_inside(hub: Path, name: str) -> None:
    """Refuse a link in the place of an entry that leaves the hub.

    Raises:
        CheckpointError: It is one.
    """
    if os.path.dirname(os.path.realpath(hub / name)) != os.path.realpath(hub):
        raise CheckpointError(f"{hub / name}: a link that leaves the hub: put the entry itself there")


def locate(name: str) -> Place:
    """The place of an entry; a name without a scheme is one of the hub.

    Args:
        name: ``local-dir:PATH``, ``hub:NAME``, ``hf-hub:ORG/NAME[@REVISION]``, or ``NAME``.

    Raises:
        CheckpointError: The name is malformed, or nothing is there.
    """
    if CONTROL.search(name):
        raise CheckpointError(f"{name!r:.200}: a control character or no UTF-8: correct it, or rename the folder")
    if name.startswith(LOCAL):
        return _local(name, name.removeprefix(LOCAL))
    if name.startswith(HF_HUB):
        return _downloaded(name, name.removeprefix(HF_HUB))
    return _of_hub(name, name.removeprefix(HUB))


def _local(name: str, path: str) -> Place:
    if not path:
        raise CheckpointError(f"{name}: give a folder, as in local-dir:/checkpoints/dcal_micro.emoji_a")
    folder = Path(os.path.realpath(os.path.expanduser(path)))
    if not os.path.isdir(folder):
        raise CheckpointError(f"{name}: there is no folder {folder}: give the folder of an entry")
    return Place(name, folder, folder, hub=folder.parent)


def _of_hub(name: str, word: str) -> Place:
    if not NAME.fullmatch(word):
        raise CheckpointError(
            f"{name}: no name of an entry (method_size.data[.variant], as dcal_micro.emoji_a): 'vision-suite hub list' "
            "names those that are there; a folder is local-dir:PATH"
        )
    hub = hub_folder()
    pinned = (PINS / f"{word}.sha256").is_file()
    if hub is not None and os.path.isdir(hub / word):
        notes = (f"{word} is in {hub} and in the package: that in {hub} is used",) if pinned else ()
        check_inside(hub, word)
        return Place(name, hub / word, hub / word, hub=hub, notes=notes)
    if pinned:
        return Place(name, SHIPPED / word, SHIPPED / word, pin=pin_of(word))
    known = all_names()
    none = f"{hub} and the package have none" if hub is not None else "the package has none, and there is no hub"
    there = f"there are {', '.join(known[:10])}" if known else none
    raise CheckpointError(f"{name}: no such entry ({there}): pull it with 'vision-suite hub pull'")


def _downloaded(name: str, word: str) -> Place:
    """An entry that is a repository of a model hub; what is stored on this machine comes first."""
    match = HF_NAME.fullmatch(word)
    if match is None:
        raise CheckpointError(f"{name}: give hf-hub:ORG/NAME or hf-hub:ORG/NAME@REVISION")
    from vision_suite.network import cached_first

    def load(local: bool) -> str:
        from huggingface_hub import snapshot_download

        return snapshot_download(match[1], revision=match[2], local_files_only=local)

    try:
        folder = Path(cached_first(load, match[1]))
    except DataError as error:
        raise CheckpointError(f"{name}: {error}") from error
    except Exception as error:  # the client fails in many ways
        reason = " ".join(str(error).split())[:150]
        raise CheckpointError(f"{name}: it cannot be had ({type(error).__name__}: {reason}): check the name") from error
    # Files of the client's cache are links into its folder of blobs, beside that of snapshots.
    return Place(name, folder, folder.parent.parent if folder.parent.name == "snapshots" else folder)
