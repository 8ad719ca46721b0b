"""Runs of the page: folders that were named, each training run with the evaluations of its checkpoints."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from vision_suite.errors import ConfigError
from vision_suite.report.contents import METRICS, STAGES, RunContents, RunEvaluation, read_contents
from vision_suite.report.words import duration_text, shortened, time_of
from vision_suite.runs.folders import CHECKPOINTS
from vision_suite.runs.log import LOG
from vision_suite.runs.record import FAILED, FINISHED, RUNNING, process_identity
from vision_suite.runs.search import run_folders

Tone = Literal["good", "active", "bad", "plain"]
# Seeds, and settings that say where files go and how much is printed: runs that differ in nothing else differ only in
# the seed.
SEEDS = ("seed_everything", "data.seed")
PLACES = ("ckpt_path", "trainer.default_root_dir", "trainer.logger")
QUIET = ("trainer.enable_progress_bar", "trainer.enable_model_summary")


@dataclass(frozen=True)
class ReportedRun:
    """A run on the page.

    Attributes:
        number: Number from 1, which also chooses the colour.
        name: Name that tells the run from the others.
        contents: Contents of its folder.
        tests: Folders of further commands that evaluated its checkpoints.
    """

    number: int
    name: str
    contents: RunContents
    tests: tuple[RunContents, ...]

    @property
    def title(self) -> str:
        """Experiment of the run, else its name."""
        run = self.contents.run
        return shortened(run.experiment) if run is not None and run.experiment else self.name

    @property
    def folders(self) -> tuple[RunContents, ...]:
        """The run's folder, then those of its tests."""
        return self.contents, *self.tests

    @property
    def evaluations(self) -> list[tuple[RunContents, RunEvaluation]]:
        """Results with the folder that holds them."""
        return [(folder, found) for folder in self.folders for found in folder.evaluations]

    @property
    def status(self) -> tuple[str, Tone]:
        """State of the run in words, and how it is shown."""
        run = self.contents.run
        if run is None:
            return "no record", "bad"
        status, process = run.status, run.record.get("process")
        if status == "killed" and isinstance(process, dict) and process.get("host") != process_identity()["host"]:
            return "unfinished, or running on another machine", "bad"
        tones: dict[str, Tone] = {FINISHED: "good", RUNNING: "active"}
        known = status in (FINISHED, RUNNING, FAILED, "stopped", "killed", "unknown")
        return (status if known else "unknown"), tones.get(status, "bad")

    @property
    def badges(self) -> list[tuple[str, Tone]]:
        """Words on the state of the run, with their tones."""
        found = [self.status]
        if self.contents.trains and self.contents.parts > 1:
            found.append((f"resumed, {self.contents.parts} parts", "plain"))
        if not self.contents.trains and self.contents.run is not None:
            found.append(("no training in this folder", "plain"))
        if any(folder.faults for folder in self.folders):
            found.append(("damaged or incomplete", "bad"))
        return found

    @property
    def commands(self) -> list[list[str]]:
        """Words of the command lines, quoted for a shell, from the oldest to the newest."""
        lines = [record.get("command_line") for folder in self.folders for record in folder.records]
        return [[shlex.quote(shortened(word)) for word in line] for line in lines if isinstance(line, list) and line]

    @property
    def facts(self) -> dict[str, str]:
        """Position, times and seed of the newest record."""
        record = self.contents.newest
        starts = [time_of(each.get("started")) for each in self.contents.records]
        started = min((start for start in starts if start is not None), default=None)
        found = {"folder": shortened(self.contents.folder)}
        if (epoch := record.get("epoch")) is not None:
            found["position"] = f"epoch {shortened(epoch)}, step {shortened(record.get('step'))}"
        if started is not None:
            found["started"] = f"{started:%Y-%m-%d %H:%M} UTC"
        if durations := self._durations():
            found["duration"] = duration_text(sum(durations))
        if record.get("seed") is not None:
            found["seed"] = shortened(record["seed"])
        if isinstance(record.get("initialised_from"), str):
            found["weights from"] = shortened(record["initialised_from"])
        if self.tests:
            found["evaluated in"] = ", ".join(shortened(test.folder.name) for test in self.tests)
        return found

    def _durations(self) -> list[float]:
        """Seconds of each command that trained in the folder and came to an end."""
        spans: list[tuple[datetime | None, datetime | None]] = [
            (time_of(record.get("started")), time_of(record.get("ended"))) for record in self.contents.records
        ]
        return [(end - start).total_seconds() for start, end in spans if start is not None and end is not None]


