"""Feature widths that grouped convolutions can divide."""

from __future__ import annotations

import numpy as np

from vision_suite.types.arrays import Floats32

GROUPS = 4  # of the detectors' first convolutions


def padded_width(channels: int) -> int:
    """The smallest multiple of `GROUPS` that is at least ``channels``."""
    return channels + -channels % GROUPS


def pad_channels(rows: Floats32) -> Floats32:
    """Rows (L, C) with columns of zeros behind them, up to `padded_width`."""
    out = np.zeros((len(rows), padded_width(rows.shape[1])), dtype=np.float32)
    out[:, : rows.shape[1]] = rows
    return out
