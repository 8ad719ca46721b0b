"""Exit statuses, and the log of an error that nobody foresaw."""

from __future__ import annotations

import contextlib
import io
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from signal import Signals
from typing import TextIO

from vision_suite import __version__

DONE = 0
CHECK_FAILED = 1
USER_ERROR = 2
FAULT = 70  # EX_SOFTWARE of sysexits.h
BY_SIGNAL = 128  # plus the number of the signal

STDERR = Path("/dev/stderr")


def status_of(signal: Signals) -> int:
    """Exit status of a command that a signal ended, as shells report it."""
    return BY_SIGNAL + signal


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
        if folder is not None:
            path = _free_name(folder)
            # Exclusive: another process may have taken the name since, and then has the better claim to it.
            yield path.open("x", encoding="utf-8", errors="backslashreplace"), str(path)
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
