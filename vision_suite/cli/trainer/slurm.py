"""Requeueing a SLURM job whose time is up: ``sbatch --signal=USR1@120``."""

from __future__ import annotations

import os
import subprocess

from vision_suite.cli.ends import rank
from vision_suite.errors import Stopped

INTERACTIVE = ("bash", "interactive")
TIMEOUT_SECONDS = 60


def job() -> str | None:
    """Id of the batch job that this process belongs to, ``<array>_<task>`` for a task of an array; None outside one."""
    environment = os.environ
    if "SLURM_JOB_ID" not in environment or environment.get("SLURM_JOB_NAME") in INTERACTIVE:
        return None
    if "SLURM_ARRAY_JOB_ID" in environment and "SLURM_ARRAY_TASK_ID" in environment:
        return f"{environment['SLURM_ARRAY_JOB_ID']}_{environment['SLURM_ARRAY_TASK_ID']}"
    return environment["SLURM_JOB_ID"]


def requeue(stopped: Stopped) -> None:
    """Requeue the job once in a group of processes, and note the outcome on the exception.

    Args:
        stopped: Exception that ends the command.
    """
    number = job()
    if stopped.signal.name != "SIGUSR1" or number is None or rank() != 0:
        return
    command = ["scontrol", "requeue", number]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    else:
        if done.returncode == 0:
            stopped.add_note(f"SLURM job {number} is requeued")
            return
        reason = f"status {done.returncode}: {done.stderr.strip() or done.stdout.strip()}"
    stopped.add_note(f"SLURM job {number} could not be requeued ({reason}): run {' '.join(command)}")
