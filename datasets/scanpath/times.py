"""Durations of fixations in seconds: one unit a file, stated or told from all durations of the file together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from vision_suite.datasets.scanpath.values import fixation_name
from vision_suite.errors import DataError
from vision_suite.types.arrays import Floats32

Unit = Literal["s", "ms", "us"]

PER_SECOND: dict[Unit, float] = {"s": 1.0, "ms": 1e3, "us": 1e6}
USUAL = (0.02, 2.0)  # seconds: a median in here tells the unit, as units are factors of 1000 apart
SHORTEST_MEDIAN = 0.002  # seconds: of a unit that is stated
FEW = 3  # durations that may all be very short
LONGEST = 60.0  # seconds, as in `vision_suite.metrics.scanpath`


class FileUnit(NamedTuple):
    """Unit of all durations of a file.

    Attributes:
        unit: The unit.
        basis: Reason for it, in words.
    """

    unit: Unit
    basis: str

    def __str__(self) -> str:
        return f"{self.unit} ({self.basis})"


def duration_column(columns: Collection[str], names: Sequence[str], file: str) -> tuple[str | None, FileUnit | None]:
    """The column of durations, and the unit if its name ends with one: ``duration``, ``duration_ms`` ...

    Args:
        columns: Columns of the file.
        names: Names that the column may have, without a unit.
        file: The file, for messages.

    Raises:
        DataError: More than one column has such a name.
    """
    units: dict[str, Unit | None] = {name: None for name in names}
    units |= {f"{name}_{unit}": unit for name in names for unit in get_args(Unit)}
    found = [column for column in columns if column in units]
    if len(found) > 1:
        raise DataError(f"{file} has durations in the columns {', '.join(found)}: leave one")
    if not found:
        return None, None
    unit = units[found[0]]
    return found[0], None if unit is None else FileUnit(unit, f"by the name of the column {found[0]}")


def file_unit(
    durations: npt.ArrayLike,
    file: str,
    stated: FileUnit | None = None,
    asked: Unit | None = None,
    flag: str = "--data.duration_unit",
) -> FileUnit | None:
    """The unit of a file, None if it has no duration.

    Args:
        durations: All durations of the file; those that are not finite or not above 0 do not count.
        file: The file, for messages.
        stated: Unit that the file or its layout states.
        asked: Unit that the user gives.
        flag: Setting by which the user gives it, for messages.

    Raises:
        DataError: The file and the user contradict each other, or the median duration has none of the units.
    """
    values = np.asarray(durations, dtype=np.float64).reshape(-1)
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return None
    median = float(np.median(values))
    if asked is not None:
        if stated is not None and stated.basis.startswith("by the name") and stated.unit != asked:
            raise DataError(f"{file} has durations in {stated}, but {flag} is {asked}: correct one")
        stated = FileUnit(asked, f"by {flag}")
    if stated is not None:
        if median / PER_SECOND[stated.unit] < SHORTEST_MEDIAN:
            raise DataError(
                f"{file}: durations in {stated} have the median {median:g} {stated.unit}, which no fixations have: "
                f"give the right unit by {flag} s, ms or us"
            )
        return stated
    for unit, factor in PER_SECOND.items():
        if USUAL[0] <= median / factor < USUAL[1]:
            return FileUnit(unit, f"by the median {median:g} of {len(values)} durations of the file")
    raise DataError(
        f"{file}: durations have the median {median:g}, which tells no unit (fixations last 0.02 to 2 s): give "
        f"{flag} s, ms or us, or name the column duration_ms"
    )


def seconds(
    durations: Sequence[float], unit: Unit, problems: Counter[str], where: str = "", rows: Sequence[int] = ()
) -> Floats32:
    """Durations of one recording in seconds, NaN where there is none.

    Args:
        durations: Durations in the unit of the file.
        unit: That unit.
        problems: Counter of problems; durations that are missing or 0 are counted.
        where: File or trial, for messages.
        rows: Row of each fixation in the file, for messages; none are given where the trial is a row.

    Raises:
        DataError: A duration is negative or longer than any fixation, or those of the recording have another unit.
    """
    values = np.asarray(durations, dtype=np.float64).reshape(-1) / PER_SECOND[unit]
    for wrong, reason in (
        (values < 0, "is negative"),
        (values > LONGEST, f"is {{:g}} s in the file's unit {unit}, but no fixation lasts longer than {LONGEST:g} s"),
    ):
        if wrong.any():
            index = int(wrong.argmax())
            raise DataError(
                f"{fixation_name(where, rows, index)}: duration {float(np.asarray(durations)[index]):g} "
                f"{reason.format(float(values[index]))}: correct it, or give --data.duration_unit s, ms or us"
            )
    bad = ~np.isfinite(values) | (values <= 0)
    median = float(np.median(values[~bad])) if (~bad).sum() >= FEW else math.inf
    if median < SHORTEST_MEDIAN:
        raise DataError(
            f"{fixation_name(where, rows, 0)} and the next: durations have the median {median:g} s in the file's unit "
            f"{unit}, which no fixations have: give the whole file in one unit"
        )
    problems["durations_unusable"] += int(bad.sum())
    return np.where(bad, math.nan, values).astype(np.float32)
