"""The one place where a command ends: exit status and last words of every error and signal."""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from vision_suite.cli.signals import Received, handled
from vision_suite.errors import ProcessError, Stopped
from vision_suite.faults import (
    BY_SIGNAL,
    FAULT,
    USER_ERROR,
    chained,
    explained,
    has_ended_run,
    status_of,
    stdout_is_closed,
    write_log,
)

PIPE_CLOSED = BY_SIGNAL + 13  # SIGPIPE, which Windows does not name
RANK_VARIABLES = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # in Lightning's order
LONGEST = 500


def run(command: Callable[[], int], program: bool = False) -> int:
    """Run a command and return its exit status; see `vision_suite.faults` for their list.

    An error is one line on stderr. The variable ``VISION_SUITE_DEBUG=1`` lets errors through with their traceback.

    Args:
        command: Command; it returns its own status or raises.
        program: The process ends with the command.
    """
    with handled(program) as received:
        try:
            status = _whole(command)
        except BaseException as error:
            received.ending = True
            status = _end(error, received)
            _leave_stdout()
            return status
        if received.signal is not None:  # its exception was dropped on the way
            return _end(Stopped(received.signal), received)
        return status


def _end(error: BaseException, received: Received) -> int:
    """Say the last words and return the status.

    Args:
        error: Exception that ended the command; if a signal came first, it may be a mere consequence.
        received: State of the handlers.
    """
    chain = list(chained(error))
    notes = list(dict.fromkeys(note for each in chain for note in getattr(each, "__notes__", ())))
    if isinstance(error, ProcessError):  # a signal may have brought this process out of a wait for the other
        _say(f"error: {_line(str(error), notes)}")
        return error.status
    first, stop = _first_end(chain), next((each for each in chain if isinstance(each, Stopped)), None)
    if first is None and stop is not None and (received.signal is not None or stop is error):
        received.signal = stop.signal
        if rank() == 0:  # the others were stopped with it
            _say(_line(str(stop), notes))
        return status_of(stop.signal)
    if isinstance(error, KeyboardInterrupt):  # outside the main thread, where no handler is installed
        _say(_line("stopped by SIGINT", notes))
        return BY_SIGNAL + 2
    if isinstance(error, BrokenPipeError) and stdout_is_closed():
        return PIPE_CLOSED
    if os.environ.get("VISION_SUITE_DEBUG", "0") not in ("", "0"):
        raise error
    if first is None:
        if not isinstance(error, Exception):
            raise error
        first = error
    known = explained(first)
    if known is not None:
        # The notes of an error that Python raised stay with the line that explains it.
        _say(f"error{_whose()}: {_line(str(known), notes)}")
        return USER_ERROR
    path = write_log(first)
    _say(f"error{_whose()}: {_line(_unforeseen(first), [*notes, f'traceback in {path}'])}")
    return FAULT


def _first_end(chain: Sequence[BaseException]) -> Exception | None:
    """The error that had ended the run before the others of its chain, errors and signals alike, came on top."""
    for each in reversed(chain):
        if isinstance(each, Stopped):
            return None  # what came after it is its consequence
        if isinstance(each, Exception) and has_ended_run(each):
            return each
    return None


def _whole(command: Callable[[], int]) -> int:
    """Run a command and write out what it printed, while an error still counts."""
    try:
        status = command()
    except SystemExit:
        _flush()
        raise
    _flush()
    return status


def _line(text: str, notes: Iterable[str] = ()) -> str:
    """A message and its notes in one line."""
    parts = [text, *notes]
    return "; ".join(" ".join(part.split()) for part in parts if part.strip())


def _unforeseen(error: Exception) -> str:
    """Type, message and origin of an error that is no mistake of the user."""
    text = " ".join(str(error).split())
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
    named = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"unexpected {named}{_origin(error)}: this is a fault of the program"


def _origin(error: Exception) -> str:
    """File and line that raised an error: the innermost one outside installed packages, else the innermost."""
    frames = list(traceback.extract_tb(error.__traceback__))
    package, library = str(Path(__file__).parents[1]), sysconfig.get_path("stdlib")
    own = [
        each
        for each in frames
        if each.filename.startswith(package)
        or not (each.filename.startswith((library, "<")) or "site-packages" in each.filename)
    ]
    last = (own or frames)[-1:]
    return "".join(f" ({Path(frame.filename).name}:{frame.lineno})" for frame in last)


def rank() -> int:
    """Index of this process in its group before any library has formed it, 0 for a process alone."""
    found = next((os.environ[name] for name in RANK_VARIABLES if name in os.environ), "0")
    return int(found) if found.isdecimal() else 0


def _whose() -> str:
    """The rank of a process other than the first, for its messages."""
    return f" (rank {rank()})" if rank() else ""


def _say(text: str) -> None:
    """Print the last words; a stderr that nobody reads is no reason for another error."""
    try:
        print(f"vision-suite: {text}", file=sys.stderr, flush=True)
    except OSError:
        _to_nothing(sys.stderr)


def _flush() -> None:
    """Write out what was printed."""
    if sys.stdout is not None:
        sys.stdout.flush()


def _leave_stdout() -> None:
    """Flush, and silence a stdout that takes no more: Python would complain once again when it exits."""
    try:
        _flush()
    except OSError:
        _to_nothing(sys.stdout)


def _to_nothing(stream: object) -> None:
    """Connect a stream of the process to the null device."""
    try:
        number = stream.fileno()  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, number)
    os.close(nothing)
