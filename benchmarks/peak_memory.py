"""Peak memory of a piece of work, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHILD = """
import resource, runpy, sys
module = runpy.run_path(sys.argv[1], run_name="child")
work = module[sys.argv[2]](sys.argv[3], *map(int, sys.argv[4:]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def peak_mebibytes(script: str, function: str, name: str, *sizes: int) -> float:
    """What a call needs beyond its inputs, in MiB.

    Args:
        script: Path of the benchmark.
        function: Its function that makes the work from a contestant's name and sizes.
        name: The contestant.
        sizes: Further arguments.

    Raises:
        RuntimeError: If the child failed; its last line is in the message.
    """
    command = [sys.executable, "-c", CHILD, script, function, name, *map(str, sizes)]
    done = subprocess.run(command, cwd=Path(script).parent, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"measuring {name} failed: {done.stderr.strip().splitlines()[-1]}")
    return int(done.stdout.split()[-1]) / 1024
