"""The same step on several processes or machines: a Ray Data map over pictures; one process writes the file."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from typing import Any, cast

from vision_suite.errors import DataError, MissingDependencyError, SuiteError, check_number
from vision_suite.mining.pairing import Pair
from vision_suite.mining.reading import MinedImage, mined_image
from vision_suite.mining.run import Reader
from vision_suite.mining.step import CandidateRow, MiningImage, MiningStep, State, StepRows
from vision_suite.mining.store import Store
from vision_suite.types import Progress

BLOCKS = 1000  # parts of the list of pictures; each is handed out and comes back as a whole
OBJECT_STORE = 128 * 2**20  # bytes of a local cluster's shared memory: rows are short, pictures are read by the workers

Packed = dict[str, str]
"""A row of Ray Data: JSON under ``work`` on the way to a worker, and under ``found`` on the way back."""


class Miner:
    """Worker that mines whole pictures; it makes its step once, at its first picture.

    Args:
        make: Function without arguments that makes the step: it loads model and detectors.
        read: Reader of pictures.
    """

    def __init__(self, make: Callable[[], MiningStep], read: Reader) -> None:
        self._make, self._read = make, read

    @cached_property
    def _step(self) -> MiningStep:
        return self._make()

    def __call__(self, row: Packed) -> Packed:
        """Mine a picture to its end; a mistake of the user comes back as its line.

        Args:
            row: Picture and its state, of `packed`.
        """
        item, sha256, state = _work(row)
        found: dict[str, Any] = {"id": item.id, "sha256": "", "problem": "", "error": "", "steps": []}
        try:
            image, found["sha256"] = self._read(item.path)
        except DataError as error:
            return {"found": json.dumps({**found, "problem": str(error)})}
        try:
            if sha256 not in ("", found["sha256"]):
                raise DataError(f"picture {item.path!r} has changed since its first step: give the run another name")
            found["steps"] = [asdict(rows) for rows in self._step.whole(item, image, state)]
        except SuiteError as error:
            found["error"] = str(error)
        return {"found": json.dumps(found)}


def bootstrap_on_cluster(
    store: Store,
    run: str,
    make: Callable[[], MiningStep],
    items: Sequence[MiningImage],
    read: Reader,
    progress: Progress,
    *,
    workers: int = 2,
    gpus: float = 0.0,
) -> None:
    """Mine the pictures that have not come to their end, to the same table as `vision_suite.mining.run.bootstrap`.

    The seeds of a step depend on the run, the picture and its number alone, so neither the order of pictures nor the
    number of workers changes a row. A picture is written when it has come to its end: a run that is killed begins
    those anew that were under way, from their last step in the file.

    Args:
        store: File of mining, in which the run has begun; only this process writes it.
        run: Name of the run.
        make: Function without arguments that makes the step of a worker; it is sent to the workers.
        items: Pictures; workers read their paths.
        read: Reader of pictures.
        progress: Called with the number of pictures done.
        workers: Number of workers.
        gpus: GPUs of each worker; a part of one is allowed.

    Raises:
        MissingDependencyError: Ray is not installed.
        DataError: A picture has changed since its first step, or a worker cannot go on; the line tells why.
    """
    check_number("workers", workers, low=1, whole=True)
    check_number("gpus", gpus, low=0)
    known = [mined_image(store, run, item.id) for item in items]
    left = [packed(each) for each in known if not each.stop]
    done = len(items) - len(left)
    progress(run, done, len(items))
    if not left:
        return
    with cluster(workers):
        for row in _mapped(left, make, read, workers, gpus):
            write(store, run, row)
            done += 1
            progress(run, done, len(items))


def packed(image: MinedImage) -> Packed:
    """A picture and what its next step needs, as a row of Ray Data."""
    work = {"item": asdict(image.item), "sha256": image.sha256, "state": asdict(image.state())}
    return {"work": json.dumps(work)}


def write(store: Store, run: str, row: Packed) -> None:
    """Write what a worker found of a picture.

    Args:
        store: File of mining.
        run: Name of the run.
        row: Row that a `Miner` returned.

    Raises:
        DataError: The worker could not go on.
    """
    found = json.loads(row["found"])
    if found["error"]:
        raise DataError(f"picture {found['id']!r}: {found['error']}")
    if found["problem"]:
        store.give_up(run, found["id"], found["problem"])
    for rows in found["steps"]:
        store.write(run, found["sha256"], _rows(rows))


@contextmanager
def cluster(workers: int) -> Iterator[None]:
    """Run inside of the cluster that this process has joined by ``ray.init``, else of a local one that ends here.

    Args:
        workers: Number of CPUs of a local cluster.
    """
    if importlib.util.find_spec("ray") is None:
        raise MissingDependencyError("mining on a cluster", "ray", "ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before Ray is loaded: nothing is sent to its makers
    import ray

    if ray.is_initialized():
        yield
        return
    ray.init(
        address="local",
        num_cpus=workers,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=OBJECT_STORE,
    )
    try:
        yield
    finally:
        ray.shutdown()


def _mapped(
    left: Sequence[Packed], make: Callable[[], MiningStep], read: Reader, workers: int, gpus: float
) -> Iterator[Packed]:
    """Rows of the workers, in the order in which they are ready."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    dataset = ray.data.from_items(list(left), override_num_blocks=min(len(left), BLOCKS))
    mapped = dataset.map(
        cast("Callable[[dict[str, Any]], dict[str, Any]]", Miner),  # a class, which makes an actor, is allowed too
        fn_constructor_args=(make, read),
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
        num_gpus=gpus or None,
    )
    yield from mapped.iter_rows()


def _work(row: Packed) -> tuple[MiningImage, str, State]:
    """Picture, checksum of its first step and state of a row that `packed` made."""
    work = json.loads(row["work"])
    state = {**work["state"], "named": tuple(work["state"]["named"])}
    return MiningImage(**work["item"]), work["sha256"], State(**state)


def _rows(found: Mapping[str, Any]) -> StepRows:
    """A step from JSON."""
    candidates = tuple(CandidateRow(**{**each, "names": tuple(each["names"])}) for each in found["candidates"])
    pairs = tuple(Pair(*each) for each in found["pairs"])
    return StepRows(**{**found, "candidates": candidates, "pairs": pairs})
