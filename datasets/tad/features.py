"""Snippet features on disk: npy, npz, csv, pt and HDF5."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from vision_suite.errors import DataError
from vision_suite.listing import FolderFiles, folder_files
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

    Attributes:
        passed_over: Names and numbers of other files beside the features, in words; empty if there are none.
        number_passed_over: Number of these files.
        zero: Videos that were read and of which a set holds nothing but zeros.
        constant: Videos that were read and of which a set holds the same row all the time.
    """

    def __init__(self, locations: Sequence[Path], join: Join = "interpolate", channels: int = 0) -> None:
        if not locations:
            raise DataError("no features are named: give --data.features")
        self.locations, self.join, self.channels = list(locations), join, channels
        self.zero: set[str] = set()
        self.constant: set[str] = set()
        for location in self.locations:
            if not _is_container(location) and not location.is_dir():
                raise DataError(f"feature folder {str(location)!r} does not exist: give the right --data.features")
            if _is_container(location) and not list(location.parent.glob(location.name)):
                raise DataError(f"no feature file fits {str(location)!r}: give the right --data.features")
        self._listed = [_listing(location) for location in self.locations]
        others = [feature_files(location) for location in self.locations if not _is_container(location)]
        self.number_passed_over = sum(one.number_passed_over for one in others)
        self.passed_over = "; ".join(filter(None, (one.note() for one in others)))

    def missing(self, names: Sequence[str], skip: bool) -> list[str]:
        """The videos for which some set has no features.

        Raises:
            DataError: There are such videos and ``skip`` is false, or all videos are such.
        """
        out = [name for name in names if any(_find(name, listed) is None for listed in self._listed)]
        if out and (not skip or len(out) == len(names)):
            more = ", ..." if len(out) > 5 else ""
            other = f"; the folder also holds {self.passed_over}, which is not read" if self.passed_over else ""
            raise DataError(
                f"{len(out)} of {len(names)} videos have no features: {', '.join(out[:5])}{more}: extract them, or "
                f"pass --data.on_missing skip{other}"
            )
        return out

    def files(self, name: str) -> list[str]:
        """The files (or ``file::dataset``) of a video, one per set.

        Raises:
            DataError: A set has no file of the video, or two.
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
        if not all(part.any() for part in parts):
            self.zero.add(name)
        elif any(len(part) > 1 and (part[0] == part[1]).all() and (part[0] == part).all() for part in parts):
            self.constant.add(name)
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


def feature_files(folder: Path, endings: Collection[str] = SUFFIXES) -> FolderFiles:
    """Files of features in a folder, and others without metadata and hidden notes, which belong to an extraction.

    Args:
        folder: The folder, which is not searched deeper.
        endings: Endings of features.
    """
    found = folder_files(folder, endings, deep=False)
    other = {kind: paths for kind, paths in found.passed_over.items() if kind not in ("hidden", ".json")}
    return FolderFiles(found.files, other)


def read_rows(address: str) -> Floats32:
    """One file, or ``file::dataset`` of an HDF5 file, as (L, C) float32.

    Raises:
        DataError: It cannot be read, or is not a non-empty matrix of finite numbers.
    """
    file, _, name = address.partition("::")
    path = Path(file)
    try:
        values = np.asarray(_READERS[path.suffix.lower()](path, name))
    except DataError:
        raise
    except Exception as error:  # damaged bytes make the readers fail in any way
        reason = " ".join(str(error).split())[:160]
        raise DataError(f"features {address!r} cannot be read ({type(error).__name__}: {reason})") from None
    if values.dtype.kind not in "biuf":
        raise DataError(f"features {address!r} hold values of type {values.dtype}: real numbers are needed")
    if values.ndim != 2 or 0 in values.shape:
        raise DataError(f"features {address!r} have shape {values.shape}: (rows, columns) with at least one is needed")
    with np.errstate(over="ignore"):  # too large numbers become infinite
        out = values.astype(np.float32)
    if not np.isfinite(out).all():
        places = np.argwhere(~np.isfinite(out))
        raise DataError(
            f"features {address!r} hold {len(places)} values that are not finite (first: row {places[0][0]}, column "
            f"{places[0][1]}, from 0): extract them again"
        )
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
                f"features {str(path)!r} hold {', '.join(keys) or 'no array'}: one array, or one called {NPZ_KEY}, is "
                "needed"
            )
        values: npt.ArrayLike = archive[NPZ_KEY if NPZ_KEY in keys else keys[0]]
        return values


def _csv(path: Path, name: str) -> npt.ArrayLike:
    """Rows of a table, without a line of column names: text, or 0, 1, 2 ... as pandas numbers them."""
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = [(number, row) for number, row in enumerate(csv.reader(stream), start=1) if row]
    if rows and not rows[0][1][0].strip():
        raise DataError(
            f"features {str(path)!r} have an index column (the first column has no name): write them without it"
        )
    if rows and (not _numeric(rows[0][1]) or (len(rows[0][1]) > 2 and _is_count(rows[0][1]))):
        rows = rows[1:]
    widths = {len(row) for _, row in rows}
    if len(widths) > 1:
        odd = next(number for number, row in rows if len(row) != len(rows[0][1]))
        raise DataError(
            f"features {str(path)!r} have rows of {min(widths)} to {max(widths)} columns (line {odd} differs from the "
            "first): copy the file again"
        )
    if text := [number for number, row in rows if not _numeric(row)]:
        raise DataError(f"features {str(path)!r}: line {text[0]} holds more than numbers: copy the file again")
    return [[float(value) for value in row] for _, row in rows]


def _pt(path: Path, name: str) -> npt.ArrayLike:
    import torch

    values = torch.load(path, weights_only=True, map_location="cpu")
    if not isinstance(values, torch.Tensor):
        held = f" with {', '.join(map(str, list(values)[:3]))}" if isinstance(values, dict) else ""
        raise DataError(
            f"features {str(path)!r} hold a {type(values).__name__}{held}: one tensor (rows, columns) is needed"
        )
    values = values.detach()
    return (values.float() if values.is_floating_point() else values).numpy()  # NumPy has no bfloat16


def _hdf5(path: Path, name: str) -> npt.ArrayLike:
    import h5py

    with h5py.File(path, "r") as file:
        entry = file[name]
        if not isinstance(entry, h5py.Dataset):
            held = ", ".join(list(entry)[:3]) if isinstance(entry, h5py.Group) else ""
            raise DataError(
                f"features {f'{path}::{name}'!r} are a group ({held or 'empty'}): a data set (rows, columns) is needed "
                "under the video's id"
            )
        values: npt.ArrayLike = entry[()]
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


def _is_count(row: list[str]) -> bool:
    """Tell whether a line holds 0, 1, 2 ... only."""
    return [cell.strip() for cell in row] == [str(number) for number in range(len(row))]


def _is_container(location: Path) -> bool:
    return location.suffix.lower() in CONTAINERS


def _listing(location: Path) -> dict[str, list[str]]:
    """Addresses of every video of a set, one if all is well, by its id without ``v_``."""
    found: dict[str, list[str]] = {}
    if _is_container(location):
        import h5py

        for path in sorted(location.parent.glob(location.name)):
            try:
                with h5py.File(path, "r") as file:
                    for name in file:
                        found.setdefault(name.removeprefix("v_"), []).append(f"{path}::{name}")
            except (OSError, RuntimeError) as error:
                raise DataError(f"feature file {str(path)!r} cannot be read ({error}): copy it again") from None
        return found
    for path in feature_files(location).files:
        found.setdefault(path.stem.removeprefix("v_"), []).append(str(path))
    return found


def _find(name: str, listed: Mapping[str, list[str]]) -> str | None:
    """Address of a video in a set, None if it has none.

    Raises:
        DataError: It has two.
    """
    found = listed.get(name, [])
    if len(found) > 1:
        raise DataError(f"video {name!r} has features twice, {found[0]!r} and {found[1]!r}: delete one")
    return found[0] if found else None
