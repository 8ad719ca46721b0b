"""Building the attention operators: compilers, flags, and a stamp that identifies the build.

Used by setup.py and by ``python -m vision_suite.ops build``. The suite works without it: without a
compiler it is pure Python.

Environment: ``VISION_SUITE_BUILD`` = auto | cpu | cuda | none, ``TORCH_CUDA_ARCH_LIST`` (default 8.0;9.0+PTX),
``CUDA_HOME``, ``MAX_JOBS``, ``CXX``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "csrc"
SCHEMA = 1
TARGET = "0x020a000000000000"  # the stable interface of torch 2.10: one file runs on every later version
CPU_FILES = (
    "schema",
    "cpu/register",
    "cpu/isa_scalar",
    "cpu/isa_avx2",
    "cpu/isa_avx512",
    "cpu/isa_avx512bf16",
    "cpu/isa_amx",
)
CUDA_FILES = ("cuda/forward", "cuda/backward", "cuda/backward_keys", "cuda/rollout", "cuda/register")
ARCHS = "8.0;9.0+PTX"
DRIVERS = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg")
WARNINGS = (
    "-Wall", "-Wno-unused-function", "-Wno-psabi", "-Wno-ignored-attributes",
    "-Wno-uninitialized", "-Wno-maybe-uninitialized",  # false alarms of g++ 12 in its AVX-512 headers
)  # fmt: skip


class BuildError(RuntimeError):
    """Reason why nothing was built, in one line with the fix."""


@dataclass(frozen=True)
class Toolchain:
    """Versions and paths of torch and the compilers.

    Attributes:
        torch: Folder of the installed torch package.
        torch_version: Version of torch.
        cuda: CUDA version of torch, or None.
        cxx: C++ compiler.
        nvcc: CUDA compiler, or None.
    """

    torch: Path
    torch_version: str
    cuda: str | None
    cxx: str
    nvcc: str | None


def find_toolchain() -> Toolchain:
    """Find the compilers and torch, without importing torch: that takes seconds, and it may be absent.

    Raises:
        BuildError: If torch or a C++ compiler is missing.
    """
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        raise BuildError("torch is not importable here: install it first, then pip install --no-build-isolation -e .")
    folder = Path(spec.origin).parent
    facts = dict(
        re.findall(r"^(__version__|cuda)\b[^=\n]*= (.+)$", (folder / "version.py").read_text(encoding="utf-8"), re.M)
    )
    cxx = os.environ.get("CXX") or next((c for c in ("g++", "c++", "clang++") if shutil.which(c)), "")
    if not cxx or shutil.which(cxx.split()[0]) is None:
        raise BuildError("no C++ compiler found: install g++ (Debian: apt install g++), or set CXX")
    cuda = facts.get("cuda", "None").strip("'\"")
    return Toolchain(folder, facts["__version__"].strip("'\""), None if cuda == "None" else cuda, cxx, find_nvcc())


def find_nvcc() -> str | None:
    """The real compiler: one on PATH may be a wrapper script, whose parent folder is no toolkit."""
    home = os.environ.get("CUDA_HOME")
    nvcc = str(Path(home) / "bin" / "nvcc") if home else shutil.which("nvcc")
    if nvcc is None or shutil.which(nvcc) is None:
        return None
    shown = subprocess.run(
        [nvcc, "--dryrun", "-E", "-x", "cu", os.devnull], capture_output=True, text=True, check=False
    )
    top = re.search(r"^#\$ TOP=(.+)$", shown.stderr, re.M)
    real = Path(top.group(1)).resolve() / "bin" / "nvcc" if top else Path(nvcc)
    return str(real) if real.exists() else nvcc


def source_hash() -> str:
    """Digest of all sources, in a fixed order."""
    digest = hashlib.sha256()
    for path in sorted(p for p in SOURCES.rglob("*") if p.is_file()):
        digest.update(path.relative_to(SOURCES).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def version_line(command: str) -> str:
    """First line of a compiler's ``--version``."""
    done = subprocess.run([*command.split(), "--version"], capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    return (lines[-1] if "nvcc" in command else lines[0]) if lines else command


def stamp(tools: Toolchain, *, cuda: bool) -> str:
    """Identity of a build, as JSON."""
    return json.dumps(
        {
            "schema": SCHEMA, "source": source_hash(), "torch": tools.torch_version, "target": TARGET,
            "compiler": version_line(tools.cxx), "cuda": version_line(tools.nvcc) if cuda and tools.nvcc else None,
            "archs": os.environ.get("TORCH_CUDA_ARCH_LIST", ARCHS) if cuda else None,
            "isa": ["scalar", "avx2", "avx512", "avx512_bf16", "amx"],
        }
    )  # fmt: skip


def include_flags(tools: Toolchain) -> list[str]:
    """Headers of torch and Python."""
    return [f"-I{tools.torch / 'include'}", f"-I{sysconfig.get_path('include')}"]


def definitions(text: str, folder: Path) -> list[str]:
    """Macros of every file; the stamp goes by a header, because nvcc loses the quotes of a macro on its way."""
    header = folder / "stamp.h"
    header.write_text(f"#define VISION_SUITE_STAMP {json.dumps(text)}\n", encoding="utf-8")
    return [f"-DTORCH_TARGET_VERSION={TARGET}", "-DPy_LIMITED_API=0x030a0000", "-include", str(header)]


def run(command: list[str]) -> str:
    """Run one compiler call and return its output.

    Raises:
        BuildError: With the first line that names an error.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if "error" in line.lower()]
        raise BuildError(f"{Path(command[0]).name} failed: {(lines or ['status ' + str(done.returncode)])[0]}")
    return done.stderr + done.stdout


def compile_all(commands: list[list[str]]) -> str:
    """Run compiler calls side by side, MAX_JOBS at a time, and return their outputs in the order of the commands."""
    jobs = int(os.environ.get("MAX_JOBS", os.cpu_count() or 1))
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        return "".join(pool.map(run, commands))


def build_cpu(tools: Toolchain, folder: Path, destination: Path, extra: tuple[str, ...] = ()) -> Path:
    """Build the schemas and CPU kernels: ``_C.abi3.so``.

    Args:
        tools: Compilers.
        folder: Folder of the object files.
        destination: Path of the library; it appears whole or not at all.
        extra: Further flags of compiler and linker, such as those of a sanitizer.
    """
    flags = [
        "-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-fno-math-errno", "-ffp-contract=fast", *WARNINGS,
        *definitions(stamp(tools, cuda=False), folder), *include_flags(tools), *extra,
    ]  # fmt: skip
    objects = [folder / (name.replace("/", "_") + ".o") for name in CPU_FILES]
    compile_all(
        [
            [*tools.cxx.split(), *flags, "-c", str(SOURCES / f"{name}.cpp"), "-o", str(target)]
            for name, target in zip(CPU_FILES, objects, strict=True)
        ]
    )
    return link(tools, objects, destination / "_C.abi3.so", ["-ltorch_cpu", "-lc10"], extra)


def cuda_arch_flags(archs: str) -> list[str]:
    """Nvcc's flags for a list such as ``8.0;9.0+PTX``."""
    flags = []
    for arch in archs.replace(" ", ";").split(";"):
        number = arch.removesuffix("+PTX").replace(".", "")
        flags.append(f"-gencode=arch=compute_{number},code=sm_{number}")
        if arch.endswith("+PTX"):
            flags.append(f"-gencode=arch=compute_{number},code=compute_{number}")
    return flags


def build_cuda(tools: Toolchain, folder: Path, destination: Path) -> tuple[Path, str]:
    """Build the CUDA kernels: ``_C_cuda.abi3.so``, which needs a CUDA torch to be loaded.

    Returns:
        The library, and the assembler's report of each kernel's registers and spills.

    Raises:
        BuildError: If there is no nvcc, or it fails.
    """
    if tools.nvcc is None:
        raise BuildError("no nvcc found: install the CUDA toolkit, or set CUDA_HOME to it")
    root = Path(tools.nvcc).resolve().parents[1]
    flags = [
        "-std=c++17", "-O3", "-DUSE_CUDA", "-Xcompiler", "-fPIC,-fvisibility=hidden", "-Xptxas", "-v",
        "-Xfatbin", "-compress-all",
        *cuda_arch_flags(os.environ.get("TORCH_CUDA_ARCH_LIST", ARCHS)), *definitions(stamp(tools, cuda=True), folder),
        *include_flags(tools),
    ]  # fmt: skip
    objects = [folder / (name.replace("/", "_") + ".o") for name in CUDA_FILES]
    report = compile_all(
        [
            [tools.nvcc, *flags, "-c", str(SOURCES / f"{name}.cu"), "-o", str(target)]
            for name, target in zip(CUDA_FILES, objects, strict=True)
        ]
    )
    libraries = ["-ltorch_cuda", "-ltorch_cpu", "-lc10", f"-L{root / 'lib64'}", "-lcudart"]
    return link(tools, objects, destination / "_C_cuda.abi3.so", libraries, ()), report


def link(tools: Toolchain, objects: list[Path], target: Path, libraries: list[str], extra: tuple[str, ...]) -> Path:
    """Link a shared library; it is renamed at the end, so that a running process never sees half of it."""
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        run(
            [
                *tools.cxx.split(), "-shared", *extra, *map(str, objects), f"-L{tools.torch / 'lib'}", *libraries,
                "-o", str(draft),
            ]
        )  # fmt: skip
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)
    return target


