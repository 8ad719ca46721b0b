"""Exit status and last words of every end of a command."""

import errno
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from ends import classify, last_words
from folders import ROOT

from vision_suite import cli
from vision_suite.cli import ends, main, signals
from vision_suite.errors import ConfigError, ProcessError, Stopped, storage_error
from vision_suite.faults import STDERR, is_foreseen, mark_end, write_log


@pytest.fixture
def end(monkeypatch, capsys, tmp_path):
    """Run a function in place of a command; its status and its line."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    def run(function):
        monkeypatch.setattr(cli, "_dispatch", lambda arguments: function())
        status = main(["fit"])
        return status, last_words(subprocess.CompletedProcess([], status, "", capsys.readouterr().err))

    return run


def raising(error):
    def function():
        raise error

    return function


def test_an_unforeseen_error_is_one_line_with_a_log(end, tmp_path):
    error = TypeError("two\nlines")
    error.add_note("epoch 3, step 120")
    status, line = end(raising(error))
    assert status == 70
    assert line.startswith("error: unexpected TypeError: two lines (test_ends.py:")
    assert "): this is a fault of the program; epoch 3, step 120; traceback in " in line
    (log,) = tmp_path.glob("*-error.log")
    assert line.endswith(str(log))
    text = log.read_text()
    assert "raise error" in text
    assert "vision-suite 0." in text


def test_the_innermost_log_is_the_one(end, tmp_path):
    def function():
        try:
            raise KeyError("x")
        except KeyError as error:
            write_log(error, tmp_path)
            raise

    (tmp_path / "error.log").touch()
    assert end(function)[1].endswith(str(tmp_path / "error-2.log"))
    assert not list(tmp_path.glob("*-error.log"))


def test_a_log_that_cannot_be_written_goes_to_stderr(monkeypatch, capsys):
    monkeypatch.setattr("tempfile.mkstemp", lambda **_: raising(OSError(errno.ENOSPC, "full"))())
    assert write_log(ValueError("lost?"), Path("/proc")) == STDERR
    assert "ValueError: lost?" in capsys.readouterr().err


def test_memory_is_mended_by_a_smaller_batch(end):
    class OutOfMemoryError(RuntimeError):
        pass

    status, line = end(raising(OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")))
    assert status == 2
    assert line.startswith("error: out of memory (Tried to allocate 2 GiB): lower --data.batch_size")
    status, line = end(raising(MemoryError("Unable to allocate 8.0 TiB for an array")))
    assert (status, line.startswith("error: out of memory (Unable to allocate 8.0 TiB, ")) == (2, True)
    error = RuntimeError(
        "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 12000 bytes."
    )
    assert "out of memory (12,000 bytes needed, " in end(raising(error))[1]
    assert "out of memory (MemoryError, " in end(raising(MemoryError()))[1]
    error = RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. ")
    assert end(raising(error))[0] == 2
    assert "unexpected RecursionError" in end(raising(RecursionError("too deep")))[1]


def test_a_mistake_keeps_its_notes(end):
    error = ConfigError("lr=-1")
    error.add_note("epoch 0")
    assert end(raising(error)) == (2, "error: lr=-1; epoch 0")


def test_a_failed_process_gives_its_status(end):
    assert end(raising(ProcessError(1, 2))) == (
        2,
        "error: the process of rank 1 ended with status 2; its own message tells the reason",
    )


def test_sys_exit_passes(monkeypatch):
    monkeypatch.setattr(cli, "_dispatch", lambda arguments: sys.exit(5))
    with pytest.raises(SystemExit) as left:
        main(["fit"])
    assert left.value.code == 5


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG])
def test_storage_errors_name_the_file_that_was_open(end, tmp_path, number):
    target = tmp_path / "metrics.csv"

    def function():
        with target.open("w") as stream:
            stream.write("x")
            raise OSError(number, os.strerror(number))

    status, line = end(function)
    assert status == 2
    assert line.startswith(f"error: {target}: ")
    assert (" bytes free): " in line) is (number != errno.EROFS)


def test_storage_errors_behind_others_and_of_numpy(end, tmp_path):
    target = tmp_path / "a.ckpt"

    def wrapped():
        try:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        except OSError as error:
            raise RuntimeError("failed writing file data/0") from error

    status, line = end(wrapped)
    expected = f"error: {storage_error(OSError(errno.ENOSPC, ''), target)}"
    # The number of free bytes changes from one moment to the next.
    assert (status, re.sub(r"[\d,]+ bytes", "n bytes", line)) == (2, re.sub(r"[\d,]+ bytes", "n bytes", expected))
    monkey = OSError("1024 requested and 0 written")  # as NumPy says it
    status, line = end(lambda: np.save(tmp_path / "x.npy", np.zeros(3)) or raising(monkey)())
    assert status == 2
    assert "no space left on the disk" in line


def test_permissions_are_a_mistake_only_where_a_file_is_named(end, tmp_path):
    assert end(raising(PermissionError(errno.EACCES, "denied", str(tmp_path))))[0] == 2
    assert end(raising(PermissionError(errno.EPERM, "denied")))[0] == 70


def test_needed_and_free_bytes():
    text = str(storage_error(OSError(errno.ENOSPC, ""), Path("/no/such/file"), 3_000_000))
    assert text.startswith("/no/such/file: no space left on the disk (3,000,000 bytes needed, ")


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", 130), ("SIGHUP", 129), ("SIGUSR1", 138)])
def test_signals(end, name, status):
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_DFL)
    try:

        def function():
            try:
                os.kill(os.getpid(), number)
            except Stopped as stopped:
                os.kill(os.getpid(), number)  # a second one while the command ends
                stopped.add_note("epoch 3")
                raise

        assert end(function) == (status, f"stopped by {name}; epoch 3")
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_an_error_after_a_signal_is_its_consequence(end):
    def function():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Stopped as stopped:
            stopped.add_note("epoch 3")
            raise RuntimeError("a worker was killed")  # noqa: B904

    assert end(function) == (143, "stopped by SIGTERM; epoch 3")


@pytest.mark.parametrize("kind", [KeyError, ConfigError])
@pytest.mark.parametrize("after", ["signal", "full disk"])
def test_what_ended_a_run_is_not_hidden_by_what_comes_in_its_clean_up(end, tmp_path, kind, after):
    def clean_up(error):
        mark_end(error)
        error.add_note("epoch 3")
        if isinstance(error, KeyError):
            write_log(error, tmp_path)
        if after == "signal":
            os.kill(os.getpid(), signal.SIGTERM)
        try:
            raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "metrics.csv"))
        except OSError as full:
            raise storage_error(full) from full

    def function():
        try:
            raise kind("x")
        except Exception as error:
            clean_up(error)

    status, line = end(function)
    if kind is KeyError:
        assert status == 70
        assert line.startswith("error: unexpected KeyError: 'x' (test_ends.py:")
        assert line.endswith(f"; epoch 3; traceback in {tmp_path / 'error.log'}")
    else:
        assert (status, line) == (2, "error: x; epoch 3")


@pytest.mark.parametrize(
    ("error", "known"),
    [
        (ConfigError("x"), True),
        (OSError(errno.ENOSPC, "full", "a"), True),
        (FileNotFoundError(errno.ENOENT, "gone", "a"), False),
        (ConnectionError("reset"), False),
        (RuntimeError("Function 'LogBackward0' returned nan values in its 0th output."), True),
        (RuntimeError("x"), False),
    ],
)
def test_errors_that_leave_a_log(error, known):
    assert is_foreseen(error) == known


def test_logs_of_processes_that_fail_at_once_stay_in_the_folder(tmp_path, monkeypatch):
    taken = iter([tmp_path / "error.log", tmp_path / "error-2.log"])
    (tmp_path / "error.log").touch()
    monkeypatch.setattr("vision_suite.faults._free_name", lambda folder: next(taken))
    assert write_log(KeyError("x"), tmp_path) == tmp_path / "error-2.log"


def test_a_signal_in_a_place_that_drops_exceptions_is_sent_again(end):
    class Dropping:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)

    def function():
        held = Dropping()
        del held
        threading.Event().wait(10)
        return 0

    assert end(function) == (143, "stopped by SIGTERM")


def test_a_dropped_signal_is_no_success(end):
    def function():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except BaseException:
            return 0

    assert end(function) == (143, "stopped by SIGTERM")


def test_ignored_signals_stay_ignored(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr(cli, "_dispatch", lambda arguments: os.kill(os.getpid(), signal.SIGHUP) or 0)
        assert main(["fit"]) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_forked_children_leave_signals_to_the_command():
    with signals.handled():
        child = os.fork()
        if child == 0:
            kept = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
            os._exit(kept != [signal.SIG_DFL, signal.SIG_IGN, signal.SIG_IGN])
        assert os.waitpid(child, 0)[1] == 0


def test_a_later_rank_is_quiet_when_stopped(monkeypatch, capsys):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert ends.run(raising(Stopped(signal.SIGTERM))) == 143
    assert capsys.readouterr().err == ""
    assert ends.run(raising(ConfigError("bad"))) == 2
    assert capsys.readouterr().err == "vision-suite: error (rank 1): bad\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_and_a_full_output(unbuffered):
    command = [sys.executable, "-m", "vision_suite", "configs"]
    common = {"cwd": ROOT, "stderr": subprocess.PIPE, "text": True, "check": False}
    common["env"] = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, **common)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, **common)
    assert done.returncode == 2
    assert last_words(done).startswith("error: standard output: no space left on the disk")


@pytest.mark.parametrize(
    ("status", "stderr", "kind"),
    [
        (0, "", "ok"),
        (1, "", "check"),
        (2, "vision-suite: error: x", "mistake"),
        (143, "", "signal"),
        (-15, "", "signal"),
        (70, "", "fault"),
        (-11, "", "fault"),
        (139, "", "fault"),
        (-9, "", "fault"),
        (120, "", "fault"),
        (0, "Traceback (most recent call last):\n  ...", "fault"),
    ],
)
def test_how_a_command_ended(status, stderr, kind):
    assert classify(subprocess.CompletedProcess([], status, "", stderr)) == kind


def test_names_that_no_file_can_have_are_a_mistake(end, tmp_path):
    name = tmp_path / ("x" * 300)
    assert end(lambda: name.is_file()) == (2, f"error: {name}: the name is too long for a file: give a shorter one")
