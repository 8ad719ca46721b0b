"""A folder of features that fills up file by file, and goes on where a killed run stopped."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vision_suite.errors import DataError

EXTRACTOR = "extractor.json"


class Store:
    """Writes each file whole or not at all; refuses a folder that another extractor began.

    Args:
        folder: Created if needed.
        extractor: What makes the features, in plain values.

    Raises:
        DataError: The folder holds features of another extractor.
    """

    def __init__(self, folder: Path, extractor: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        note = folder / EXTRACTOR
        if note.is_file():
            earlier = json.loads(note.read_text(encoding="utf-8"))
            different = [key for key in {*earlier, *extractor} if earlier.get(key) != extractor.get(key)]
            if different:
                key = sorted(different)[0]
                raise DataError(
                    f"{folder} holds features made with {key}={earlier.get(key)!r}, not {extractor.get(key)!r}: choose "
                    "another --output, or delete it"
                )
        else:
            note.write_text(json.dumps(extractor, indent=1) + "\n", encoding="utf-8")

    def path(self, name: str) -> Path:
        """The file of a video."""
        return self.folder / f"{name}.npy"

    def has(self, name: str) -> bool:
        """Whether a video is done."""
        return self.path(name).is_file()

    def write(self, name: str, rows: npt.NDArray[Any]) -> None:
        """Put the rows (L, C) of a video in place."""
        draft = self.folder / f".{name}.{os.getpid()}.npy"
        np.save(draft, rows.astype(np.float32), allow_pickle=False)
        draft.replace(self.path(name))
