"""Snippet features on disk: npy, npz, csv, pt and HDF5."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from vision_suite.errors import DataError
from vision_suite.types.arrays import Floats32

Join = Literal["interpolate", "truncate"]
SUFFIXES = (".npy", ".npz", ".csv", ".pt")
CONTAINERS = (".h5", ".hdf5")
NPZ_KEY = "feats"


class FeatureSource:
    """One or more sets of features, joined along the channels.

    Args:
        locations: Folders of ``<id>.npy`` (or npz, csv, pt; with or without ``v_``), or HDF5 files with one data set a
            video, by name or glob.
        join: Sets of different length: ``interpolate`` to the longest, or ``truncate`` to the shortest.
        channels: Width that every file must have together, 0 for any.
    """

    def __init__(self, locations: Sequence[Path], join: Join = "interpolate", channels: int = 0) -> None:
        if not locations:
            raise DataError("no features are named: give --data.features")
        self.locations, self.join, self.channels = list(locations), join, channels
        self._addresses: dict[str, list[str]] = {}
        for location in self.locations:
            if not _is_container(location) and not location.is_dir():
                raise DataError(f"feature folder {str(location)!r} does not exist: give the right --data.features")
            if _is_container(location) and not list(location.parent.glob(location.name)):
                raise DataError(f"no feature file fits {str(location)!r}: give the right --data.features")
        self._listed = [_listing(location) for location in self.locations]

    def missing(self, names: Sequence[str], skip: bool) -> list[str]:
        """The videos for which some set has no features.

        Raises:
            DataError: There are such videos and ``skip`` is false, or all videos are such.
        """
        out = [name for name in names if any(_find(name, listed) is None for listed in self._listed)]
        if out and (not skip or len(out) == len(names)):
            more = ", ..." if len(out) > 5 else ""
            raise DataError(
                f"{len(out)} of {len(names)} videos have no features: {', '.join(out[:5])}{more}: extract them, or "
                "pass --data.on_missing skip"
            )
        return out

    def files(self, name: str) -> list[str]:
        """The files (or ``file::dataset``) of a video, one per set.

        Raises:
            DataError: A set has no file of the video.
        """
        found = []
        for location, listed in zip(self.locations, self._listed, strict=True):
            address = _find(name, listed)
            if address is None:
                raise DataError(
                    f"no features of video {name!r} in {str(location)!r} ({', '.join(SUFFIXES)}): extract them"
                )
            found.append(address)
        return found

    def read(self, name: str) -> Floats32:
        """The features of a video: (L, C) float32.

        Raises:
            DataError: The features are missing, damaged, empty, not finite, or of another width.
        """
        addresses = self.files(name)
        parts = [read_rows(address) for address in addresses]
        rows = [len(part) for part in parts]
        if len(set(rows)) > 1:
            parts = (
                [part[: min(rows)] for part in parts]
                if self.join == "truncate"
                else [resize_rows(part, max(rows)) for part in parts]
            )
        out = np.concatenate(parts, axis=1)
        if self.channels and out.shape[1] != self.channels:
            turned = " (rows and columns seem to be swapped: rows are time)" if out.shape[0] == self.channels else ""
            raise DataError(
                f"features {addresses[0]!r} have shape {out.shape}, but {self.channels} columns are expected{turned}"
            )
        return out


def read_rows(address: str) -> Floats32:
    """One file, or ``file::dataset`` of an HDF5 file, as (L, C) float32.

    Raises:
        DataError: It cannot be read, or is not a non-empty matrix of finite numbers.
    """
    file, _, name = address.partition("::")
    path = Path(file)
    try:
        values = _READERS[path.suffix.lower()](path, name)
        out = np.asarray(values, dtype=np.float32)
    except DataError:
        raise
    except Exception as error:  # damaged bytes make the readers fail in any way
        reason = " ".join(str(error).split())[:160]
        raise DataError(f"features {address!r} cannot be read ({type(error).__name__}: {reason})") from None
    if out.ndim != 2 or 0 in out.shape:
        raise DataError(f"features {address!r} have shape {out.shape}: (rows, columns) with at least one is needed")
    if not np.isfinite(out).all():
        raise DataError(f"features {address!r} hold values that are not finite: extract them again")
    return out


def resize_rows(rows: Floats32, length: int) -> Floats32:
    """Linear interpolation of (L, C) to (length, C), row k at the middle of its share of the time.

    The result is that of ``torch.nn.functional.interpolate(mode="linear", align_corners=False)``.
    """
    count = len(rows)
    if count == length:
        return rows
    at = np.clip((np.arange(length) + 0.5) * (count / length) - 0.5, 0, count - 1)
    lower = at.astype(np.int64)
    share = (at - lower)[:, None].astype(np.float32)
    upper = np.minimum(lower + 1, count - 1)
    out: Floats32 = rows[lower] * (1 - share) + rows[upper] * share
    return out


def _npz(path: Path, name: str) -> npt.ArrayLike:
    with np.load(path, allow_pickle=False) as archive:
        keys = archive.files
        if NPZ_KEY not in keys and len(keys) != 1:
            raise DataError(
                f"features {str(path)!r} hold {', '.join(keys)}: one array, or one called {NPZ_KEY}, is needed"
            )
        values: npt.ArrayLike = archive[NPZ_KEY if NPZ_KEY in keys else keys[0]]
        return values


def _csv(path: Path, name: str) -> npt.ArrayLike:
    with path.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.reader(stream) if row]
    if rows and not _numeric(rows[0]):
        rows = rows[1:]
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        raise DataError(
            f"features {str(path)!r} have rows of {min(widths)} to {max(widths)} columns: copy the file again"
        )
    return [[float(value) for value in row] for row in rows]


def _pt(path: Path, name: str) -> npt.ArrayLike:
    import torch

    values: torch.Tensor = torch.load(path, weights_only=True, map_location="cpu")
    return values.float().numpy()


def _hdf5(path: Path, name: str) -> npt.ArrayLike:
    import h5py

    with h5py.File(path, "r") as file:
        values: npt.ArrayLike = file[name][()]
        return values


_READERS = {
    ".npy": lambda path, name: np.load(path, allow_pickle=False),
    ".npz": _npz,
    ".csv": _csv,
    ".pt": _pt,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
}


def _numeric(row: list[str]) -> bool:
    """Tell whether a line is data and no header; NaN counts as a number here and is refused later."""
    try:
        list(map(float, row))
    except ValueError:
        return False
    return True


def _is_container(location: Path) -> bool:
    return location.suffix.lower() in CONTAINERS


def _listing(location: Path) -> dict[str, str]:
    """Address of every video of a set by its id."""
    if _is_container(location):
        import h5py

        found: dict[str, str] = {}
        for path in sorted(location.parent.glob(location.name)):
            try:
                with h5py.File(path, "r") as file:
                    found |= {name: f"{path}::{name}" for name in file}
            except OSError as error:
                raise DataError(f"feature file {str(path)!r} cannot be read ({error}): copy it again") from None
        return found
    files = (path for path in sorted(location.iterdir()) if path.suffix.lower() in SUFFIXES)
    return {path.stem: str(path) for path in files}


def _find(name: str, listed: dict[str, str]) -> str | None:
    return listed.get(name) or listed.get(f"v_{name}")
