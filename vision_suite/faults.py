"""Exit statuses, which errors are foreseen, and the log of one that nobody foresaw."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import platform
import re
import select
import sys
import tempfile
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from signal import Signals
from typing import TextIO

from vision_suite import __version__
from vision_suite.errors import (
    STORAGE,
    CheckpointError,
    ConfigError,
    MemoryShortError,
    StorageError,
    SuiteError,
    TrainingError,
    storage_error,
)

DONE = 0
CHECK_FAILED = 1
USER_ERROR = 2
FAULT = 70  # EX_SOFTWARE of sysexits.h
BY_SIGNAL = 128  # plus the number of the signal

STDERR = Path("/dev/stderr")
ATTEMPTS = 16  # processes of a group may fail at once
LONGEST_REASON = 200
CUT_SHORT = re.compile(r"\d+ requested and \d+ written")
MEMORY = re.compile(
    r"can't allocate memory|out of memory|DataLoader worker .* is killed by signal: Killed", re.IGNORECASE
)
OPTIMISER = re.compile(r"^Invalid (beta|learning rate|weight_decay|momentum|epsilon|gradient accumulation)")
ANOMALY = "returned nan values in its"  # what torch's detection of anomalies says


def status_of(signal: Signals) -> int:
    """Exit status of a command that a signal ended, as shells report it."""
    return BY_SIGNAL + signal


def is_foreseen(error: BaseException) -> bool:
    """True for an error that a user can correct, and for an output whose reader is gone: neither leaves a log."""
    return explained(error) is not None or (isinstance(error, BrokenPipeError) and stdout_is_closed())


def explained(error: BaseException) -> SuiteError | None:
    """The suite's own words for an error: itself, a disk that is full or closed, or a known one of a library."""
    if isinstance(error, SuiteError):
        return error
    return _storage(error) or of_library(error) or _memory(error)


def of_library(error: BaseException) -> SuiteError | None:
    """The suite's own words for a known error of torch or Lightning; None for any other."""
    text = str(error)
    # By name, because this file is free of Lightning.
    if any(kind.__name__ == "MisconfigurationException" for kind in type(error).__mro__):
        return ConfigError(text)
    if isinstance(error, ValueError) and OPTIMISER.match(text):
        return ConfigError(f"the optimiser refuses its settings ({text}): correct --model.optim")
    if isinstance(error, ValueError | RuntimeError) and _is_raised_by_lightning(error):
        return ConfigError(" ".join(text.split()))
    if not isinstance(error, RuntimeError):
        return None
    if ANOMALY in text:
        return TrainingError(
            f"backward pass: {text.rstrip('.')} (the warning before tells its forward call): lower the rate "
            "(--model.optim.lr)"
        )
    if text.startswith("Error(s) in loading state_dict"):
        return CheckpointError(
            f"{_shortened(text)}: the checkpoint is of another network; repeat the settings of its config.yaml"
        )
    return None


def _is_raised_by_lightning(error: BaseException) -> bool:
    """True for Lightning's own check of an argument, such as ``val_check_interval``."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and any(
        f"/pytorch_lightning/{part}/" in frames[-1].filename.replace("\\", "/")
        for part in ("trainer", "loops", "callbacks", "utilities")
    )


def _memory(error: BaseException) -> MemoryShortError | None:
    """The error that explains a lack of memory, of this machine or of its GPU; None if an error is something else."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryShortError):
        return error
    if not isinstance(error, MemoryError) and not (isinstance(error, RuntimeError) and MEMORY.search(text)):
        return None
    told = re.search(
        r"you tried to allocate (\d+) bytes|(Tried to allocate [\d.]+ \w+)|(Unable to allocate [\d.]+ \w+)", text
    )
    if told is None:
        reason = text[:LONGEST_REASON] or type(error).__name__
    else:
        reason = f"{int(told[1]):,} bytes needed" if told[1] else told[0]
    free = "" if "CUDA" in text else f", {free_memory():,} bytes are free"
    return MemoryShortError(
        f"out of memory ({reason}{free}): lower --data.batch_size or --data.eval_batch_size, the size of the items, or "
        "the size of the model"
    )


def free_memory() -> int:
    """Bytes of memory that this process can still get; the limits of a container and of the process count."""
    found: list[int] = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        most, taken = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        entries = (group / "memory.stat").read_text(encoding="ascii").splitlines()
        # Contents of files that were read count as taken, and give way.
        found.append(most - taken + sum(int(row.split()[1]) for row in entries if row.startswith("inactive_file ")))
    with contextlib.suppress(ImportError, OSError, ValueError, KeyError):
        import resource  # not on Windows

        rows = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        used = {row.split()[0]: 1024 * int(row.split()[1]) for row in rows if row.startswith(("VmSize:", "VmData:"))}
        for kind, name in ((resource.RLIMIT_AS, "VmSize:"), (resource.RLIMIT_DATA, "VmData:")):
            limit = resource.getrlimit(kind)[0]
            if limit != resource.RLIM_INFINITY:
                found.append(limit - used[name])
    return max(0, min(found, default=2**63 - 1))


