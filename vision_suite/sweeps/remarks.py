"""Remarks on what is right in a sweep's file and may still surprise: one line each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from vision_suite.sweeps.settings import SweepFile
from vision_suite.sweeps.space import key_of


def remarks(sweep: SweepFile, file: Path) -> Iterator[str]:
    """Remarks on a sweep.

    Args:
        sweep: The sweep.
        file: Its file.
    """
    for parameter in sweep.parameters:
        given, where = parameter.settings, f"parameters.{parameter.name}"
        if "q" in given and "min" in given:
            ends = [value for value in (parameter.at(0.0), parameter.at(1.0)) if not _inside(value, given)]
            if ends:
                yield f"{where}: quantised draws reach {' and '.join(f'{end:g}' for end in ends)}, outside [min, max]"
        if "values" in given:
            seen: dict[tuple[str, ...], Any] = {}
            for value in given["values"]:
                if (form := key_of(value)) in seen:
                    yield f"{where}: {value!r} repeats {seen[form]!r} and counts once in a grid"
                seen.setdefault(form, value)
    try:
        theirs = yaml.safe_load(file.read_text(encoding="utf-8"))
    except ValueError as error:
        yield f"'wandb sweep' cannot read the file ({error}): put the value in quotes"
        return
    for key, value in _texts(theirs, sweep.contents):
        yield f"{key}: 'wandb sweep' reads {value} as text: write {float(value)!r}, with a point"


def _inside(value: float, given: Any) -> bool:
    return bool(given["min"] <= value <= given["max"])


def _texts(theirs: Any, ours: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Numbers such as 1e-3 that YAML 1.1, which W&B reads, takes as text."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name, value in ours.items():
            yield from _texts(theirs.get(name), value, f"{key}.{name}" if key else str(name))
    elif isinstance(ours, list) and isinstance(theirs, list):
        for first, second in zip(theirs, ours, strict=False):
            yield from _texts(first, second, key)
    elif isinstance(ours, float) and isinstance(theirs, str):
        yield key, theirs
