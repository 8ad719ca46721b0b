"""A folder of features that fills up file by file, and goes on where a killed run stopped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vision_suite.drafts import write_whole
from vision_suite.errors import DataError, storage_error

EXTRACTOR = "extractor.json"
PATHS = ("checkpoint", "weights")  # paths of weights, noted for readers; the checksum tells which they are


@dataclass
class Extracted:
    """Outcome of an extraction.

    Attributes:
        written: Number of files written.
        present: Number of files that were there already.
        failed: Reason of failure of each of the others, by name.
        channels: Width of a row.
    """

    written: int = 0
    present: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    channels: int = 0


class Store:
    """Writes each file whole or not at all; refuses a folder that another extractor began.

    Args:
        folder: Folder to write, created if needed.
        extractor: Settings that make the features, in plain values; its ``checksum`` is that of the weights, wherever
            they lie.

    Raises:
        DataError: The folder is a file, or holds features of another or an unknown extractor.
        StorageError: It cannot be made.
    """

    def __init__(self, folder: Path, extractor: Mapping[str, object]) -> None:
        if folder.exists() and not folder.is_dir():
            raise DataError(f"{str(folder)!r} is a file: give --output a folder, which is made if it is missing")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, folder) from None
        self.folder = folder
        note = folder / EXTRACTOR
        if not note.is_file():
            write_whole(note, json.dumps(dict(extractor), indent=1) + "\n")
            return
        try:
            earlier = dict(json.loads(note.read_text(encoding="utf-8")))
        except ValueError as error:
            raise DataError(f"{note} is damaged ({error}): choose another --output, or delete {folder}") from None
        if "checksum" not in earlier:
            raise DataError(
                f"{folder} holds features of an earlier version, which did not note whose weights made them: choose "
                "another --output, or delete it"
            )
        different = [key for key in {*earlier, *extractor} - {*PATHS} if earlier.get(key) != extractor.get(key)]
        if different:
            key = sorted(different)[0]
            raise DataError(
                f"{folder} holds features made with {key}={earlier.get(key)!r}, not {extractor.get(key)!r}: choose "
                "another --output, or delete it"
            )

    def path(self, name: str) -> Path:
        """The file of a video."""
        return self.folder / f"{name}.npy"

    def has(self, name: str) -> bool:
        """True if a video is done."""
        return self.path(name).is_file()

    def write(self, name: str, rows: npt.NDArray[np.floating]) -> None:
        """Write the rows (L, C) of a video."""
        draft = self._draft(name, os.getpid())
        try:
            np.save(draft, rows.astype(np.float32), allow_pickle=False)
            draft.replace(self.path(name))
        finally:
            draft.unlink(missing_ok=True)  # a part of it, on a full disk

    def forget_draft(self, name: str, pid: int) -> None:
        """Delete what a process that died had written of a video."""
        self._draft(name, pid).unlink(missing_ok=True)

    def _draft(self, name: str, pid: int) -> Path:
        return self.folder / f".{name}.{pid}.npy"


def checksum(state: Mapping[str, Tensor]) -> str:
    """Sixteen digits that tell weights from others: sha256 over their names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
