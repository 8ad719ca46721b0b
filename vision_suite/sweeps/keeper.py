"""Process between a sweep and the command of a trial: it ends whatever the trial started, and keeps its exit status.

Run as a script with the standard library alone: ``python -I -S keeper.py PIPE FOLDER ATTEMPT GRACE COMMAND...``. The
sweep holds the other end of the pipe. When the sweep is gone, by any signal, the pipe closes and the keeper kills the
trial with all its children; a byte in the pipe asks the trial to end. The exit status of a trial is on the disk before
the sweep can know it, so that a sweep which is killed at that moment finds it later.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import select
import signal
import subprocess
import sys
import time

GRACE = 30.0  # seconds from SIGTERM to SIGKILL
POLL = 0.05
ALIVE, EXIT = "keeper.json", "exit.json"
STOP, LEAVE, GONE = b"s", b"l", b""  # in the pipe: the trial is stopped; the sweep is interrupted; it was killed
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
NOT_STARTED = 127


def main(pipe: int, folder: str, attempt: int, grace: float, command: list[str]) -> None:
    """Run a command and record its end."""
    adopt_orphans()
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
    status, word = _watch(child, pipe, grace)
    _kill(child.pid, signal.SIGKILL)
    end_children()
    # What ended because the sweep did has no end of its own.
    if word != LEAVE and (word != GONE or status == 0):
        _write(folder, EXIT, {"attempt": attempt, "status": status, "reason": "", "stopped": word == STOP})
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(folder, ALIVE))


def _watch(child: subprocess.Popen[bytes], pipe: int, grace: float) -> tuple[int, bytes | None]:
    """Wait for the end of the child: its status, and the word that came before it; None where none did."""
    asked, deadline = None, math.inf
    while (status := child.poll()) is None:
        ready, _, _ = select.select([pipe], [], [], POLL)
        if ready:
            word = os.read(pipe, 1)
            if word == GONE:
                _kill(child.pid, signal.SIGKILL)
                return child.wait(), word
            if asked is None:
                asked, deadline = word, time.monotonic() + grace
                _kill(child.pid, signal.SIGTERM)
        if time.monotonic() > deadline:
            _kill(child.pid, signal.SIGKILL)
    return status, asked


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends."""
    _control(PR_SET_CHILD_SUBREAPER, 1)


def end_children(marked: str = "") -> None:
    """Kill the children of this process, and those that they leave to it.

    Args:
        marked: Variable and value that the environment of those children has; by default all are killed.
    """
    for _ in range(100):
        left = [pid for pid in _children() if not marked or marked.encode() in _environment(pid)]
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.01)


def _environment(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


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
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5:])
