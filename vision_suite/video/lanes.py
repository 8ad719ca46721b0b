"""Tasks spread over processes, any of which may die without ending the others."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Died:
    """End of a process in the middle of a task.

    Attributes:
        pid: Number of the process.
        exitcode: Its status, or minus the signal that ended it.
    """

    pid: int
    exitcode: int

    def __str__(self) -> str:
        how = f"signal {signal.Signals(-self.exitcode).name}" if self.exitcode < 0 else f"status {self.exitcode}"
        return f"its process died ({how}), as for lack of memory or by a fault of the decoder"


@dataclass
class _Lane(Generic[Task]):
    """A process, and the task that it works on."""

    process: SpawnProcess
    connection: Connection
    task: Task


def spread(
    tasks: Sequence[Task], lanes: int, make: Callable[..., Callable[[Task], Result]], arguments: tuple[Any, ...]
) -> Iterator[tuple[Task, Result | Died]]:
    """Results of all tasks as they are done, each beside its task; a process that dies costs its own task only.

    Args:
        tasks: The tasks, which can be pickled as results and arguments can.
        lanes: Number of processes.
        make: Function that each process calls once; it gives the function of a task.
        arguments: Arguments of ``make``.

    Raises:
        Exception: An error that a task raised, as it was.
    """
    context = multiprocessing.get_context("spawn")  # a forked copy of a running torch may hang
    waiting = deque(tasks)
    busy: dict[Connection, _Lane[Task]] = {}

    def open_lane() -> None:
        own, other = context.Pipe()
        process = context.Process(target=_serve, args=(other, make, arguments), daemon=True)
        process.start()
        other.close()  # so that the end of the process ends the connection
        hand_on(_Lane(process, own, waiting.popleft()))

    def hand_on(lane: _Lane[Task]) -> None:
        busy[lane.connection] = lane
        with suppress(OSError):  # it died meanwhile, which the next wait tells
            lane.connection.send(lane.task)

    try:
        while waiting and len(busy) < lanes:
            open_lane()
        while busy:
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                lane = busy.pop(connection)
                task = lane.task
                try:
                    error, result = connection.recv()
                except (EOFError, OSError):
                    connection.close()
                    lane.process.join()
                    if waiting:
                        open_lane()
                    yield task, Died(lane.process.pid or 0, lane.process.exitcode or 0)
                    continue
                if error is not None:
                    raise error
                if waiting:
                    lane.task = waiting.popleft()
                    hand_on(lane)
                else:
                    connection.close()
                yield task, result
    finally:
        for lane in busy.values():
            lane.process.terminate()


def _serve(connection: Connection, make: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
    """Work on tasks until the connection ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends this one
    work = None
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        try:
            work = work or make(*arguments)
            result = work(task)
        except Exception as error:
            connection.send((error, None))
        else:
            connection.send((None, result))
