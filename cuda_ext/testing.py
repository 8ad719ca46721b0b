"""The operators' tests on a special build of the CPU library, in a copy of the checkout; the installed build stays."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("vision_suite", "datasets", "lit_modules", "configs", "cuda_ext", "tests", "pyproject.toml")
FILES = ("test_oracles.py", "test_cross_attention.py", "test_numerics.py", "test_rollout.py")


def run_tests(build: Callable[[Path, Path], object], environment: dict[str, str], arguments: list[str]) -> int:
    """Copy the checkout, build and test.

    Args:
        build: Function ``build(folder for objects, destination of _C.abi3.so)``.
        environment: Variables added to this process's environment.
        arguments: Arguments of pytest after the test files.

    Returns:
        The tests' exit status.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checkout"
        copy.mkdir()
        for name in PARTS:
            if (ROOT / name).is_dir():
                ignore = shutil.ignore_patterns("__pycache__", "*.so")
                shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignore)
            else:
                shutil.copy(ROOT / name, copy / name)
        build(Path(folder), copy / "vision_suite")
        files = [f"tests/ops/{name}" for name in FILES]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, *arguments]
        return subprocess.run(command, cwd=copy, env={**os.environ, **environment}, check=False).returncode
