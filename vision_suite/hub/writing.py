"""Writing of entries and of a hub's index: whole or not at all, and the same bytes for the same contents."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vision_suite.drafts import write_whole
from vision_suite.errors import CheckpointError, ConfigError, storage_error
from vision_suite.hub import places
from vision_suite.hub.changes import changing, placed
from vision_suite.hub.files import CARD, CONFIG, LABELS, read_files
from vision_suite.hub.index import HUB_NAME, INDEX, MalformedIndexError, read_index
from vision_suite.hub.loading import FORMAT_NOTE, NAME_NOTE, read_config
from vision_suite.hub.places import check_inside, entries_in
from vision_suite.hub.schema import NAME, faults_of
from vision_suite.hub.signature import SIGNATURE, key_id, read_key, sign
from vision_suite.hub.sums import SUMS, sha256, write_sums
from vision_suite.hub.text import write_json
from vision_suite.hub.trust import seen_serial

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from torch import Tensor

ATTRIBUTION = "ATTRIBUTION.md"
LONG_LABELS = 100  # more have a file of their own


def created() -> str:
    """The time, or that of ``SOURCE_DATE_EPOCH``, with which two writings give the same bytes.

    Raises:
        ConfigError: The variable is no number of seconds.
    """
    chosen = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        moment = datetime.now(UTC) if not chosen else datetime.fromtimestamp(int(chosen), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise ConfigError(f"SOURCE_DATE_EPOCH={chosen!r}: give whole seconds since 1970") from error
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def weights_bytes(tensors: Mapping[str, Tensor], name: str) -> bytes:
    """Bytes of ``model.safetensors``.

    Args:
        tensors: Tensors by name, no two of which share memory.
        name: Name of the entry.
    """
    from safetensors.torch import save

    kept = {each: value.detach().cpu().contiguous() for each, value in sorted(tensors.items())}
    written: bytes = save(kept, {"format": "pt", FORMAT_NOTE: "1", NAME_NOTE: name})
    # The library writes its notes in a random order.
    size = int.from_bytes(written[:8], "little")
    header = json.loads(written[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + written[8 + size :]


def once(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state in which each tensor has one name, the first of those that share it.

    Raises:
        CheckpointError: Two tensors share a part of their memory, or one is no plain tensor.
    """
    found: dict[str, Tensor] = {}
    seen: dict[int, str] = {}
    for name, value in state.items():
        if not hasattr(value, "untyped_storage") or value.is_sparse or value.is_quantized:
            raise CheckpointError(f"{name} is no plain tensor, which an entry cannot hold")
        place = value.untyped_storage().data_ptr()
        first = seen.get(place)
        if first is None or value.numel() == 0:
            seen[place] = name
            found[name] = value
        elif (found[first].shape, found[first].stride()) != (value.shape, value.stride()):
            raise CheckpointError(f"{name} shares a part of its memory with {first}, which an entry cannot hold")
    return found


def write_entry(
    hub: Path, config: Mapping[str, Any], files: Mapping[str, bytes], *, replace: bool = False, key: Path | None = None
) -> Path:
    """Write an entry with its card and sums into a hub, as `put_entry` does.

    Args:
        hub: Folder of the hub; it is made if it is missing.
        config: Contents of ``config.json``.
        files: Contents of the other files but the card and the sums, by path.
        replace: Put it in the place of an earlier one.
        key: File of the private key that signs the hub's index; None for no signature.

    Returns:
        Folder of the entry.

    Raises:
        CheckpointError: The configuration does not follow the schema, or another entry of the hub is wrong.
        ConfigError: There is such an entry, or the key is none or missing.
        StorageError: It cannot be written.
    """
    from vision_suite.hub.card import attribution_text, card

    faults = faults_of(dict(config), config.get("name"))
    if faults:
        raise CheckpointError(f"the entry would not follow the schema: {faults[0]}")
    whole = {**files, CONFIG: write_json(config).encode(), CARD: card(config).encode()}
    whole[ATTRIBUTION] = attribution_text(config).encode()
    return put_entry(hub, config, {**whole, SUMS: write_sums(whole)}, replace=replace, key=key)


def put_entry(
    hub: Path, config: Mapping[str, Any], contents: Mapping[str, bytes], *, replace: bool = False,
    key: Path | None = None,
) -> Path:  # fmt: skip
    """Put an entry into a hub and into its index, or into the package and its pins: both or nothing.

    Arguments, result and errors are those of `write_entry`; ``contents`` are all files, the sums too, by path.
    """
    folder: Path = hub / config["name"]
    signing_key(hub, key)
    check_free(folder, replace=replace)
    size = sum(map(len, contents.values()))
    line = _line(config, sha256(contents[SUMS]), size - len(contents[SUMS]))
    try:
        hub.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".push-", dir=hub, ignore_cleanup_errors=True) as draft:
            made = Path(draft) / folder.name
            for name, data in contents.items():
                (made / name).parent.mkdir(parents=True, exist_ok=True)
                (made / name).write_bytes(data)
            if is_shipped(hub):
                with placed(made, folder):
                    write_pins()
                return folder
            with changing(hub):  # and look again, because another command may have come first
                private = signing_key(hub, key)
                check_free(folder, replace=replace)
                index = _index_of(hub, None, private, {folder.name: line})
                with placed(made, folder):
                    _save(hub, index, private)
    except OSError as error:
        raise storage_error(error, folder, size) from error
    return folder


