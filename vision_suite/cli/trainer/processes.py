"""Processes of a training group end together: signals reach all, none is left, and the status tells who failed first.

Two parts of Lightning are replaced in each trainer: its signal handlers, which turn SIGTERM into status 0 and talk to
the other processes inside the handler; and its observer of launched processes, which kills the main process when one of
them fails. They stand in `vision_suite.cli.trainer.lightning_parts`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from lightning_fabric.utilities.distributed import _set_num_threads_if_needed
from pytorch_lightning import Trainer
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher
from pytorch_lightning.trainer.connectors.signal_connector import _SignalConnector
from pytorch_lightning.utilities import rank_zero_only

from vision_suite.errors import ProcessError, Stopped, SuiteError
from vision_suite.faults import BY_SIGNAL

POLL_SECONDS = 0.2
GRACE_SECONDS = 10.0
FAILURE_SECONDS = 3.0
KILL_SECONDS = 3.0
EXIT_SECONDS = 60.0


def with_own_parts(trainer: Trainer) -> Trainer:
    """Put the suite's parts into a trainer that has not run yet, and return it."""
    trainer._signal_connector = KeptHandlers(trainer)
    launcher = trainer.strategy.launcher
    if type(launcher) is _SubprocessScriptLauncher:
        trainer.strategy._launcher = Launcher(launcher.cluster_environment, launcher.num_processes, launcher.num_nodes)
    return trainer


def join(trainer: Trainer) -> None:
    """Wait for the other processes that a trainer started; see `Launcher.join`."""
    if isinstance(launcher := trainer.strategy.launcher, Launcher):
        launcher.join()


def is_first() -> bool:
    """True in the process that writes the files of a run, known from the environment before the group exists."""
    return bool(getattr(rank_zero_only, "rank", 0) == 0)


class KeptHandlers(_SignalConnector):
    """Leaves the signal handlers of the command in place."""

    def register_signal_handlers(self) -> None:
        """Install nothing."""


class Launcher(_SubprocessScriptLauncher):
    """Starts the other processes of this machine as Lightning does, and ends them with this one."""

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Trainer | None = None, **kwargs: Any) -> Any:
        """Start the processes and run a function in this one.

        Raises:
            ProcessError: Another process failed first.
        """
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not self.cluster_environment.creates_processes_externally:
            self._call_children_scripts()
        _set_num_threads_if_needed(num_processes=self.num_processes)
        if not self.procs:
            return function(*args, **kwargs)
        self.ended = threading.Event()
        self.found: ProcessError | None = None
        threading.Thread(target=self._watch, daemon=True, name="processes").start()
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            self.ended.set()
            if isinstance(error, Stopped):
                failure = self.found  # None: a signal from outside, which the other processes may have received too
            else:
                failure = None if isinstance(error, SuiteError) else self._failure(FAILURE_SECONDS)
            self.kill(error.signal if isinstance(error, Stopped) else signal.SIGTERM)
            # One that waits for this process in an exchange runs no handler; it has nothing to save or to say.
            self._wait(KILL_SECONDS)
            if failure is not None:
                raise failure from error
            raise

    def join(self) -> None:
        """Wait for the other processes after all work is done.

        Raises:
            ProcessError: One of them failed at its end.
        """
        if self.procs:
            self.ended.set()
            self._wait(EXIT_SECONDS)
            if (failure := self._failure()) is not None:
                raise failure

    def _watch(self) -> None:
        """Bring this process to its end when another one has failed, even out of a wait that would never end."""
        while not self.ended.wait(POLL_SECONDS):
            if (failure := self._failure()) is None:
                continue
            if not self.ended.wait(FAILURE_SECONDS):  # else the failed exchange has ended it
                self.found = failure
                os.kill(os.getpid(), signal.SIGTERM)
            if not self.ended.wait(GRACE_SECONDS):
                self.kill(signal.SIGKILL)
                sys.stderr.write(f"vision-suite: error: {failure}\n")
                sys.stderr.flush()
                os._exit(failure.status)
            return

    def _failure(self, seconds: float = 0.0) -> ProcessError | None:
        """The first process that ended with an error.

        Args:
            seconds: Time to wait for one: an exchange breaks before the process that broke it has ended.
        """
        end = time.monotonic() + seconds
        while True:
            for index, child in enumerate(self.procs):
                if status := child.poll():
                    return ProcessError(index + 1, status if status > 0 else BY_SIGNAL - status)
            if time.monotonic() >= end:
                return None
            time.sleep(POLL_SECONDS)

    def _wait(self, seconds: float) -> None:
        """Wait for all other processes, and kill those that take longer."""
        end = time.monotonic() + seconds
        while any(child.poll() is None for child in self.procs) and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
        for child in self.procs:
            if child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                child.wait()
