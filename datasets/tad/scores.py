"""Class scores of whole videos from other networks: the usual source of labels for proposal networks."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vision_suite.drafts import write_whole
from vision_suite.errors import DataError
from vision_suite.types.arrays import Floats32

# THUMOS-14's detection classes among the 101 of its classification task, numbered from 1.
THUMOS_CLASSES = {
    7: "BaseballPitch",
    9: "BasketballDunk",
    12: "Billiards",
    21: "CleanAndJerk",
    22: "CliffDiving",
    23: "CricketBowling",
    24: "CricketShot",
    26: "Diving",
    31: "FrisbeeCatch",
    33: "GolfSwing",
    36: "HammerThrow",
    40: "HighJump",
    45: "JavelinThrow",
    51: "LongJump",
    68: "PoleVault",
    79: "Shotput",
    85: "SoccerPenalty",
    92: "TennisSwing",
    93: "ThrowDiscus",
    97: "VolleyballSpiking",
}
_TEST_VIDEO = re.compile(r"video_test_(\d{7})")


def read_scores(path: Path, videos: Sequence[str], classes: Sequence[str]) -> dict[str, Floats32]:
    """Scores (K,) float32 of each video, in the order of ``classes``.

    Two kinds of file: JSON ``{"results": {id: [score of each class]}, "class": [names]}`` (CUHK's for ActivityNet), and
    a NumPy matrix with one row per test video of THUMOS-14, by the number in its id, and 101 columns (UntrimmedNet's).
    Rows of the latter sum to 2, so fused scores may exceed 1.

    Raises:
        DataError: The file is malformed, lacks a class or a video, or has a score that is no finite number.
    """
    if path.suffix.lower() == ".npy":
        return _untrimmed_net(path, videos, classes)
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
        names, results = [str(name) for name in contents["class"]], contents["results"]
    except (OSError, KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"class scores {str(path)!r} cannot be read ({error}): keys 'results' and 'class'") from None
    if double := [name for number, name in enumerate(names) if name in names[:number]]:
        raise DataError(f"class scores {str(path)!r} have the class {double[0]!r} twice: delete one column")
    if not isinstance(results, dict):
        raise DataError(f"class scores {str(path)!r}: 'results' must be a dictionary of rows by video")
    columns = _columns(path, names, classes)
    out = {}
    for video in videos:
        row = results.get(video, results.get(f"v_{video}"))
        if video in results and f"v_{video}" in results:
            raise DataError(f"class scores {str(path)!r} have video {video!r} twice, with and without v_: delete one")
        if not isinstance(row, list) or len(row) != len(names):
            raise DataError(
                f"class scores {str(path)!r} have no row of {len(names)} numbers for video {video!r}: add it, or "
                "evaluate on other subsets (--data.validate_on, --data.test_on)"
            )
        out[video] = _finite(path, video, row)[columns]
    return out


def write_scores(path: Path, scores: dict[str, Floats32], classes: Sequence[str]) -> None:
    """Write scores (K,) by video in the JSON form that `read_scores` reads."""
    results = {video: [round(float(value), 6) for value in row] for video, row in scores.items()}
    write_whole(path, json.dumps({"results": results, "class": list(classes)}) + "\n")


def _untrimmed_net(path: Path, videos: Sequence[str], classes: Sequence[str]) -> dict[str, Floats32]:
    try:
        table = np.load(path, allow_pickle=False)
    except Exception as error:  # damaged bytes make NumPy's reader fail in any way
        reason = " ".join(str(error).split())[:160]
        raise DataError(f"class scores {str(path)!r} cannot be read ({type(error).__name__}: {reason})") from None
    if table.dtype.kind not in "iuf":
        raise DataError(f"class scores {str(path)!r} hold values of type {table.dtype}: real numbers are needed")
    if table.ndim != 2 or table.shape[1] < max(THUMOS_CLASSES):
        raise DataError(f"class scores {str(path)!r} have shape {table.shape}: (videos, 101) is needed")
    number_of = {name: number - 1 for number, name in THUMOS_CLASSES.items()}
    if missing := [name for name in classes if name not in number_of]:
        raise DataError(f"class {missing[0]!r} is none of THUMOS-14's: {str(path)!r} has no column for it")
    columns = [number_of[name] for name in classes]
    out = {}
    for video in videos:
        match = _TEST_VIDEO.fullmatch(video)
        row = int(match[1]) - 1 if match else -1
        if not 0 <= row < len(table):
            raise DataError(
                f"class scores {str(path)!r} have no row for video {video!r}: the matrix has video_test_0000001 to "
                f"{len(table):07d}: evaluate on other subsets (--data.validate_on, --data.test_on)"
            )
        out[video] = _finite(path, video, table[row, columns])
    return out


def _finite(path: Path, video: str, row: npt.ArrayLike) -> Floats32:
    try:
        out = np.asarray(row, dtype=np.float32)
    except (TypeError, ValueError):
        out = np.array(np.nan, dtype=np.float32)
    if out.ndim != 1 or not np.isfinite(out).all():
        raise DataError(f"class scores {str(path)!r}: the row of video {video!r} holds more than finite numbers")
    return out


def _columns(path: Path, names: list[str], classes: Sequence[str]) -> list[int]:
    column = {name: number for number, name in enumerate(names)}
    if missing := [name for name in classes if name not in column]:
        raise DataError(f"class scores {str(path)!r} have no class {missing[0]!r}: they belong to another data set")
    return [column[name] for name in classes]
