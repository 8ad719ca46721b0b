"""Start of a trial: its folder, its environment, its command, and the keeper that ends it with the sweep."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vision_suite.drafts import write_whole
from vision_suite.runs.record import process_identity, read_run
from vision_suite.runs.trial_log import NAME, VARIABLE
from vision_suite.sweeps import keeper
from vision_suite.sweeps.command import expand, here, trainer_options
from vision_suite.sweeps.events import SweepTrial
from vision_suite.sweeps.settings import SweepFile

OUTPUT, ARGS = "output.log", "args.json"
GONE_SECONDS = 60.0
KILLED = -9


@dataclass(frozen=True)
class TrialSlot:
    """Share of the machine that one trial gets.

    Attributes:
        index: Its number.
        environment: Variables of the trial.
    """

    index: int
    environment: Mapping[str, str]


class TrialEnd(NamedTuple):
    """End of a trial's attempt.

    Attributes:
        status: Exit status, negative for a signal.
        reason: Reason where the status is not the trial's own.
        stopped: The trial was asked to end early before it did.
    """

    status: int
    reason: str = ""
    stopped: bool = False


@dataclass
class TrialChild:
    """A trial that runs.

    Attributes:
        number: Number of the trial.
        attempt: Number of its start.
        folder: Folder of the trial.
        slot: Its share of the machine.
        asked: Word with which it was asked to end, see `vision_suite.sweeps.keeper`.
    """

    number: int
    attempt: int
    folder: Path
    slot: TrialSlot
    process: subprocess.Popen[bytes]
    pipe: int
    asked: bytes | None = None

    def ask_to_end(self, word: bytes = keeper.STOP) -> None:
        """Send SIGTERM to the trial, and SIGKILL half a minute later if it still runs; once.

        Args:
            word: ``STOP``, or ``LEAVE`` for a trial that goes on with the sweep later.
        """
        if self.asked is None:
            with contextlib.suppress(BrokenPipeError):  # it has just ended
                os.write(self.pipe, word)
                self.asked = word

    def ended(self) -> TrialEnd | None:
        """The end of the trial; None while it runs."""
        if self.process.poll() is None:
            return None
        os.close(self.pipe)
        found = exit_of(self.folder, self.attempt)
        if found is None:  # the keeper was killed, and what it looked after are children of this process now
            keeper.end_children(f"{VARIABLE}={self.folder.absolute() / NAME}")
            found = TrialEnd(KILLED, "killed together with its keeper", self.asked == keeper.STOP)
        return found


def slots(count: int, devices: Sequence[str], per_trial: int) -> list[TrialSlot]:
    """Shares of the machine: groups of devices, or equal parts of the cores.

    Args:
        count: Number of trials at once where there are no devices.
        devices: Numbers or names of devices.
        per_trial: Devices of one trial.
    """
    if devices:
        groups = [devices[start : start + per_trial] for start in range(0, len(devices), per_trial)]
        return [
            TrialSlot(index, {"CUDA_VISIBLE_DEVICES": ",".join(group)})
            for index, group in enumerate(groups)
            if len(group) == per_trial
        ]
    threads = max(1, (os.cpu_count() or 1) // count)
    environment = {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": str(threads)}
    return [TrialSlot(index, environment) for index in range(count)]


def prepare_folder(folder: Path, trial: SweepTrial, words: Sequence[str]) -> bool:
    """Bring a trial's folder into the state from which it starts; True if it goes on from a checkpoint.

    Args:
        folder: Folder of the trial.
        trial: The trial.
        words: Its command.
    """
    wait_until_gone(folder)
    if trial.failures and folder.exists():
        aside = folder.with_name(f"{folder.name}-failed-{trial.failures}")
        if not aside.exists():
            folder.rename(aside)
    folder.mkdir(parents=True, exist_ok=True)
    run = read_run(folder) if trainer_options(words) is not None else None
    resumes = run is not None and bool(run.checkpoints())
    if not resumes:
        (folder / NAME).unlink(missing_ok=True)
    (folder / keeper.EXIT).unlink(missing_ok=True)
    write_whole(folder / ARGS, json.dumps(trial.args))
    return resumes


def words_of(sweep: SweepFile, args: Mapping[str, Any], folder: Path) -> list[str]:
    """The command of a trial.

    Args:
        sweep: The sweep.
        args: Arguments of the trial.
        folder: Folder of the trial, which holds the file of ``${args_json_file}``.
    """
    return expand(sweep.command, args, program=sweep.program, json_file=folder / ARGS)


def environment_of(folder: Path, slot: TrialSlot) -> dict[str, str]:
    """Variables of a trial: those of the sweep, its log, its share of the machine, and W&B offline unless told else."""
    return {"WANDB_MODE": "offline", **os.environ, **slot.environment, VARIABLE: str(folder.absolute() / NAME)}


def launch(
    folder: Path, number: int, attempt: int, words: Sequence[str], slot: TrialSlot, working: Path | None = None
) -> TrialChild:
    """Start a trial under a keeper.

    Args:
        folder: Folder of the trial, prepared.
        number: Number of the trial.
        attempt: Number of this start.
        words: Its command.
        slot: Its share of the machine.
        working: Working folder of the command, None for that of this process.
    """
    keeper.adopt_orphans()
    reading, writing = os.pipe()
    given = [str(reading), str(folder.absolute()), str(attempt), str(keeper.GRACE)]
    script = [sys.executable, "-I", "-S", keeper.__file__, *given]
    with (folder / OUTPUT).open("ab") as output:
        process = subprocess.Popen(
            [*script, *here(words)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment_of(folder, slot),
            cwd=working,
            pass_fds=[reading],
            start_new_session=True,
        )
    os.close(reading)
    return TrialChild(number, attempt, folder, slot, process, writing)


def exit_of(folder: Path, attempt: int) -> TrialEnd | None:
    """End of a trial's attempt as its keeper wrote it; None if the trial had no end of its own."""
    found = _read(folder / keeper.EXIT)
    if found.get("attempt") != attempt or not isinstance(found.get("status"), int):
        return None
    return TrialEnd(found["status"], str(found.get("reason", "")), found.get("stopped") is True)


def wait_until_gone(folder: Path) -> None:
    """Wait for the keeper of an earlier sweep, which ends its trial within moments of the sweep's end."""
    found = _read(folder / keeper.ALIVE)
    deadline = time.monotonic() + GONE_SECONDS
    while found and time.monotonic() < deadline:
        now = process_identity(found.get("pid"))
        if now["start"] is None or now["start"] != found.get("start"):
            return
        time.sleep(0.05)


def last_words(folder: Path) -> str:
    """The last line that a trial printed."""
    try:
        with (folder / OUTPUT).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")[:500]


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
