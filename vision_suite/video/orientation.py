"""Turning and mirroring of decoded pictures, as the container's display matrix says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from av import VideoFrame

Pixels = npt.NDArray[np.uint8]
Matrix = tuple[int, int, int, int]  # a, b, c, d


def display_matrix(frame: VideoFrame) -> Matrix | None:
    """Linear part (a, b, c, d) of a frame's display matrix, None if it has none.

    The matrix takes a stored pixel (x right, y down) to (a x + c y, b x + d y) of the shown picture, up to a shift.
    """
    from av.sidedata.sidedata import Type

    entries: Any = frame.side_data  # whose annotation knows no keys of this type
    found = entries.get(Type.DISPLAYMATRIX)
    if found is None:
        return None
    a, b, _, c, d, *_ = np.frombuffer(bytes(found), dtype=np.int32).tolist()
    return a, b, c, d


def upright(pixels: Pixels, matrix: Matrix | None) -> Pixels:
    """The picture (H, W, 3) as it is meant to be seen; (W, H, 3) after a quarter turn.

    Angles are rounded to quarter turns. A matrix of zeros changes nothing.

    Args:
        pixels: The decoded picture.
        matrix: Its display matrix.
    """
    if matrix is None or not any(matrix):
        return pixels
    a, b, c, d = matrix
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels, across, down = pixels.transpose(1, 0, 2), c, b
    else:
        across, down = a, d
    return np.ascontiguousarray(pixels[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])