def collect(paths: Sequence[Path]) -> list[ReportedRun]:
    """Read the runs of some folders.

    A folder of ``test`` or ``validate`` goes with the training run whose checkpoint it used, if that is among the
    folders; else it stands alone.

    Args:
        paths: Folders of runs, or folders that hold them.

    Raises:
        ConfigError: A folder does not exist, or holds no run.
    """
    contents = [read_contents(folder) for folder in _expanded(paths)]
    tests: dict[int, list[RunContents]] = {}
    alone = []
    for number, each in enumerate(contents):
        training = None if each.trains else _training_of(each, contents)
        if training is None:
            alone.append(number)
        else:
            tests.setdefault(training, []).append(each)
    names = _names([contents[number].folder for number in alone])
    return [
        ReportedRun(place + 1, name, contents[number], tuple(tests.get(number, ())))
        for place, (number, name) in enumerate(zip(alone, names, strict=True))
    ]


def varies_alone(key: str) -> bool:
    """True for a setting in which two runs may differ and yet differ only in the seed."""
    return key in (*SEEDS, *PLACES, *QUIET) or key.startswith("trainer.logger.")


def _training_of(test: RunContents, contents: Sequence[RunContents]) -> int | None:
    """Number of the training run whose checkpoint a command used; None if it is not there.

    In a copy of the folders, the paths of records lead nowhere: then the run beside the test is taken whose experiment
    and whose last two names are those of the record.
    """
    used = test.checkpoint
    if used is None or used.parent.name != CHECKPOINTS:
        return None
    folder = used.parent.parent
    places = {number: Path(os.path.realpath(each.folder)) for number, each in enumerate(contents) if each.trains}
    beside = Path(os.path.realpath(test.folder)).parent
    for number, place in places.items():
        if place == folder:
            return number
        same = contents[number].newest.get("experiment") == test.newest.get("experiment")
        if same and place.parent == beside and place.parts[-2:] == folder.parts[-2:] and not folder.exists():
            return number
    return None


def _expanded(paths: Sequence[Path]) -> list[Path]:
    """Folders of runs, each once, in the order given; those in one folder in the order of their numbers."""
    found: dict[str, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise ConfigError(f"{path} is no folder: name the folder of a run, such as runs/dcal/emoji_reid/version_0")
        inside = [path] if _is_run(path) else sorted(run_folders(path), key=_in_order)
        if not inside:
            raise ConfigError(f"{path} holds no run: name a folder with run.json and {LOG}, or one with such folders")
        for folder in inside:
            found.setdefault(os.path.realpath(folder), folder)
    return list(found.values())


def _is_run(folder: Path) -> bool:
    """True for a folder with any file of a run."""
    names = ("config.yaml", LOG, CHECKPOINTS, *(f"{stage}/{METRICS}" for stage in STAGES))
    return any((folder / name).exists() for name in names) or any(folder.glob("run*.json"))


def _in_order(folder: Path) -> list[tuple[int, str]]:
    """Key that sorts version_2 before version_10."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", str(folder))]


def _names(folders: Sequence[Path]) -> list[str]:
    """Names of folders: their paths without what all of them have in common."""
    full = [Path(os.path.abspath(folder)) for folder in folders]
    if len(full) == 1:
        return [shortened(full[0].name)]
    shared = Path(os.path.commonpath(full))
    return [shortened(path.relative_to(shared).as_posix()) for path in full]
