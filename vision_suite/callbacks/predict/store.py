"""Columns of predictions on disk: each process appends its own part, one process merges them, memory stays small."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from io import BufferedWriter
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
from pytorch_lightning import LightningModule, Trainer

from vision_suite.callbacks.run_dir import share_run_dir
from vision_suite.errors import ConfigError, DataError
from vision_suite.types.arrays import Ints

Column = npt.NDArray[Any]

INDEX = "index"
LAYOUT = "columns.json"
CHUNK = 4096


class Layout(TypedDict):
    """Number of rows of a part; dtype and shape of a row by column."""

    rows: int
    columns: dict[str, tuple[str, list[int]]]


class PartWriter:
    """Appends batches of rows to raw files, one a column; the first batch decides the columns.

    Args:
        folder: Folder of this process's part; created.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.rows = 0
        self._layout: dict[str, tuple[str, list[int]]] = {}
        self._files: dict[str, BufferedWriter] = {}

    def append(self, batch: Mapping[str, Column]) -> None:
        """Write a batch: by column an array (B, ...); ``index`` (B,) int64 must be among them.

        Raises:
            DataError: The columns or their shapes differ from those of the first batch.
        """
        layout = {name: (rows.dtype.str, list(rows.shape[1:])) for name, rows in batch.items()}
        if not self._files:
            self._layout = layout
            self._files = {name: (self.folder / name).open("wb") for name in layout}
        if layout != self._layout:
            raise DataError(f"predictions changed from {self._layout} to {layout} between batches")
        for name, rows in batch.items():
            self._files[name].write(np.ascontiguousarray(rows).data)
        self.rows += len(batch[INDEX])

    def close(self) -> None:
        """Finish the part, so that `merge` can read it."""
        for file in self._files.values():
            file.close()
        layout = {"rows": self.rows, "columns": self._layout}
        (self.folder / LAYOUT).write_text(json.dumps(layout), encoding="utf-8")


@dataclass(frozen=True)
class Predictions:
    """All predictions in the order of their index, each picture once.

    Attributes:
        index: (N,) positions in the list of pictures, ascending.
        duplicates: Rows left out because their picture was there already (the padding of distributed loaders).
        columns: Rows (N, ...) by name, as files mapped into memory.
    """

    index: Ints
    duplicates: int
    columns: dict[str, Column] = field(repr=False)

    def __len__(self) -> int:
        return len(self.index)

    def chunks(self) -> Iterator[slice]:
        """Slices of at most `CHUNK` rows."""
        for start in range(0, len(self), CHUNK):
            yield slice(start, min(start + CHUNK, len(self)))


def merge(parts: list[Path], folder: Path) -> Predictions:
    """Join the parts of all processes.

    Args:
        parts: Folders of the parts.
        folder: Folder for the joined columns.

    Raises:
        DataError: A part is missing (the run's folder isn't shared by the machines), or nothing was predicted.
    """
    missing = [part for part in parts if not (part / LAYOUT).is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(parts)} processes left no predictions, such as {missing[0]}: "
            "put the run on a file system that all machines share (--trainer.default_root_dir)"
        )
    layouts: list[Layout] = [json.loads((part / LAYOUT).read_text(encoding="utf-8")) for part in parts]
    filled = [(part, layout) for part, layout in zip(parts, layouts, strict=True) if layout["rows"]]
    if not filled:
        raise DataError("nothing was predicted: the list of pictures is empty")
    columns = filled[0][1]["columns"]
    opened = {name: [_open(part, name, layout) for part, layout in filled] for name in columns}
    everything = np.concatenate(opened.pop(INDEX))
    index, first = np.unique(everything, return_index=True)
    starts = np.cumsum([0, *(layout["rows"] for _, layout in filled)])
    folder.mkdir(parents=True, exist_ok=True)
    joined: dict[str, Column] = {}
    for name, pieces in opened.items():
        dtype, shape = columns[name]
        target = np.memmap(folder / name, mode="w+", dtype=dtype, shape=(len(index), *shape))
        for begin in range(0, len(index), CHUNK):
            rows = first[begin : begin + CHUNK]
            for piece, start, stop in zip(pieces, starts[:-1], starts[1:], strict=True):
                here = (rows >= start) & (rows < stop)
                target[begin : begin + CHUNK][here] = piece[rows[here] - start]
        joined[name] = target
    return Predictions(index.astype(np.int64), len(everything) - len(index), joined)


def clear(folder: Path) -> None:
    """Remove a folder of earlier parts, if there is one."""
    if folder.is_dir():
        shutil.rmtree(folder)


def fresh_folders(trainer: Trainer, *names: str) -> Path:
    """The folder ``predict`` of the run, agreed on by all processes, with empty folders of these names in it."""
    folder = share_run_dir(trainer) / "predict"
    if trainer.is_global_zero:
        for name in names:
            clear(folder / name)
            (folder / name).mkdir(parents=True)
    trainer.strategy.barrier("prediction folder")
    return folder


def require_keys(module: LightningModule, outputs: object, keys: Collection[str]) -> None:
    """Refuse what a module's ``predict_step`` returned, unless it is a mapping with these keys.

    Raises:
        ConfigError: It is not.
    """
    if not isinstance(outputs, Mapping) or not set(outputs) >= set(keys):
        names = ", ".join(sorted(keys))
        raise ConfigError(f"{type(module).__name__}.predict_step must return a mapping with {names}")


def _open(part: Path, name: str, layout: Layout) -> Column:
    """One column of one part."""
    dtype, shape = layout["columns"][name]
    return np.memmap(part / name, mode="r", dtype=dtype, shape=(layout["rows"], *shape))
