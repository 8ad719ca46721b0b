"""``trials.jsonl``, the only truth of a sweep: one line an event, and the trials as the events tell them.

Events are ``sweep`` (settings of the command), ``propose``, ``start``, ``value`` and ``end``. What the file does not
say has not happened: a trial that was started and has no end was interrupted with the sweep, and goes on with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vision_suite.errors import DataError
from vision_suite.runs.trial_log import append_line

PENDING, RUNNING, FINISHED = "pending", "running", "finished"
FAILED, PREEMPTED, STOPPED = "failed", "preempted", "stopped"
ENDED = (FINISHED, FAILED, STOPPED)
LOG = "trials.jsonl"


@dataclass
class SweepTrial:
    """One trial.

    Attributes:
        number: Its number, from 1.
        args: Arguments of its command by name.
        unit: Place of its searched parameters in the unit cube, None for a point of a grid.
        state: One of the states above.
        values: Logged values of the metric by step, None for one that is not finite.
        attempts: Number of starts.
        failures: Number of ends as ``failed``.
        status: Exit status of the last end, None before it.
        reason: Reason of the last end.
        epoch: Greatest epoch at an end as ``preempted``.
        stuck: Ends as ``preempted`` in a row without a new epoch.
    """

    number: int
    args: dict[str, Any]
    unit: list[float] | None = None
    state: str = PENDING
    values: dict[int, float | None] = field(default_factory=dict)
    attempts: int = 0
    failures: int = 0
    status: int | None = None
    reason: str = ""
    epoch: int = -1
    stuck: int = 0

    @property
    def history(self) -> list[float]:
        """Finite values in the order of their steps."""
        return [value for _, value in sorted(self.values.items()) if value is not None]

    @property
    def folder(self) -> str:
        """Name of its folder below that of the sweep."""
        return f"trial-{self.number:04d}"


class TrialEvents:
    """The events of a sweep.

    A line that was torn by a kill is dropped when the file is opened.

    Args:
        path: File ``trials.jsonl``; made with the first event.
        read_only: Leave a torn line where it is: another process may be writing it.

    Attributes:
        settings: Settings that ``sweep`` events hold, later ones winning.
        trials: Trials by number.
        order: Numbers of ended trials in the order of their ends.
        dropped: Bytes of a torn last line that were dropped.

    Raises:
        DataError: A line is no event.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self.settings: dict[str, Any] = {}
        self.trials: dict[int, SweepTrial] = {}
        self.order: list[int] = []
        self.dropped = 0
        if path.is_file():
            self._read(read_only)

    def add(self, event: str, **entries: Any) -> None:
        """Append an event; it is on the disk when this returns."""
        line = {"event": event, **entries}
        append_line(self.path, json.dumps(line))
        self._fold(line)

    def _read(self, read_only: bool) -> None:
        raw = self.path.read_bytes()
        whole = raw.rfind(b"\n") + 1
        lines = raw[:whole].splitlines()
        self.dropped = len(raw) - whole
        for number, line in enumerate(lines, start=1):
            try:
                self._fold(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise DataError(
                    f"{self.path}:{number}: this line is no event of a sweep ({type(error).__name__}): remove it"
                ) from error
        if self.dropped and not read_only:
            with self.path.open("r+b") as file:
                file.truncate(whole)

    def _fold(self, line: Mapping[str, Any]) -> None:
        """Bring the trials up to date with an event."""
        event = line["event"]
        if event == "sweep":
            self.settings |= {name: value for name, value in line.items() if name != "event" and value is not None}
            return
        number = line["trial"]
        if event == "propose":
            self.trials[number] = SweepTrial(number, dict(line["args"]), line.get("unit"))
            return
        trial = self.trials[number]
        if event == "start":
            trial.state, trial.attempts = RUNNING, line["attempt"]
            if not line["resumes"]:
                trial.values.clear()
        elif event == "value":
            trial.values[line["step"]] = line["value"]
        elif event == "end":
            self._end(trial, line)
        else:
            raise ValueError(event)

    def _end(self, trial: SweepTrial, line: Mapping[str, Any]) -> None:
        trial.state, trial.status, trial.reason = line["state"], line["status"], line.get("reason", "")
        if trial.state == PREEMPTED:
            further = line["epoch"] > trial.epoch
            trial.stuck = 0 if further else trial.stuck + 1
            trial.epoch = max(trial.epoch, line["epoch"])
        if trial.state == FAILED:
            trial.failures += 1
            if line.get("again"):
                trial.state = PENDING
        if trial.state in ENDED:
            self.order.append(trial.number)
