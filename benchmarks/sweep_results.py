"""Table and picture of a sweep for the results pages, with hardware, seeds and commit.

The sweep itself is a command of the suite, here that of OAT on OneStop-mini:

    vision-suite data prepare onestop-mini
    vision-suite sweep run sweeps/oat --slots 2
    python benchmarks/sweep_results.py runs/sweeps/oat

Writes docs/results/sweep_<name>.md, .json and .png. The page tells the commit of this script and those of the trials.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markdown import table
from results import describe_run, git_commit, write_results

from vision_suite.runs.record import Run, read_run
from vision_suite.sweeps.events import LOG, TrialEvents
from vision_suite.sweeps.folder import STORED
from vision_suite.sweeps.report import write_report
from vision_suite.sweeps.settings import SweepFile, folder_name, read_sweep
from vision_suite.sweeps.table import PICTURE, rows, shown

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"


def commits(runs: Sequence[Run]) -> list[str]:
    """Commits with which trials were trained, each once."""
    found = [run.record.get("git") or {} for run in runs]
    names = [f"{str(each.get('commit'))[:12]}{' with changes' if each.get('dirty') else ''}" for each in found]
    return list(dict.fromkeys(names))


def facts(sweep: SweepFile, events: TrialEvents, runs: Sequence[Run]) -> str:
    """Commands, seeds and commit for a repetition, as a Markdown list."""
    seeds = sorted({str(run.record.get("seed")) for run in runs})
    states = [trial.state for trial in events.trials.values()]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return "\n".join(
        [
            f"- sweep: {sweep.method}, seed of the proposals {events.settings.get('seed')}",
            f"- command of a trial: `{' '.join(sweep.command)}`",
            f"- trials: {counted}; seed of each training {', '.join(seeds) or 'not told'}",
            f"- trained at commit: {', '.join(commits(runs)) or 'not told'}",
        ]
    )


def records(heads: list[str], found: list[list[Any]]) -> list[dict[str, object]]:
    """The table as records."""
    return [dict(zip(heads, row, strict=True)) for row in found]


def write_page(folder: Path, target: Path) -> Path:
    """Write the page of a sweep.

    Args:
        folder: Folder of the sweep.
        target: Folder of the results pages.

    Returns:
        The page.
    """
    sweep, events = read_sweep(folder / STORED), TrialEvents(folder / LOG, read_only=True)
    write_report(sweep, events, folder)
    found = [read_run(folder / trial.folder) for trial in events.trials.values()]
    runs = [run for run in found if run is not None]
    stem = target / f"sweep_{folder_name(sweep.name)}"
    heads, cells = rows(sweep, events)
    page = "\n".join(table(heads, [[shown(cell) for cell in row] for row in cells]))
    picture = ""
    if (folder / PICTURE).is_file():
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / PICTURE, stem.with_suffix(".png"))
        picture = f"\n\n![Parallel coordinates of the trials, darker lines are better]({stem.name}.png)"
    note = f"{facts(sweep, events, runs)}\n\n{sweep.contents.get('description', '')}. Best first."
    write_results(stem, f"Sweep {sweep.name}", note, page + picture, records(heads, cells), describe_run())
    return stem.with_suffix(".md")


def main() -> None:
    """Write the page of the sweep that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the sweep, such as runs/sweeps/oat")
    print(f"{write_page(parser.parse_args().folder, RESULTS)} at {git_commit()}")


if __name__ == "__main__":
    main()
