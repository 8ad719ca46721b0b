"""Process between a sweep and the command of a trial: it ends whatever the trial started, and keeps its exit status.

Run as a script with the standard library alone: ``python -I -S keeper.py PIPE FOLDER ATTEMPT COMMAND...``. The sweep
holds the other end of the pipe. When the sweep is gone, by any signal, the pipe closes and the keeper kills the trial
with all its children; a byte in the pipe asks the trial to end. The exit status of a trial is on the disk before the
sweep can know it, so that a sweep which is killed at that moment finds it later.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time

GRACE = 30.0  # seconds from SIGTERM to SIGKILL
POLL = 0.05
ALIVE, EXIT = "keeper.json", "exit.json"
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
NOT_STARTED = 127


def main(pipe: int, folder: str, attempt: int, command: list[str]) -> None:
    """Run a command and record its end."""
    _control(PR_SET_CHILD_SUBREAPER, 1)
    _write(folder, ALIVE, {"attempt": attempt, "pid": os.getpid(), "start": _start_of(os.getpid())})
    os.set_inheritable(pipe, False)
    keeper = os.getpid()

    def tied() -> None:
        _control(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:  # it died before the call
            os._exit(NOT_STARTED)

    try:
        child = subprocess.Popen(
            command, start_new_session=True, preexec_fn=tied, stdin=subprocess.DEVNULL, close_fds=True
        )
    except OSError as error:
        _write(folder, EXIT, {"attempt": attempt, "status": NOT_STARTED, "reason": f"{command[0]}: {error.strerror}"})
        return
    status, alone = _watch(child, pipe)
    _end_rest(child.pid)
    if not (alone and status != 0):  # killed because the sweep is gone: the trial has no end of its own
        _write(folder, EXIT, {"attempt": attempt, "status": status, "reason": ""})
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(folder, ALIVE))


def _watch(child: subprocess.Popen[bytes], pipe: int) -> tuple[int, bool]:
    """Wait for the end of the child: its status, and whether the sweep is gone."""
    deadline = None
    while (status := child.poll()) is None:
        ready, _, _ = select.select([pipe], [], [], POLL)
        if ready:
            if not os.read(pipe, 1):
                _kill(child.pid, signal.SIGKILL)
                return child.wait(), True
            if deadline is None:
                deadline = time.monotonic() + GRACE
                _kill(child.pid, signal.SIGTERM)
        if deadline is not None and time.monotonic() > deadline:
            _kill(child.pid, signal.SIGKILL)
    return status, False


def _end_rest(group: int) -> None:
    """Kill what is left of the trial: its group, and descendants that left the group, which are children here now."""
    _kill(group, signal.SIGKILL)
    for _ in range(100):
        for pid in _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            return
        time.sleep(0.01)


def _children() -> list[int]:
    try:
        with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def _kill(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _control(option: int, value: int) -> None:
    """Ask Linux for a setting of this process; elsewhere the pipe alone watches."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _start_of(pid: int) -> str | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _write(folder: str, name: str, record: dict[str, object]) -> None:
    path = os.path.join(folder, name)
    with open(f"{path}.draft", "w", encoding="utf-8") as file:
        json.dump(record, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.draft", path)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:])
