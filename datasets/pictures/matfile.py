"""MATLAB files up to version 7.2; any damage raises one clear error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vision_suite.errors import DataError


def read_mat(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Variables of a MATLAB file, without dimensions of size one.

    Raises:
        DataError: The file is missing or damaged, or a variable isn't there.
    """
    from scipy.io import loadmat

    if not path.is_file():
        raise DataError(f"list file {str(path)!r} is missing: unpack the data set completely")
    try:
        table: dict[str, np.ndarray] = loadmat(path, squeeze_me=True)
    except Exception as error:  # damaged bytes make SciPy's reader fail in any way, also for lack of memory
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise DataError(f"{str(path)!r} is not a readable MATLAB file ({reason})") from None
    missing = [name for name in names if name not in table]
    if missing:
        raise DataError(f"{str(path)!r} has no variable {missing[0]!r}: it is another list than expected")
    return table


def read_structs(path: Path, name: str, fields: Sequence[str]) -> list[tuple[str, ...]]:
    """A struct array of a MATLAB file as rows of the named fields, as text.

    Raises:
        DataError: The file is unusable as in `read_mat`, or a field is missing.
    """
    entries = np.atleast_1d(read_mat(path, [name])[name])
    missing = [field for field in fields if field not in (entries.dtype.names or ())]
    if missing:
        raise DataError(f"{str(path)!r}: {name!r} has no field {missing[0]!r}: it is another list than expected")
    return [tuple(str(entry[field]) for field in fields) for entry in entries]
