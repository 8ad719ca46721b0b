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

import torch.distributed as dist
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


def with_own_parts(trainer: Trainer) -> Trainer:
    """Put the suite's parts into a trainer that has not run yet, and return it."""
    trainer._signal_connector = KeptHandlers(trainer)
    launcher = trainer.strategy.launcher
    if type(launcher) is _SubprocessScriptLauncher:
        trainer.strategy._launcher = Launcher(launcher.cluster_environment, launcher.num_processes, launcher.num_nodes)
    return trainer


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
        ended = threading.Event()
        threading.Thread(target=self._watch, args=(ended,), daemon=True, name="processes").start()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            ended.set()
            failure = self._failure(0.0 if isinstance(error, Stopped | SuiteError) else FAILURE_SECONDS)
            self._end(error.signal if isinstance(error, Stopped) else signal.SIGTERM)
            if failure is not None:
                raise failure from error
            raise
        ended.set()
        self._wait()
        if (failure := self._failure()) is not None:
            raise failure
        return result

    def _watch(self, ended: threading.Event) -> None:
        """Bring this process to its end when another one has failed, even out of a wait that would never end."""
        while not ended.wait(POLL_SECONDS):
            if (failure := self._failure()) is None:
                continue
            if not ended.wait(FAILURE_SECONDS):  # else the failed exchange has ended it
                os.kill(os.getpid(), signal.SIGTERM)
            if not ended.wait(GRACE_SECONDS):
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

    def _end(self, number: int) -> None:
        """Send a signal to all other processes, wait for them, and kill those that do not end."""
        self.kill(number)
        if dist.is_available() and dist.is_initialized() and dist.get_backend() == "gloo":
            # They may wait for this process in an exchange, where no Python handler runs; its end breaks the exchange.
            threading.Thread(target=dist.destroy_process_group, daemon=True).start()
        self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + GRACE_SECONDS
        while any(child.poll() is None for child in self.procs) and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
        for child in self.procs:
            if child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                child.wait()
