"""The operators' tests on a CPU library built with the address and undefined-behaviour sanitizers (``make sanitize``).

Works in a copy of the checkout, so that the library in use stays as it is.
"""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("vision_suite", "datasets", "lit_modules", "configs", "cuda_ext", "tests", "pyproject.toml")
FLAGS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-g", "-O1")


def main() -> int:
    """Build and test; the tests' exit status."""
    builder = runpy.run_path(str(ROOT / "cuda_ext" / "build.py"))
    tools = builder["find_toolchain"]()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checkout"
        copy.mkdir()
        for name in PARTS:
            if (ROOT / name).is_dir():
                ignore = shutil.ignore_patterns("__pycache__", "*.so")
                shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignore)
            else:
                shutil.copy(ROOT / name, copy / name)
        builder["build_cpu"](tools, Path(folder), copy / "vision_suite", FLAGS)
        runtimes = [
            subprocess.run([tools.cxx, f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout
            for name in ("libasan.so", "libubsan.so")
        ]
        environment = {
            **os.environ,
            "LD_PRELOAD": " ".join(path.strip() for path in runtimes),
            # Python itself leaks by design; torch's own allocations are not instrumented.
            "ASAN_OPTIONS": "detect_leaks=0",
            "UBSAN_OPTIONS": "print_stacktrace=1",
        }
        wanted = ["test_oracles.py", "test_cross_attention.py", "test_numerics.py", "test_rollout.py"]
        files = [f"tests/ops/{name}" for name in wanted]
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-k", "not dispatch", "-p", "no:cacheprovider", *files]
        return subprocess.run(command, cwd=copy, env=environment, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
