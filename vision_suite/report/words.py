"""Text on the page: values, names and times, each printable and of bounded length."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime

from vision_suite.viz.canvas import ELLIPSIS, printable

LONGEST = 400  # characters of a value; names of files and metrics have 255 at the most
READ_AS_OTHERS = ("", "null", "true", "false", "~")
NOTHING = "-"
WHOLE = 10**9  # below it, whole numbers are written in full


def shortened(value: object, longest: int = LONGEST) -> str:
    """Text of anything in one line; the middle of a longer one is left out."""
    try:
        text = value if isinstance(value, str) else str(value)
    except RecursionError:
        text = ELLIPSIS  # nested too deeply
    if len(text) > longest:
        text = text[: longest // 2] + ELLIPSIS + text[len(text) - longest // 2 + 1 :]
    return printable(text)


def described(flat: Mapping[str, object]) -> dict[str, str]:
    """Flattened settings as text.

    Raises:
        RecursionError: A value is nested too deeply.
    """
    return {shortened(key): value_text(value) for key, value in flat.items()}


def value_text(value: object) -> str:
    """A setting as configuration files write it, so that the text ``1`` and the number 1 differ."""
    if isinstance(value, str):
        return shortened(json.dumps(value) if _reads_as_another(value) else value)
    if isinstance(value, float):
        return f"{value:.15g}"
    return shortened(json.dumps(value, ensure_ascii=False, default=str))


def number_text(value: float) -> str:
    """A metric with four significant digits; a whole number as it is."""
    if not math.isfinite(value):
        return NOTHING if math.isnan(value) else f"{value}"
    return f"{value:.0f}" if value == int(value) and abs(value) < WHOLE else f"{value:#.4g}"


def spread_text(mean: float, deviation: float) -> str:
    """A mean and a standard deviation: the deviation with two digits, the mean to the same place."""
    if not math.isfinite(mean) or not math.isfinite(deviation):
        return NOTHING
    if deviation == 0:
        return f"{mean:.4g} ± 0"
    places = min(max(1 - math.floor(math.log10(deviation)), 0), 9)
    if deviation < 1e-6 * abs(mean) or abs(mean) >= 1e6 or 0 < abs(mean) < 1e-4:
        return f"{mean:.4g} ± {deviation:.2g}"
    return f"{mean:.{places}f} ± {deviation:.{places}f}"


def time_of(value: object) -> datetime | None:
    """The moment of an entry in ISO format; None for anything else."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        return None if moment is None else moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def duration_text(seconds: float) -> str:
    """A duration in its two largest units."""
    rest = max(round(seconds), 0)
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def _reads_as_another(text: str) -> bool:
    """True for a text that a configuration file would read as a number or a word of its own."""
    try:
        float(text)
    except ValueError:
        return text in READ_AS_OTHERS
    return True
