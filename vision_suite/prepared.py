"""The folder of fetched archives and prepared sets, for rooms that use a set without knowing how it is made."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from vision_suite.errors import DataError


def data_dir() -> Path:
    """The folder of fetched archives and prepared sets: ``$VISION_SUITE_DATA``, else in the user's cache folder.

    Raises:
        DataError: The user has no home.
    """
    chosen = os.environ.get("VISION_SUITE_DATA")
    try:
        return Path(chosen).expanduser().absolute() if chosen else platformdirs.user_cache_path("vision_suite")
    except RuntimeError as error:
        raise DataError("there is no home for prepared data: name a folder in VISION_SUITE_DATA") from error


def find_folder(source: str | Path) -> Path | None:
    """Folder or file of a name: a path as it is, in the working folder, or in the data cache; None if there is none.

    Args:
        source: A path, or the name of a prepared set.
    """
    path = Path(source).expanduser()
    candidates = [path] if path.is_absolute() else [Path.cwd() / path, data_dir() / path]
    return next((candidate for candidate in candidates if candidate.exists()), None)


def share_as_usual(folder: Path) -> None:
    """Give the safetensors files of a folder the mode of any new file; their library hides them from other users."""
    mask = os.umask(0o077)
    os.umask(mask)
    for path in folder.glob("*.safetensors"):
        path.chmod(0o666 & ~mask)


def language_folder(source: str | Path) -> Path | str:
    """Folder of a language model or tokenizer, or its name where a hub may have it (``owner/name``).

    Args:
        source: A path, the name of a prepared set such as ``smollm2``, or a name of a hub.

    Raises:
        DataError: It is neither a folder, a prepared set nor a name that a hub could have.
    """
    found = find_folder(source)
    if found is not None:
        return found
    name = str(source)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return name
    raise DataError(
        f"language model {name!r} is no folder and no prepared set: run `vision-suite data prepare smollm2`, or give "
        "a folder in transformers' layout, a .gguf file, or a hub's owner/name"
    )
