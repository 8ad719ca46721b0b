"""Pictures inside container files, read one by one."""

from __future__ import annotations

import os
from functools import lru_cache

import h5py
import numpy as np

from vision_suite.errors import DataError


def read_picture(address: str) -> np.ndarray:
    """Read one picture, (h, w, 3) uint8, at ``FILE.mat::BOXES/PAIR/IDENTITY/PICTURE`` with numbers from 1.

    Raises:
        DataError: There is no such picture in the container.
    """
    path, _, inside = address.partition("::")
    boxes, *numbers = inside.split("/")
    try:
        pair, identity, picture = (int(number) - 1 for number in numbers)
        file = open_container(path, os.getpid())
        pixels = np.asarray(file[file[file[boxes][0, pair]][picture, identity]])
    except (KeyError, IndexError, TypeError, ValueError, OSError, RuntimeError, AttributeError) as error:
        raise DataError(f"not in the container ({error})") from None
    if pixels.ndim != 3 or pixels.dtype != np.uint8 or pixels.shape[0] != 3 or not pixels.size:
        raise DataError("an empty cell of the container, or no RGB picture of 8 bits")
    return np.ascontiguousarray(pixels.transpose(2, 1, 0))  # MATLAB stores columns first


@lru_cache(maxsize=2)
def open_container(path: str, process: int) -> h5py.File:
    """The open container; one per process, because HDF5 handles don't survive a fork."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path!r} cannot be read as a MATLAB 7.3 container: {error}") from None
