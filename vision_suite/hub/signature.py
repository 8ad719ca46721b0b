"""Signatures of indices by ed25519, the keys that make them, and the keys that a user trusts."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vision_suite.errors import CheckpointError, ConfigError, MissingDependencyError, storage_error
from vision_suite.hub import places
from vision_suite.hub.index import INDEX, signed_bytes
from vision_suite.hub.sums import SUMS, sha256
from vision_suite.hub.text import MIB, one_line, read_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNATURE = f"{INDEX}.sig"
ALGORITHM = "ed25519"
TRUSTED = "trusted_keys"
KEY_LINE = re.compile(r"([0-9a-f]{16})\s+([0-9a-f]{64})(?:\s+(.*))?")
PATTERNS = {"key_id": r"[0-9a-f]{16}", "public_key": r"[0-9a-f]{64}", "signature": r"[0-9a-f]{128}"}
Trust = Literal["trusted", "unknown", "absent"]


def key_id(public: bytes) -> str:
    """Identifier of a raw public key: the first 16 digits of its SHA-256."""
    return sha256(public)[:16]


def sign(index: Mapping[str, Any], key: Ed25519PrivateKey) -> dict[str, Any]:
    """Contents of ``index.json.sig``.

    Args:
        index: The index.
        key: Private key, as `read_key` gives it.
    """
    public = key.public_key().public_bytes_raw()
    return {
        "format": 1,
        "algorithm": ALGORITHM,
        "key_id": key_id(public),
        "public_key": public.hex(),
        "signature": key.sign(signed_bytes(index)).hex(),
    }


def check_signature(hub: Path, index: Mapping[str, Any]) -> tuple[Trust, str]:
    """State of trust in the signature of a hub's index, and the key's identifier; empty for an absent one.

    Args:
        hub: Folder of the hub.
        index: Its index, as it was read.

    Raises:
        CheckpointError: The signature is wrong, or no signature at all.
    """
    path = hub / SIGNATURE
    try:
        with open(path, "rb") as file:
            contents = file.read(MIB)
    except FileNotFoundError:
        return "absent", ""
    except OSError as error:
        raise CheckpointError(f"{path}: it cannot be read ({error.strerror}): change its permissions") from error
    try:
        found = read_json(contents)
        known = isinstance(found, dict) and set(found) == {"format", "algorithm", *PATTERNS}
        if not known or found["format"] != 1 or found["algorithm"] != ALGORITHM:
            raise ValueError(f"it is no signature by {ALGORITHM} in format 1")
        for name, pattern in PATTERNS.items():
            if not isinstance(found[name], str) or not re.fullmatch(pattern, found[name]):
                raise ValueError(f"its {name} is malformed")
        public = bytes.fromhex(found["public_key"])
        if key_id(public) != found["key_id"]:
            raise ValueError("its key_id is not that of its public key")
        if not _verifies(public, bytes.fromhex(found["signature"]), signed_bytes(index)):
            raise ValueError("the signature is wrong: the index was changed after it was signed, or is another one")
    except ValueError as error:
        raise CheckpointError(f"{path}: {one_line(error)}: do not use this hub; ask whoever keeps it") from error
    return ("trusted" if found["public_key"] in trusted_keys().values() else "unknown"), found["key_id"]


def trusted_keys() -> dict[str, str]:
    """Public keys in hexadecimal by their identifiers, of the user's file of trusted keys.

    Raises:
        ConfigError: A line of the file is malformed.
    """
    folder = config_folder()
    if folder is None:
        return {}
    path = folder / TRUSTED
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: it cannot be read ({one_line(error)}): correct or remove it") from error
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = KEY_LINE.fullmatch(line.strip())
        if match is None or key_id(bytes.fromhex(match[2])) != match[1]:
            raise ConfigError(f"{path}, line {number}: it is not 'key_id public_key comment', as hub keygen prints it")
        found[match[1]] = match[2]
    return found


def config_folder() -> Path | None:
    """The user's folder of settings, which need not exist; None for a user without a home."""
    return places.user_folder("config")


def file_of_keys() -> str:
    """Path of the user's file of trusted keys, in words for a user without a home."""
    folder = config_folder()
    return f"{TRUSTED} in the settings folder (set HOME first)" if folder is None else str(folder / TRUSTED)


def make_key(path: Path) -> str:
    """Write a new private key, readable by its owner alone; the line for a file of trusted keys.

    Args:
        path: File to write, which must not exist, and lie in no hub.

    Raises:
        ConfigError: It exists, or lies in a hub.
        StorageError: It cannot be written.
    """
    _require()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    inside = next((folder for folder in Path(os.path.realpath(path)).parents if _is_hub(folder)), None)
    if inside is not None:
        raise ConfigError(f"{path}: a private key never lies in a hub ({inside}): choose another folder")
    key = Ed25519PrivateKey.generate()
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path}: the file exists, and a key is never overwritten: choose another name") from None
    except OSError as error:
        raise storage_error(error, path) from error
    public = key.public_key().public_bytes_raw()
    return f"{key_id(public)} {public.hex()}"


def read_key(path: Path) -> Ed25519PrivateKey:
    """The private key of a file that `make_key` wrote.

    Raises:
        ConfigError: The file is missing or no such key.
    """
    _require()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ConfigError(f"--key {path}: it cannot be read ({error.strerror}): make one with hub keygen") from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"--key {path}: no private key without a password: make one with hub keygen") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"--key {path}: a {type(key).__name__}, not one of {ALGORITHM}: make one with hub keygen")
    return key


def _verifies(public: bytes, signature: bytes, data: bytes) -> bool:
    _require()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except InvalidSignature:
        return False
    return True


def _is_hub(folder: Path) -> bool:
    """True for the user's hub, the package's, and every folder with an index or an entry."""
    known = [os.path.realpath(each) for each in (places.hub_folder(), places.SHIPPED) if each is not None]
    if str(folder) in known or os.path.isfile(folder / INDEX):
        return True
    try:
        names = places.entries_in(folder)
    except CheckpointError:  # closed to this user, so no key can be written there
        return False
    return any(os.path.isfile(folder / name / SUMS) for name in names)


def _require() -> None:
    from importlib.util import find_spec

    if find_spec("cryptography") is None:
        raise MissingDependencyError("signing and checking of a hub's index", "cryptography")
