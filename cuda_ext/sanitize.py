"""The operators' tests on a CPU library with sanitizers of addresses and undefined behaviour: ``make sanitize``."""

from __future__ import annotations

import subprocess

import build
from testing import run_tests

FLAGS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-g", "-O1")


def main() -> int:
    """Build and test; the tests' exit status."""
    tools = build.find_toolchain()
    runtimes = [
        subprocess.run([tools.cxx, f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout
        for name in ("libasan.so", "libubsan.so")
    ]
    environment = {
        "LD_PRELOAD": " ".join(path.strip() for path in runtimes),
        # Python itself leaks by design; torch's own allocations are not instrumented.
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    return run_tests(
        lambda objects, target: build.build_cpu(tools, objects, target, FLAGS),
        environment,
        ["-x", "-k", "not dispatch"],
    )


if __name__ == "__main__":
    raise SystemExit(main())