def mark_end(error: Exception) -> None:
    """Note that an error has ended a run: errors and signals that follow in its clean-up must not hide it."""
    with contextlib.suppress(AttributeError):  # an exception with slots
        error._vision_suite_end = True  # type: ignore[attr-defined]


def has_ended_run(error: Exception) -> bool:
    """True for an error that was noted by `mark_end`, or whose log was written."""
    return hasattr(error, "_vision_suite_end") or hasattr(error, "_vision_suite_log")


def chained(error: BaseException) -> Iterator[BaseException]:
    """An exception, then those that it followed."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def stdout_is_closed() -> bool:
    """True if the reader of the output is gone."""
    try:
        state = select.poll()
        state.register(sys.stdout.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in state.poll(0))
    except (AttributeError, OSError, ValueError):  # no poll, or no real stream
        return False


def write_log(exception: BaseException, folder: Path | None = None) -> Path:
    """Write an exception with its traceback, the command, the version and the time to a log file.

    A second call for the same exception writes nothing and returns the first file: the innermost caller knows the best
    folder.

    Args:
        exception: Exception that was caught.
        folder: Folder of ``error.log`` (``error-2.log``, ... if there are earlier ones); None, or a folder that cannot
            be written, means a file of its own in the temporary folder.

    Returns:
        The file, or `STDERR` if no file could be written and the text went there.
    """
    written: Path | None = getattr(exception, "_vision_suite_log", None)
    if written is not None:
        return written
    text = _report(exception)
    path = STDERR
    for stream, name in _places(folder):
        try:
            with stream:
                stream.write(text)
        except OSError:
            Path(name).unlink(missing_ok=True)  # a part of a log on a full disk
            continue
        path = Path(name)
        break
    else:
        with contextlib.suppress(OSError, AttributeError):  # closed, or none as under pythonw
            sys.stderr.write(text)
    with contextlib.suppress(AttributeError):  # an exception with slots
        exception._vision_suite_log = path  # type: ignore[attr-defined]
    return path


def _places(folder: Path | None) -> Iterator[tuple[TextIO, str]]:
    """New empty files for the log, best first."""
    with contextlib.suppress(OSError):
        for _ in range(ATTEMPTS if folder is not None else 0):
            assert folder is not None
            path = _free_name(folder)
            with contextlib.suppress(FileExistsError):  # another process has taken the name since
                yield path.open("x", encoding="utf-8", errors="backslashreplace"), str(path)
                break
    with contextlib.suppress(OSError):
        handle, name = tempfile.mkstemp(prefix="vision-suite-", suffix="-error.log")
        yield os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace"), name


def _free_name(folder: Path) -> Path:
    """The first of ``error.log``, ``error-2.log``, ... that is free in a folder."""
    number = 1
    while (path := folder / f"error{f'-{number}' if number > 1 else ''}.log").exists():
        number += 1
    return path


def _report(exception: BaseException) -> str:
    """The text of the log."""
    text = io.StringIO()
    text.write(f"time      {datetime.now(UTC).isoformat(timespec='seconds')}\n")
    text.write(f"command   {' '.join(sys.argv)}\n")
    with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
        text.write(f"folder    {os.getcwd()}\n")
    text.write(f"process   {os.getpid()}\n")
    text.write(f"version   vision-suite {__version__}, Python {platform.python_version()}, {platform.platform()}\n\n")
    text.write("".join(traceback.format_exception(exception)))
    return text.getvalue()


def _storage(error: BaseException) -> StorageError | None:
    """The error that explains a full, read-only or closed disk; None if an error is something else."""
    for each in chained(error):
        if not isinstance(each, OSError):
            continue
        if each.errno in STORAGE and _printed(each):
            return StorageError(f"standard output: {storage_error(each)}")
        path = each.filename if each.filename is not None else _written(each)
        if each.errno in (errno.EACCES, errno.EPERM) and (path is None or each is not error):
            continue  # no file, or a trial that failed before the error in question
        if each.errno in STORAGE:
            return storage_error(each, None if path is None else Path(os.fsdecode(path)))
        if each.errno is None and CUT_SHORT.search(str(each)):  # NumPy does not hand the reason on
            whole = OSError(errno.ENOSPC, "the file could not be written whole")
            return storage_error(whole, None if path is None else Path(os.fsdecode(path)))
    return None


def _printed(error: OSError) -> bool:
    """True if it is the output of the command that cannot be written."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    printed = any("print(" in (frame.line or "") or frame.name == "_flush" for frame in last)
    return printed and error.filename is None


def _written(error: OSError) -> str | Path | None:
    """The file in use where an error arose that does not name it, as when a write fails."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        values = list(frame.f_locals.values())
        for value in values:
            if isinstance(value, io.IOBase) and isinstance(name := getattr(value, "name", None), str):
                return name
        if path := next((value for value in values if isinstance(value, Path)), None):
            return path
    return None


def _shortened(text: str, lines: int = 3) -> str:
    """The first lines of a long text, in one line."""
    kept = [line.strip() for line in text.splitlines() if line.strip()][:lines]
    return " ".join(line if len(line) < 160 else f"{line[:160]} ..." for line in kept).rstrip(" .:")
