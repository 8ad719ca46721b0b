"""Names of entries and the folders that they mean: ``local-dir:PATH``, ``hub:NAME``, ``hf-hub:ORG/NAME[@REVISION]``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from vision_suite.errors import CheckpointError, DataError
from vision_suite.hub.schema import HEX64, NAME

LOCAL, HUB, HF_HUB = SCHEMES = ("local-dir:", "hub:", "hf-hub:")
VARIABLE = "VISION_SUITE_HUB"
HF_NAME = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*)(?:@([\w./-]+))?")
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


def hub_folder() -> Path:
    """The user's hub: ``$VISION_SUITE_HUB``, else in the user's cache folder. It need not exist."""
    chosen = os.environ.get(VARIABLE)
    return Path(chosen).expanduser().absolute() if chosen else platformdirs.user_cache_path("vision_suite") / "hub"


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


def entries_in(folder: Path) -> list[str]:
    """Names of the folders of a hub that are called like entries."""
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if NAME.fullmatch(path.name) and path.is_dir())


def locate(name: str) -> Place:
    """The place of an entry; a name without a scheme is one of the hub.

    Args:
        name: ``local-dir:PATH``, ``hub:NAME``, ``hf-hub:ORG/NAME[@REVISION]``, or ``NAME``.

    Raises:
        CheckpointError: The name is malformed, or nothing is there.
    """
    if name.startswith(LOCAL):
        return _local(name, name.removeprefix(LOCAL))
    if name.startswith(HF_HUB):
        return _downloaded(name, name.removeprefix(HF_HUB))
    return _of_hub(name, name.removeprefix(HUB))


def _local(name: str, path: str) -> Place:
    if not path:
        raise CheckpointError(f"{name}: give a folder, as in local-dir:/checkpoints/dcal_micro.emoji_a")
    folder = Path(os.path.realpath(Path(path).expanduser()))
    if not folder.is_dir():
        raise CheckpointError(f"{name}: there is no folder {folder}: give the folder of an entry")
    return Place(name, folder, folder, hub=folder.parent)


def _of_hub(name: str, word: str) -> Place:
    if not NAME.fullmatch(word):
        raise CheckpointError(
            f"{name}: no name of an entry (method_size.data[.variant], as dcal_micro.emoji_a): 'vision-suite hub list' "
            "names those that are there; a folder is local-dir:PATH"
        )
    hub = hub_folder()
    folder, own = hub / word, SHIPPED / word
    pinned = (PINS / f"{word}.sha256").is_file()
    if folder.is_dir():
        notes = (f"{word} is in {hub} and in the package: that in {hub} is used",) if pinned else ()
        real = Path(os.path.realpath(hub))
        if Path(os.path.realpath(folder)).parent != real:
            raise CheckpointError(f"{folder}: a link that leaves the hub: put the entry itself there")
        return Place(name, folder, folder, hub=hub, notes=notes)
    if pinned:
        return Place(name, own, own, pin=pin_of(word))
    known = sorted({*entries_in(hub), *shipped()})
    there = f"there are {', '.join(known[:10])}" if known else f"{hub} and the package have none"
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


def all_places() -> Iterator[Place]:
    """Places of all entries of the user's hub and of the package."""
    names = {*entries_in(hub_folder()), *shipped()}
    yield from (locate(name) for name in sorted(names))
