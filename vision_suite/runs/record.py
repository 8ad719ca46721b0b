"""Record of a run, ``run.json``: written while the run goes on, and read by whoever continues or evaluates it.

A command that goes on in the folder of an earlier one writes ``run-2.json`` and ``config-2.yaml`` (then ``-3``, ...),
so that no record is lost. The newest record of ``fit`` tells the state of the run.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vision_suite.drafts import write_whole
from vision_suite.runs.folders import CHECKPOINTS, LAST

FIT = "fit"
FINISHED, FAILED, RUNNING, STOPPED = "finished", "failed", "running", "stopped"


@dataclass(frozen=True)
class Run:
    """A run as its folder tells it.

    Attributes:
        folder: Folder of the run.
        started: Time of the start in ISO format, or of the last change where no record tells it; sorts by time.
        record: Newest record of ``fit``, empty for a folder without records.
        number: Number of that record; 1 for ``run.json``.
    """

    folder: Path
    started: str
    record: Mapping[str, Any] = field(default_factory=dict)
    number: int = 1

    @property
    def experiment(self) -> str | None:
        """Name of the packaged configuration, or full path of the file; None for a run of an earlier version."""
        found = self.record.get("experiment")
        return found if isinstance(found, str) else None

    @property
    def status(self) -> str:
        """``running``, ``finished``, ``stopped`` or ``failed``; ``killed`` if the process is gone without a word."""
        status = self.record.get("status")
        if not isinstance(status, str):
            return "unknown"
        return "killed" if status == RUNNING and not self.is_alive else status

    @property
    def is_alive(self) -> bool:
        """True while the process that writes the record runs on this machine; False too where that cannot be known."""
        process = self.record.get("process")
        if self.record.get("status") != RUNNING or not isinstance(process, Mapping):
            return False
        return process == process_identity(process.get("pid"))

    @property
    def config(self) -> Path | None:
        """The run's own configuration, None if it is missing."""
        path = self.folder / f"config{suffix(self.number)}.yaml"
        return path if path.is_file() else None

    @property
    def best(self) -> Path | None:
        """Checkpoint of the best monitored value, None if the record names none."""
        name = self.record.get("best")
        return self.folder / name if isinstance(name, str) else None

    def checkpoints(self) -> list[Path]:
        """Checkpoint files: the recorded last one, ``last.ckpt``, then the others from the newest to the oldest."""
        folder = self.folder / CHECKPOINTS
        recorded = self.record.get("checkpoint") if "command_line" in self.record else None
        first = [self.folder / recorded] if isinstance(recorded, str) else []
        others = sorted(folder.glob("*.ckpt"), key=lambda path: (path.name == LAST, _time_of(path)))
        return [path for path in dict.fromkeys([*first, *reversed(others)]) if path.exists()]

    def __str__(self) -> str:
        """Folder and state, for messages."""
        epoch = self.record.get("epoch")
        where = f", epoch {epoch}" if isinstance(epoch, int) else ""
        return f"{self.folder} ({self.status}{where})"


class RunFile:
    """The record of a run that goes on: ``run.json`` and ``config.yaml``, under the next free number in the folder.

    Args:
        folder: Folder of the run; it must exist.
        record: Contents of the record, in plain containers.
        config: Contents of the configuration file.

    Attributes:
        record: The record as it was last written.
    """

    def __init__(self, folder: Path, record: Mapping[str, Any], config: str) -> None:
        self.folder, self.record = folder, dict(record)
        number = free_number(folder)
        self._path = folder / f"run{suffix(number)}.json"
        write_whole(folder / f"config{suffix(number)}.yaml", config)
        self.update({})

    def update(self, entries: Mapping[str, Any]) -> None:
        """Change entries and write the record; the file holds the old or the new record at any moment.

        A record of how a run ended must not hide why it ended: on a full disk the file stays as it is then.
        """
        self.record |= entries
        try:
            write_whole(self._path, json.dumps(self.record, indent=2) + "\n")
        except OSError:
            if self.record["status"] not in (FAILED, STOPPED):
                raise

    def relative(self, path: Path) -> str:
        """A path as the record holds it: below the run's folder, or in full if it lies elsewhere."""
        full, folder = Path(os.path.abspath(path)), Path(os.path.abspath(self.folder))
        return full.relative_to(folder).as_posix() if full.is_relative_to(folder) else str(full)


def read_run(folder: Path, command: str | None = FIT) -> Run | None:
    """Read the run that trained in a folder; None if the folder holds no training run.

    A folder counts as a training run if it holds a record of ``fit``, or if it holds ``checkpoints/last.ckpt`` and no
    record at all. A record that is torn or no JSON counts as missing.

    Args:
        folder: Folder of the run.
        command: Command whose records count; None for any.
    """
    records = {number: record for number, record in read_records(folder).items() if record is not None}
    fits = [number for number, record in records.items() if command in (None, command_of(record))]
    if fits:
        newest = records[max(fits)]
        return Run(folder, str(newest.get("started", "")), newest, max(fits))
    last = folder / CHECKPOINTS / LAST
    if not records and last.is_file():
        return Run(folder, _iso(last.stat().st_mtime))
    return None


def read_records(folder: Path) -> dict[int, dict[str, Any] | None]:
    """The records of a folder by number, in order; None for one that is torn or no JSON."""
    return {number: _load(path) for number, path in sorted(_record_files(folder).items())}


def command_of(record: Mapping[str, Any]) -> object:
    """The command of a record; earlier versions called it the stage, and kept the command line under ``command``."""
    return record.get("stage", record.get("command"))


def suffix(number: int) -> str:
    """Ending of the names of a record's files: nothing for the first, then ``-2``, ``-3``, ..."""
    return "" if number == 1 else f"-{number}"


def free_number(folder: Path) -> int:
    """The first number whose record and configuration do not exist yet in a folder."""
    number = 1
    while any((folder / name).exists() for name in (f"config{suffix(number)}.yaml", f"run{suffix(number)}.json")):
        number += 1
    return number


def process_identity(pid: object = None) -> dict[str, object]:
    """Identity of a process: machine, number, and start in clock ticks, which tells it from a later one of that number.

    Args:
        pid: Number of the process; that of this one if None.
    """
    number = os.getpid() if pid is None else pid
    try:
        text = Path(f"/proc/{number}/stat").read_text(encoding="utf-8")
        start: str | None = text.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        start = None
    return {"host": socket.gethostname(), "pid": number, "start": start}


def _record_files(folder: Path) -> dict[int, Path]:
    """The record files of a folder by number."""
    found = {path: re.fullmatch(r"run(?:-(\d+))?", path.stem) for path in folder.glob("run*.json")}
    return {int(match.group(1) or 1): path for path, match in found.items() if match is not None}


def _load(path: Path) -> dict[str, Any] | None:
    try:
        # Reading a pipe would wait for ever.
        record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _time_of(path: Path) -> int:
    """Time of the last change; 0 for a file that is gone, or a link to nowhere."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _iso(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


def slurm_job() -> str | None:
    """Number of the SLURM job, that of an array job with its task; None outside SLURM."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")
