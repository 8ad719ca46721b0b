"""Signals that end a command: each becomes the exception `Stopped` in the main thread, once.

Processes forked by a command (loader workers, workers that draw pictures) leave these signals to the main process,
which ends them: a signal sent to the whole group, as by a terminal or SLURM, would otherwise kill a worker before the
main process has saved its state.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from vision_suite.errors import Stopped

ENDING = tuple(
    getattr(signal, name) for name in ("SIGHUP", "SIGINT", "SIGUSR1", "SIGTERM") if hasattr(signal, name)
)  # Windows lacks some
AGAIN_SECONDS = 0.05


class Received:
    """State of the signal handlers of a command.

    Attributes:
        signal: Signal that ends the command, None while it runs.
        ending: The command is ending; further signals are ignored.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.ending = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal.

        Raises:
            Stopped: It is the first one.
        """
        if self.ending:
            return
        self.ending, self.signal = True, signal.Signals(number)
        if hasattr(signal, "SIGCHLD"):
            # Loader workers end now, some as late as Python's exit; torch's handler would raise an error for each.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        raise Stopped(self.signal)

    def raise_again(self, lost: sys.UnraisableHookArgs) -> bool:
        """Send the signal again if its exception was raised where Python drops exceptions, as in ``__del__``."""
        if not isinstance(lost.exc_value, Stopped) or self.signal is None:
            return False
        number, self.ending = self.signal, False
        # Later and from a thread: the handler must not run inside the hook, which would drop the exception too.
        again = threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()
        return True


_active: list[Received] = []


@contextlib.contextmanager
def handled(program: bool = False) -> Iterator[Received]:
    """Turn signals into `Stopped` inside the context, and put the earlier handlers back after it.

    Outside the main thread nothing is installed. Signals that are ignored, as SIGHUP under ``nohup``, stay ignored.

    Args:
        program: The process ends after the context: a signal that comes while Python exits must raise nothing.
    """
    received = Received()
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    hook = sys.unraisablehook
    sys.unraisablehook = _watching(received, hook)
    _active.append(received)
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, received)
        yield received
    finally:
        received.ending = True
        for number, handler in before.items():
            if program and handler is not signal.SIG_IGN:
                handler = signal.SIG_IGN if number == received.signal else signal.SIG_DFL
            if handler is not None:  # None: installed from outside Python
                signal.signal(number, handler)
        _active.remove(received)
        sys.unraisablehook = hook


def _watching(
    received: Received, hook: Callable[[sys.UnraisableHookArgs], Any]
) -> Callable[[sys.UnraisableHookArgs], Any]:
    """A hook for dropped exceptions that looks for `Stopped` first."""

    def watch(lost: sys.UnraisableHookArgs) -> None:
        if not received.raise_again(lost):
            hook(lost)

    return watch


def _leave_to_parent() -> None:
    """Reset the handlers in a forked child."""
    if not _active:
        return
    _active.clear()
    for number in ENDING:
        # SIGTERM is how the main process ends its workers.
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
