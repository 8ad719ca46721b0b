"""The operators' tests on the CUDA kernels' own source, run thread by thread on the CPU (``make emulate``).

It finds errors that a compiler cannot: wrong indices, fragments and masks, missing barriers. It does not measure speed.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import build  # noqa: E402
from testing import run_tests  # noqa: E402


def build_emulated(objects: Path, target: Path) -> Path:
    """Build a ``_C.abi3.so`` with the emulated CUDA kernels as CPU operators."""
    tools = build.find_toolchain()
    flags = [
        "-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden", "-Wno-unknown-pragmas", "-DVISION_SUITE_EMULATE",
        f"-I{HERE}", *build.definitions(build.stamp(tools, cuda=False), objects), *build.include_flags(tools),
    ]  # fmt: skip
    sources = [build.SOURCES / "schema.cpp", *(build.SOURCES / f"{name}.cu" for name in build.CUDA_FILES)]
    made = [objects / f"{source.stem}.o" for source in sources]
    build.compile_all(
        [
            [*tools.cxx.split(), *flags, "-x", "c++", "-c", str(source), "-o", str(result)]
            for source, result in zip(sources, made, strict=True)
        ]
    )
    return build.link(tools, made, target / "_C.abi3.so", ["-ltorch_cpu", "-lc10"], ())


if __name__ == "__main__":
    raise SystemExit(run_tests(build_emulated, {}, ["-k", "not instruction_set", *sys.argv[1:]]))