def check_free(folder: Path, *, replace: bool) -> None:
    """Refuse the place of an earlier entry, unless it is to be replaced.

    Raises:
        ConfigError: There is one.
    """
    if os.path.lexists(folder) and not replace:
        raise ConfigError(f"{folder} exists: choose another name, or replace it with --replace")


def labels_of(names: list[str]) -> tuple[Any, dict[str, bytes]]:
    """Section ``labels`` of ``config.json``, and the file of labels where they are many."""
    if len(names) <= LONG_LABELS:
        return names or None, {}
    return {"file": LABELS, "count": len(names)}, {LABELS: write_json(names).encode()}


def write_index(hub: Path, *, name: str | None = None, key: Path | None = None) -> dict[str, Any]:
    """Make the index of a hub of its entries, and sign it.

    Args:
        hub: Folder of the hub.
        name: Name of the hub; by default that of the present index, or of the folder.
        key: File of a private key; None for no signature.

    Returns:
        The index.

    Raises:
        CheckpointError: An entry is wrong.
        ConfigError: There is no hub, a name is wrong, or a signed index would lose its signature.
        StorageError: It cannot be written.
    """
    if not hub.is_dir():
        raise ConfigError(f"{hub}: no such folder: push an entry first, or name the hub with --hub")
    with changing(hub):
        private = signing_key(hub, key)
        index = _index_of(hub, name, private, {})
        _save(hub, index, private)
    return index


def signing_key(hub: Path, key: Path | None) -> Ed25519PrivateKey | None:
    """The key that signs a hub's index; None for an index without a signature.

    Args:
        hub: Folder of the hub.
        key: File of the private key; None for none.

    Raises:
        ConfigError: The file is no private key, or a signed index would lose its signature.
    """
    if key is None and (hub / SIGNATURE).exists():
        raise ConfigError(f"{hub / SIGNATURE}: the index is signed: sign the new one with --key, or remove the file")
    return None if key is None else read_key(key)


def _index_of(
    hub: Path, name: str | None, private: Ed25519PrivateKey | None, new: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Index of a hub with new lines; the present one where nothing changes, and a broken one counts as none."""
    try:
        before = read_index(hub) if (hub / INDEX).exists() else None
    except MalformedIndexError:
        before = None
    chosen = name or (before["name"] if before is not None else hub.absolute().name)
    if not HUB_NAME.fullmatch(chosen):
        raise ConfigError(
            f"the hub's name {chosen!r}: give letters, digits, '.', '_' and '-' with 'vision-suite hub index --name'"
        )
    found = dict(new)
    for each in (each for each in entries_in(hub) if each not in new):
        check_inside(hub, each)
        files = read_files(hub / each)
        files.check()
        found[each] = _line(read_config(files, each), files.sums_sha256, sum(map(len, files.contents.values())))
    key = "" if private is None else key_id(private.public_key().public_bytes_raw())
    last = max(0 if before is None else before["serial"], seen_serial(hub, chosen, key))
    index = {"format": 1, "name": chosen, "serial": last + 1, "created": created(), "entries": found}
    if before is not None and {**index, "created": before["created"], "serial": last} == before:
        return before  # nothing changed
    return index


def _line(config: Mapping[str, Any], sums_sha256: str, size: int) -> dict[str, Any]:
    """Line of an entry in an index; its size is that of all files but the sums."""
    return {"sums_sha256": sums_sha256, "bytes": size, "method": config["method"], "task": config["task"]}


def _save(hub: Path, index: Mapping[str, Any], private: Ed25519PrivateKey | None) -> None:
    """Write an index and its signature; if the signature cannot be written, the earlier index comes back."""
    signature = None if private is None else write_json(sign(index, private))
    path = hub / INDEX
    before = path.read_bytes() if path.is_file() else None
    write_whole(path, write_json(index))
    if signature is None:
        return
    try:
        write_whole(hub / SIGNATURE, signature)
    except BaseException:
        if before is None:
            path.unlink()
        else:
            write_whole(path, before)
        raise


def is_shipped(hub: Path) -> bool:
    """True for the folder of the package's own entries, which are pinned and have no index."""
    return os.path.realpath(hub) == os.path.realpath(places.SHIPPED)


def write_pins() -> dict[str, str]:
    """Pin the package's own entries, one file each, and forget entries that are gone; the pins by name.

    Raises:
        CheckpointError: An entry is wrong.
        StorageError: A pin cannot be written.
    """
    found = {}
    for each in entries_in(places.SHIPPED):
        files = read_files(places.SHIPPED / each)
        files.check()
        read_config(files, each)
        found[each] = files.sums_sha256
    for name in set(places.shipped()) - set(found):
        (places.PINS / f"{name}.sha256").unlink()
    for name, pin in found.items():
        write_whole(places.PINS / f"{name}.sha256", pin + "\n")
    return found


def check_name(name: str, method: str) -> None:
    """Refuse a name that no entry of a method may have.

    Raises:
        ConfigError: It is none.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"--name {name!r}: give method_size.data[.variant] in small letters, as dcal_micro.emoji_a")
    if name.split(".")[0] != method and not name.startswith(f"{method}_"):
        raise ConfigError(f"--name {name!r}: it must begin with the method, as {method}_micro.{name.split('.')[1]}")
