"""Peak memory of a piece of work, in a process of its own (Linux)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHILD = """
import runpy, sys
from pathlib import Path
def kibibytes(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
module = runpy.run_path(sys.argv[1], run_name="child")
work = module[sys.argv[2]](sys.argv[3], *map(int, sys.argv[4:]))
work()
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew at what is resident
before = kibibytes("VmRSS")
work()
print(kibibytes("VmHWM") - before)
"""


def peak_mebibytes(script: str, function: str, name: str, *sizes: int) -> float:
    """Peak memory of a second call above the resident memory after the first, in MiB.

    Args:
        script: Path of the benchmark.
        function: Name of its function that makes the work from a contestant's name and sizes.
        name: Name of the contestant.
        sizes: Further arguments of the function.

    Raises:
        RuntimeError: If the child failed; its last line is in the message.
    """
    command = [sys.executable, "-c", CHILD, script, function, name, *map(str, sizes)]
    done = subprocess.run(command, cwd=Path(script).parent, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"measuring {name} failed: {done.stderr.strip().splitlines()[-1]}")
    return int(done.stdout.split()[-1]) / 1024
