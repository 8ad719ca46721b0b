"""One command line in a forked child with limits, and how it ended: for tests that feed commands with bad inputs.

The child comes from a server that has imported torch, Lightning and the suite once, and that has run nothing: a command
costs its own work only, and no lock or thread of the test's process is copied into it.
"""

import dataclasses
import functools
import multiprocessing
import os
import re
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from children import PRELOAD
from ends import classify

from vision_suite.faults import CHECK_FAILED, DONE, USER_ERROR

SECONDS = 20
MEMORY = 2 * 2**30
ALLOWED = ("ok", "refused", "check_failed")
FAULTS = ("traceback", "unforeseen", "signal", "timeout", "memory", "wordless")
OUT_OF_MEMORY = re.compile(r"MemoryError|out of memory|can't allocate memory|std::bad_alloc|Cannot allocate memory")
WARNING = re.compile(r"vision-suite: warning|\w*Warning: ")
ERROR = re.compile(r"vision-suite: error(?: \(rank \d+\))?: ")
THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
PRIVATE = "VISION_SUITE_"


@dataclasses.dataclass(frozen=True)
class Ended:
    """What a command left.

    Attributes:
        argv: Command line without the program's name.
        status: Exit status, minus the number of the signal that killed it, or None after the time limit.
        out: Standard output.
        err: Standard error.
        seconds: Wall time.
        grown: Resident memory in bytes that it took beyond the child's own at its start.
        limit: Most memory allowed.
    """

    argv: tuple[str, ...]
    status: int | None
    out: str
    err: str
    seconds: float
    grown: int
    limit: int = MEMORY

    @property
    def end(self) -> str:
        """One of `ALLOWED` or `FAULTS`."""
        if self.status is None:
            return "timeout"
        if self.grown > self.limit or (self.status not in (DONE, USER_ERROR) and OUT_OF_MEMORY.search(self.err)):
            return "memory"
        if "Traceback (most recent call last)" in self.err:
            return "traceback"
        done = subprocess.CompletedProcess(self.argv, self.status, self.out, self.err)
        kind = classify(done)
        if kind == "signal" or self.status < 0 or self.status > 128:
            return "signal"
        if kind == "fault":
            return "unforeseen"
        if self.status == DONE:
            return "wordless" if self.errors else "ok"
        if self.status == CHECK_FAILED:
            return "check_failed" if self.out.strip() else "wordless"
        return "refused" if len(self.errors) == 1 else "wordless"

    @property
    def errors(self) -> list[str]:
        """Lines ``error: ...``, without the program's name."""
        return [ERROR.sub("", line) for line in self.err.splitlines() if ERROR.match(line)]

    @property
    def warnings(self) -> list[str]:
        """Lines that warn, on either stream."""
        return [line for line in (self.out + "\n" + self.err).splitlines() if WARNING.search(line)]

    def says(self, text: str) -> bool:
        """True if the command said this text on either stream."""
        return text in self.out or text in self.err

    def __str__(self) -> str:
        tail = "\n".join([*self.out.splitlines()[-8:], *self.err.splitlines()[-12:]])
        spent = f"{self.seconds:.1f} s, {self.grown / 2**20:.0f} MiB"
        return f"{self.end} (status {self.status}, {spent}): vision-suite {' '.join(self.argv)}\n{tail}"


def run(
    argv: Sequence[str],
    folder: Path,
    *,
    seconds: float = SECONDS,
    memory: int = MEMORY,
    env: Mapping[str, str] | None = None,
) -> Ended:
    """Run ``vision_suite.cli.main(argv)`` in a child of its own and wait for it.

    The data cache is ``cache`` in the working folder, and so are the logs of unforeseen errors (``tmp``).

    Args:
        argv: Command line without the program's name.
        folder: Working folder of the command.
        seconds: Wall time after which it is killed.
        memory: Bytes that it may take beyond those of the server (``RLIMIT_DATA``).
        env: Environment variables on top.
    """
    folder = Path(folder)
    (folder / "tmp").mkdir(exist_ok=True)
    places = {"VISION_SUITE_DATA": str(folder / "cache"), "TMPDIR": str(folder / "tmp")}
    context = _server()
    with tempfile.TemporaryDirectory(prefix="forked-") as kept:
        argv = tuple(str(each) for each in argv)
        arguments = (argv, str(folder), kept, {**THREADS, **places, **(env or {})}, memory)
        child = context.Process(target=_enter, args=arguments)
        start = time.monotonic()
        child.start()
        child.join(seconds)
        late = child.is_alive()
        _kill_group(child.pid)  # workers that outlive it, too
        child.join()
        spent = time.monotonic() - start
        out, err = ((Path(kept) / name).read_text(errors="replace") for name in ("out", "err"))
        grown = Path(kept, "grown")
        used = int(grown.read_text()) if grown.exists() else 0
    return Ended(argv, None if late else child.exitcode, out, err, spent, used, memory)


@functools.cache
def _server():
    """The server, ready: its imports count against no command's time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    first = context.Process(target=os.getpid)
    first.start()
    first.join()
    return context


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # it has ended, or it has not yet made its group
        return


def _enter(argv: Sequence[str], folder: str, kept: str, env: Mapping[str, str], memory: int) -> None:
    """Turn the child into the command."""
    os.setsid()
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(os.path.join(kept, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    for name in [name for name in os.environ if name.startswith(PRIVATE)]:
        del os.environ[name]
    os.environ.update(env)
    os.chdir(folder)
    tempfile.tempdir = None  # a cached place of the server
    _close_network()
    taken, before = _data_bytes(), _peak_bytes()
    resource.setrlimit(resource.RLIMIT_DATA, (taken + memory, taken + memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from vision_suite.cli import main

    try:
        status = main(list(argv))
    finally:
        Path(kept, "grown").write_text(str(_peak_bytes() - before))
    raise SystemExit(status)


def _close_network() -> None:
    """Refuse every connection that is not to a socket file."""
    import socket

    connect = socket.socket.connect

    def refuse(self, address):
        if self.family != socket.AF_UNIX:
            raise OSError(101, "the network is closed in this test")
        return connect(self, address)

    socket.socket.connect = refuse  # type: ignore[method-assign]


def _data_bytes() -> int:
    """Bytes that count against ``RLIMIT_DATA`` now."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData")]
    return int(line.split()[1]) * 1024


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
