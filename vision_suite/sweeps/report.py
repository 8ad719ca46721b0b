"""Table and parallel coordinates of a sweep, from its events."""

from __future__ import annotations

from pathlib import Path

from vision_suite.drafts import drafted
from vision_suite.sweeps.events import TrialEvents
from vision_suite.sweeps.settings import SweepFile
from vision_suite.sweeps.table import PICTURE, value_of, write_tables


def write_report(sweep: SweepFile, events: TrialEvents, folder: Path) -> str:
    """Write ``table.csv``, ``table.md`` and, where a metric is named, ``parallel.png``; return the table.

    Args:
        sweep: The sweep.
        events: Its history.
        folder: Its folder.
    """
    table = write_tables(sweep, events, folder)
    trials = list(events.trials.values())
    if sweep.metric is not None and any(value_of(sweep, trial) is not None for trial in trials):
        from vision_suite.viz.parallel import parallel_picture

        searched = [parameter for parameter in sweep.parameters if not parameter.is_constant]
        picture = parallel_picture(
            [parameter.name for parameter in searched],
            [[parameter.of(trial.args) for trial in trials] for parameter in searched],
            [value_of(sweep, trial) for trial in trials],
            metric=sweep.metric.name,
            maximise=sweep.metric.goal == "maximize",
            title=f"{sweep.name}: {len(trials)} trials, {sweep.method}",
            logarithmic=[parameter.name for parameter in searched if parameter.is_logarithmic],
        )
        with drafted(folder / PICTURE) as draft:
            picture.save(draft, format="PNG")
    return table
