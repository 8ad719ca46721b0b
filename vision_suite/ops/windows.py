"""Windows over rows that arrive in pieces of any size."""

from __future__ import annotations

import numpy as np

from vision_suite.errors import ConfigError, DataError
from vision_suite.types.arrays import Floats32


class WindowCutter:
    """Cuts rows into windows that begin every ``stride`` rows, and one that ends with the last row.

    A window goes out as soon as a row behind it is known, so that the last one is told apart. Holds less than two
    windows and a piece.

    Args:
        length: Rows of a window; a shorter stream gives one shorter window.
        stride: Rows from one window to the next, at most ``length``.
    """

    def __init__(self, length: int, stride: int) -> None:
        if not 1 <= stride <= length:
            raise ConfigError(
                f"a window of {length} rows cannot move by {stride}: the overlap must be from 0 to below 1"
            )
        self.length, self.stride = length, stride
        self.count = 0
        self._held: Floats32 = np.zeros((0, 0), dtype=np.float32)
        self._first = self._start = 0

    def feed(self, rows: Floats32) -> list[tuple[int, Floats32]]:
        """Take rows (n, C); give the windows that are complete: first row and rows (length, C)."""
        out: list[tuple[int, Floats32]] = []
        self._held = np.concatenate([self._held, rows]) if len(self._held) else rows.copy()
        self.count += len(rows)
        while self._start + self.length < self.count:
            begin = self._start - self._first
            out.append((self._start, self._held[begin : begin + self.length].copy()))
            self._start += self.stride
        # The last window may begin anywhere behind the one before it.
        drop = min(self._start, self.count - self.length) - self._first
        if drop > 0:
            self._held, self._first = self._held[drop:].copy(), self._first + drop
        return out

    def close(self) -> tuple[int, Floats32]:
        """The window that ends with the last row.

        Raises:
            DataError: There was no row.
        """
        if not self.count:
            raise DataError("the stream ended without a row")
        begin = max(0, self.count - self.length)
        return begin, self._held[begin - self._first :]

    @property
    def held(self) -> int:
        """Rows held."""
        return len(self._held)
