"""The trials of a sweep on Ray Tune: the same points, commands and folders, one trial a worker.

Ray only hands trials out. The folder of the sweep lies on a disk that every machine sees, as Tune's own storage must;
each worker writes the folder of its trial there, and this process alone writes the events.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vision_suite.errors import MissingDependencyError, SuiteError
from vision_suite.runs.trial_log import NAME, read_values, values_of
from vision_suite.sweeps.events import TrialEvents
from vision_suite.sweeps.launch import TrialSlot, launch
from vision_suite.sweeps.runner import Say, SweepRunner
from vision_suite.sweeps.settings import SweepFile

POLL_SECONDS = 0.5
OBJECT_STORE = 128 * 2**20  # bytes of a local cluster's shared memory: only settings and values are handed on
TUNE = ".tune"  # folder of Ray's own files
# Before Ray is loaded: nothing is sent to its makers, its loggers need further packages, and the working folder stays.
VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}
KILLED = -9


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
        metric = None if self.sweep.metric is None else self.sweep.metric.name
        return {
            "folder": str((self.folder / trial.folder).absolute()),
            "working": os.getcwd(),
            "words": words,
            "number": trial.number,
            "attempt": trial.attempts,
            "metric": metric,
        }

    def told(self, name: str) -> bool:
        """Take up the values of a trial; True if it has to stop."""
        number = self.numbers[name]
        self.collect(self.events.trials[number])
        live = {each: self.events.trials[each] for each in self.numbers.values()}
        return number in self.poor(live)

    def completed(self, name: str, status: int | None, reason: str) -> None:
        """Record the end of a trial; without a status it was stopped, or its worker is gone."""
        if name in self.numbers:
            trial = self.events.trials[self.numbers.pop(name)]
            self.collect(trial)
            live = {trial.number: trial}
            stopped = status is None and trial.number in self.poor(live)
            self.end(trial, KILLED if status is None else status, reason, stopped=stopped)

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
        SuiteError: Ray reports an error of its own.
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

            def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
                """Record an end."""
                result = result or {}
                runner.completed(trial_id, result.get("status"), str(result.get("reason", "")))

            def save(self, checkpoint_path: str) -> None:
                """Nothing: the events are the state."""

            def restore(self, checkpoint_path: str) -> None:
                """Nothing: the events are the state."""

        class Rule(tune.Stopper):  # type: ignore[misc,unused-ignore]
            """Tune's view of hyperband."""

            def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
                """Tell whether a trial stops."""
                return trial_id in runner.numbers and result.get("status") is None and runner.told(trial_id)

            def stop_all(self) -> bool:
                """Never: the proposals tell the end."""
                return False

        tuner = tune.Tuner(
            tune.with_resources(in_worker, {"cpu": 1, "gpu": gpus}),
            tune_config=tune.TuneConfig(
                search_alg=Proposals(metric="value", mode="min"),
                num_samples=-1,
                max_concurrent_trials=workers or 0,
            ),
            run_config=tune.RunConfig(
                name="trials", storage_path=str((folder / TUNE).absolute()), stop=Rule(), verbose=0
            ),
        )
        results = tuner.fit()
        if results.errors:
            raise SuiteError(f"Ray reports an error of a worker: {' '.join(str(results.errors[0]).split())[-300:]}")


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
        values = values_of(read_values(folder / NAME), config["metric"]) if config["metric"] else []
        for logged in values[told:]:
            tune.report({"value": 0.0 if logged.value is None else logged.value})
        told = max(told, len(values))
    tune.report({"value": 0.0, "status": end[0], "reason": end[1]})


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
