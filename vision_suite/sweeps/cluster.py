"""The trials of a sweep on Ray Tune: the same points, commands and folders, one trial a worker.

Ray only hands trials out. The folder of the sweep lies on a disk that every machine sees, as Tune's own storage must;
each worker writes the folder of its trial there, and this process alone writes the events. A file in that folder asks
the worker to stop its trial.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vision_suite.errors import MissingDependencyError, SuiteError
from vision_suite.runs.trial_log import NAME, read_values, values_of
from vision_suite.sweeps.events import ENDED, TrialEvents
from vision_suite.sweeps.launch import KILLED, TrialEnd, TrialSlot, launch
from vision_suite.sweeps.runner import Say, SweepRunner
from vision_suite.sweeps.settings import SweepFile

POLL_SECONDS = 0.5
OBJECT_STORE = 128 * 2**20  # bytes of a local cluster's shared memory: only settings and values are handed on
TUNE = ".tune"  # folder of Ray's own files
STOP = "stop"  # file in a trial's folder that asks its worker to stop it
# Before Ray is loaded: nothing is sent to its makers, its loggers need further packages, and the working folder stays.
VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


class RayRunner(SweepRunner):
    """A sweep whose trials run on a cluster: Ray asks for trials and tells of their ends.

    Attributes:
        numbers: Numbers of the running trials by Ray's names of them.
    """

    def __init__(self, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self.numbers: dict[str, int] = {}

    @property
    def busy(self) -> Collection[int]:
        """Numbers of the trials that run."""
        return self.numbers.values()

    def suggest(self, name: str) -> dict[str, Any] | None:
        """Task of a worker for the next trial; None if none is due now."""
        trial = self.next_trial()
        if trial is None:
            return None
        words = self.begin(trial, 0)
        self.numbers[name] = trial.number
        (self.folder / trial.folder / STOP).unlink(missing_ok=True)
        metric = None if self.sweep.metric is None else self.sweep.metric.name
        return {
            "folder": str((self.folder / trial.folder).absolute()),
            "working": os.getcwd(),
            "words": words,
            "number": trial.number,
            "attempt": trial.attempts,
            "metric": metric,
        }

    def told(self, name: str) -> None:
        """Take up the values of a trial, and ask those that have to stop."""
        if name in self.numbers:
            self.collect(self.events.trials[self.numbers[name]])
            for number in self.due(self.busy):
                (self.folder / self.events.trials[number].folder / STOP).touch()

    def completed(self, name: str, end: TrialEnd) -> None:
        """Record the end of a trial."""
        if name in self.numbers:
            trial = self.events.trials[self.numbers.pop(name)]
            (self.folder / trial.folder / STOP).unlink(missing_ok=True)
            self.collect(trial)
            self.end(trial, end)

    @property
    def waits(self) -> bool:
        """True while a running trial may lead to another one."""
        return bool(self.numbers)


def run_on_ray(
    sweep: SweepFile,
    folder: Path,
    events: TrialEvents,
    address: str,
    *,
    workers: int | None,
    gpus: int,
    seed: int,
    count: int | None,
    retries: int,
    say: Say,
) -> None:
    """Run the trials of a sweep on Ray Tune.

    Args:
        sweep: The sweep.
        folder: Its folder.
        events: Its history.
        address: ``local`` for a cluster that is started here and ends here, or the address of one.
        workers: Trials at once, None for as many as the cluster has cores.
        gpus: GPUs of one trial.
        seed: Seed of the proposals.
        count: Largest number of trials.
        retries: Times that a failed trial is repeated.
        say: Function that prints a line.

    Raises:
        MissingDependencyError: Ray is not installed.
        SuiteError: Ray ended before the sweep.
    """
    runner = RayRunner(sweep, folder, events, [], seed=seed, count=count, retries=retries, say=say)
    runner.take_up()
    with _cluster(address, workers):
        from ray import tune
        from ray.tune.search import Searcher

        class Proposals(Searcher):  # type: ignore[misc,unused-ignore]
            """Tune's view of the proposals."""

            def suggest(self, trial_id: str) -> Any:
                """The settings of a worker; Tune asks again later where none are due yet."""
                found = runner.suggest(trial_id)
                return found if found is not None or runner.waits else Searcher.FINISHED

            def on_trial_result(self, trial_id: str, result: Any) -> None:
                """Take up values."""
                runner.told(trial_id)

            def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
                """Record an end."""
                runner.completed(trial_id, end_of(result or {}))

            def save(self, checkpoint_path: str) -> None:
                """Nothing: the events are the state."""

            def restore(self, checkpoint_path: str) -> None:
                """Nothing: the events are the state."""

        tuner = tune.Tuner(
            tune.with_resources(in_worker, {"cpu": 1, "gpu": gpus}),
            tune_config=tune.TuneConfig(
                search_alg=Proposals(metric="value", mode="min"),
                num_samples=-1,
                max_concurrent_trials=workers or 0,
            ),
            run_config=tune.RunConfig(name="trials", storage_path=str((folder / TUNE).absolute()), verbose=0),
        )
        errors = [" ".join(str(error).split())[-300:] for error in tuner.fit().errors]
    left = [number for number, trial in events.trials.items() if trial.state not in ENDED]
    if left:
        reason = f" ({errors[0]})" if errors else ""
        raise SuiteError(
            f"Ray ended before trial {left[0]}{reason}: go on with 'vision-suite sweep resume {folder} --ray {address}'"
        )
    for error in errors:  # the trial of that worker was taken up by another
        say(f"note: a worker of Ray failed: {error}")


def end_of(result: Mapping[str, Any]) -> TrialEnd:
    """End of a trial as its worker's last report tells it.

    Args:
        result: Report; one without a status comes from a worker that is gone.
    """
    if result.get("status") is None:
        return TrialEnd(KILLED, "its worker of Ray is gone")
    return TrialEnd(result["status"], str(result.get("reason", "")), bool(result.get("stopped")))


def in_worker(config: dict[str, Any]) -> None:
    """Run one trial to its end, in a worker of Ray.

    Args:
        config: Settings of `RayRunner.suggest`.
    """
    from ray import tune

    folder = Path(config["folder"])
    slot = TrialSlot(0, {})
    child = launch(folder, config["number"], config["attempt"], config["words"], slot, Path(config["working"]))
    told = 0
    while (end := child.ended()) is None:
        time.sleep(POLL_SECONDS)
        if (folder / STOP).exists():
            child.ask_to_end()
        values = values_of(read_values(folder / NAME), config["metric"]) if config["metric"] else []
        for logged in values[told:]:
            tune.report({"value": 0.0 if logged.value is None else logged.value})
        told = max(told, len(values))
    tune.report({"value": 0.0, **end._asdict()})


@contextmanager
def _cluster(address: str, workers: int | None) -> Iterator[None]:
    """Join a cluster, or start a local one that ends here."""
    if importlib.util.find_spec("ray") is None:
        raise MissingDependencyError("a sweep on Ray", "ray", "ray")
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield
        return
    quiet: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    local: dict[str, Any] = {"num_cpus": workers or os.cpu_count(), "object_store_memory": OBJECT_STORE}
    try:
        ray.init(address=address, **quiet, **(local if address == "local" else {}))
    except Exception as error:  # Ray has no type of its own for a node that starts too slowly
        reason = " ".join(str(error).split())[:200]
        raise SuiteError(f"--ray {address}: no cluster answers ({reason}): start one, or give local") from error
    try:
        yield
    finally:
        ray.shutdown()
