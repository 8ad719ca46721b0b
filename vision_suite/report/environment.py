"""Environment of a run as its record tells it: code, packages, hardware, data."""

from __future__ import annotations

from vision_suite.report.contents import RunContents
from vision_suite.report.words import described
from vision_suite.runs.settings import flattened

KEYS = ("vision_suite", "git", "python", "packages", "hardware", "processes", "precision", "slurm_job", "data")


def environment(contents: RunContents) -> dict[str, str]:
    """Entries of a run's newest record, flattened, as text; empty without a record."""
    try:
        return described(flattened({key: contents.newest[key] for key in KEYS if contents.newest.get(key) is not None}))
    except RecursionError:
        return {}