def build_in_place(destination: Path) -> list[Path]:
    """Compile all libraries that this machine can compile, into a folder, and return their paths.

    Raises:
        BuildError: If nothing could be built, or ``VISION_SUITE_BUILD`` asks for a library that cannot be built.
    """
    import tempfile

    wanted = os.environ.get("VISION_SUITE_BUILD", "auto")
    if wanted not in ("auto", "cpu", "cuda", "none"):
        raise BuildError(f"VISION_SUITE_BUILD={wanted} is not known: give auto, cpu, cuda or none")
    if wanted == "none":
        raise BuildError("VISION_SUITE_BUILD=none: nothing is built, attention runs on PyTorch alone")
    tools = find_toolchain()
    with tempfile.TemporaryDirectory() as folder:
        made = [build_cpu(tools, Path(folder), destination)]
        if wanted == "cuda":
            made.append(build_cuda(tools, Path(folder), destination)[0])
        elif wanted == "auto" and tools.nvcc and cuda_fits(tools):
            if not gpu_driver():
                print("no GPU driver here: the CUDA kernels are left out (VISION_SUITE_BUILD=cuda compiles them)")
                return made
            try:
                made.append(build_cuda(tools, Path(folder), destination)[0])
            except BuildError as error:
                print(f"the CUDA kernels were not built: {error}", file=sys.stderr)
    return made


def gpu_driver() -> bool:
    """Check for an NVIDIA driver: the kernel's own, or that of Windows below a Linux on it."""
    return any(Path(path).exists() for path in DRIVERS) or shutil.which("nvidia-smi") is not None


def cuda_fits(tools: Toolchain) -> bool:
    """Check that nvcc's major version is that of torch's CUDA; libraries of two versions cannot be loaded together."""
    shown = subprocess.run([tools.nvcc or "", "--version"], capture_output=True, text=True, check=False).stdout
    release = re.search(r"release (\d+)", shown)
    return release is not None and tools.cuda is not None and release.group(1) == tools.cuda.split(".")[0]


def main() -> int:
    """Run ``python cuda_ext/build.py FOLDER``: the build without the package."""
    try:
        for path in build_in_place(Path(sys.argv[1] if len(sys.argv) > 1 else HERE.parent / "vision_suite")):
            print(path)
    except BuildError as error:
        print(f"attention operators were not built: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
