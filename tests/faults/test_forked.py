"""The harness of the fault tests tells every end of a command from the others."""

import pytest
from forked import ALLOWED, FAULTS, Ended, run

TRACE = "Traceback (most recent call last):\n  ...\nValueError: x\n"


@pytest.mark.parametrize(
    ("status", "out", "err", "end"),
    [
        (0, "", "", "ok"),
        (0, "", "vision-suite: warning: x\n", "ok"),
        (0, "", "vision-suite: error: x\n", "wordless"),
        (0, "", TRACE, "traceback"),
        (1, "failed: a.mp4: cut off\n", "", "check_failed"),
        (1, "", "", "wordless"),
        (2, "", "vision-suite: warning: w\nvision-suite: error: x\n", "refused"),
        (2, "", "vision-suite: error (rank 1): x\n", "refused"),
        (2, "", "", "wordless"),
        (2, "", "vision-suite: error: x\nvision-suite: error: y\n", "wordless"),
        (70, "", "vision-suite: error: unexpected KeyError\n", "unforeseen"),
        (70, "", "vision-suite: error: out of memory, MemoryError\n", "memory"),
        (3, "", "", "unforeseen"),
        (-11, "", "", "signal"),
        (143, "", "vision-suite: stopped by SIGTERM\n", "signal"),
        (None, "", "", "timeout"),
    ],
)
def test_ends_are_told_apart(status, out, err, end):
    assert Ended(("x",), status, out, err, 0.0, 0).end == end


def test_memory_beyond_the_limit_is_a_fault_whatever_the_status():
    assert Ended(("x",), 0, "", "", 0.0, 11, limit=10).end == "memory"


def test_a_command_runs_in_a_child_of_its_own(tmp_path):
    done = run(["data", "list"], tmp_path)
    assert done.end == "ok"
    assert done.says(str(tmp_path / "cache"))
    done = run(["configs", "--long"], tmp_path)
    assert (done.end, len(done.errors)) == ("refused", 1)
    assert "unrecognized arguments: --long" in done.errors[0]
    assert run(["configs"], tmp_path, seconds=0).end == "timeout"


def test_faults_and_allowed_ends_are_disjoint():
    assert not set(FAULTS) & set(ALLOWED)
