"""Processes that die cost their own task only."""

import os
import signal

import pytest

from vision_suite.errors import DataError
from vision_suite.video.lanes import Died, spread


def make(factor):
    def work(task):
        if task == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if task == "fail":
            raise DataError("this task is wrong")
        return factor * task

    return work


def test_a_process_that_dies_costs_its_own_task():
    found = dict(spread([1, 2, "die", 3, 4], 2, make, (10,)))
    died = found.pop("die")
    assert found == {1: 10, 2: 20, 3: 30, 4: 40}
    assert isinstance(died, Died)
    assert str(died).startswith("its process died (signal SIGKILL)")


def test_errors_come_as_they_were():
    with pytest.raises(DataError, match="this task is wrong"):
        list(spread(["fail"], 2, make, (10,)))
