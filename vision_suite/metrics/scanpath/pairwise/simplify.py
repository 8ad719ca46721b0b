"""Simplification of scanpaths for MultiMatch: small and nearly straight steps are merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vision_suite.errors import ConfigError
from vision_suite.types.arrays import Floats

LONGEST_SHORT = 10.0  # seconds, longer than fixations are; milliseconds are never guessed


@dataclass(frozen=True)
class Simplify:
    """Thresholds of MultiMatch's simplification, under the names of its authors.

    Papers on scanpath prediction do not simplify. Jarodzka, Holmqvist and Nyström (ETRA 2010) use 45 degrees, 0.3 s and
    a tenth of the screen's diagonal.

    Attributes:
        TDir: Degrees. Consecutive saccades at a smaller angle are merged if the fixation between them is short.
        TDur: Seconds below which a fixation is short.
        TAmp: Pixels. A shorter saccade is merged with the next one if the fixation at either of its ends is short.
    """

    TDir: float = 45.0
    TDur: float = 0.3
    TAmp: float = 100.0

    def __post_init__(self) -> None:
        """Refuse thresholds that are out of range, such as milliseconds."""
        if not 0 <= self.TDir <= 180:
            raise ConfigError(f"TDir={self.TDir:g} must be degrees, 0 to 180")
        if not 0 <= self.TDur <= LONGEST_SHORT:
            raise ConfigError(f"TDur={self.TDur:g} must be seconds, 0 to {LONGEST_SHORT:g}: 300 ms are 0.3")
        if not 0 <= self.TAmp < float("inf"):
            raise ConfigError(f"TAmp={self.TAmp:g} must be pixels, 0 or more")


def as_simplify(given: Simplify | Mapping[str, float] | Sequence[float] | None) -> Simplify | None:
    """Convert thresholds by name, or in the order of `Simplify`, to a `Simplify`.

    Raises:
        ConfigError: The thresholds have another form or are out of range.

    Example:
        >>> as_simplify({"TDir": 30.0})
        Simplify(TDir=30.0, TDur=0.3, TAmp=100.0)
        >>> as_simplify((30.0, 0.2))
        Simplify(TDir=30.0, TDur=0.2, TAmp=100.0)
    """
    if given is None or isinstance(given, Simplify):
        return given
    try:
        return Simplify(**given) if isinstance(given, Mapping) else Simplify(*given)
    except TypeError:
        raise ConfigError(
            f"simplify={given!r} is unknown: give Simplify(TDir=45, TDur=0.3, TAmp=100), a dictionary of these, or None"
        ) from None


def saccades_of(fixations: Floats, simplify: Simplify | None = None) -> Floats:
    """Saccades between the fixations of a scanpath.

    Simplification runs over directions, then amplitudes, until the number of fixations stays the same. Where the last
    saccade is short, multimatch_gaze 0.1.3 sets the saccade before to the sum of the last two of that pass, even if
    that one already was a merged saccade, and keeps one duration too many; done here too, so that numbers compare.

    Args:
        fixations: (n, 3) x, y in pixels, duration in seconds.
        simplify: Thresholds; None leaves the path unchanged.

    Returns:
        (max(n - 1, 0), 5) float64 start x, start y, dx, dy in pixels and the duration of the starting fixation.

    Example:
        >>> path = np.array([(0, 0, 0.4), (100, 0, 0.1), (200, 10, 0.4)])
        >>> saccades_of(path).tolist()
        [[0.0, 0.0, 100.0, 0.0, 0.4], [100.0, 0.0, 100.0, 10.0, 0.1]]
        >>> saccades_of(path, Simplify()).tolist()
        [[0.0, 0.0, 200.0, 10.0, 0.4]]
    """
    if len(fixations) < 2:
        return np.empty((0, 5))
    saccades = np.column_stack([fixations[:-1, :2], np.diff(fixations[:, :2], axis=0)])
    durations = fixations[:, 2]
    if simplify is not None:
        while True:
            before = len(durations)
            saccades, durations = _by_direction(saccades, durations, simplify)
            saccades, durations = _by_amplitude(saccades, durations, simplify)
            if len(durations) == before:
                break
    return np.column_stack([saccades, durations[: len(saccades)]])


def _by_direction(saccades: Floats, durations: Floats, limits: Simplify) -> tuple[Floats, Floats]:
    kept: list[Floats] = []
    times: list[float] = []
    index = 0
    while index < len(saccades):
        times.append(durations[index])
        near = False
        if index + 1 < len(saccades) and durations[index + 1] < limits.TDur:
            near = _angle(saccades[index, 2:], saccades[index + 1, 2:]) < limits.TDir
        kept.append(_merged(saccades, index) if near else saccades[index])
        index += 2 if near else 1
    return np.array(kept), np.array([*times, durations[-1]])


def _by_amplitude(saccades: Floats, durations: Floats, limits: Simplify) -> tuple[Floats, Floats]:
    kept: list[Floats] = []
    times: list[float] = []
    last = len(saccades) - 1
    index = 0
    while index <= last:
        small = np.hypot(*saccades[index, 2:]) < limits.TAmp
        if index < last:
            small &= min(durations[index], durations[index + 1]) < limits.TDur
            kept.append(_merged(saccades, index) if small else saccades[index])
            times.append(durations[index])
            index += 2 if small else 1
        else:
            small &= last > 0 and min(durations[-2], durations[-1]) < limits.TDur
            if small:
                kept[-1] = np.concatenate([kept[-1][:2], saccades[-2, 2:] + saccades[-1, 2:]])
            else:
                kept.append(saccades[index])
            times.append(durations[index - 1 if small else index])
            index += 1
    return np.array(kept), np.array([*times, durations[-1]])


def _merged(saccades: Floats, index: int) -> Floats:
    return np.concatenate([saccades[index, :2], saccades[index, 2:] + saccades[index + 1, 2:]])


def _angle(first: Floats, second: Floats) -> float:
    """Degrees between two vectors; NaN, which is below no threshold, if one has no length."""
    lengths = float(np.hypot(*first) * np.hypot(*second))
    if lengths == 0:
        return float("nan")
    return float(np.degrees(np.arccos(np.clip(first @ second / lengths, -1, 1))))
