"""Finding and loading the compiled libraries. Nothing is ever compiled here.

A library is looked for beside the package and then in the user's cache. Its stamp is read from the file before it is
loaded, because loading registers its operators for good.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.machinery
import importlib.util
import json
import os
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs
import torch

SCHEMA = 1
PACKAGE = Path(__file__).resolve().parents[1]
SOURCES = PACKAGE.parent / "cuda_ext"
MEND = "python -m vision_suite.ops build"


@dataclass(frozen=True)
class Library:
    """One compiled library, or why it is not there.

    Attributes:
        name: ``cpu`` or ``cuda``.
        path: The loaded file, or None.
        reason: Why it was not loaded; empty if it was.
        stamp: What it was built from.
        isa: Instruction set in use (CPU).
    """

    name: str
    path: Path | None
    reason: str = ""
    stamp: dict[str, object] = field(default_factory=dict)
    isa: str = ""


def source_hash() -> str:
    """Digest of the sources beside an editable install, empty where there are none; as in ``cuda_ext/build.py``."""
    folder = SOURCES / "csrc"
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest() if files else ""


def cache_folder(source: str) -> Path:
    """Folder of a build whose package folder cannot be written."""
    return platformdirs.user_cache_path("vision_suite") / "ops" / source[:16]


def read_stamp(path: Path) -> dict[str, object]:
    """The stamp inside a library.

    Raises:
        ValueError: If the file holds none.
    """
    found = re.search(rb'\{"schema": [^\0]*\}', path.read_bytes())
    if found is None:
        raise ValueError("holds no stamp of this suite")
    stamp: dict[str, object] = json.loads(found.group())
    return stamp


def load(name: str, file: str) -> Library:
    """Load one library, if there is one that fits."""
    source = source_hash()
    path = next((p for p in (PACKAGE / file, cache_folder(source) / file) if p.is_file()), None)
    if path is None:
        return Library(name, None, f"not built; to build it: {MEND}")
    try:
        stamp = read_stamp(path)
        if stamp.get("schema") != SCHEMA:
            raise ValueError(f"has operators of version {stamp.get('schema')}, this package needs {SCHEMA}")
        module_name = "vision_suite." + file.split(".")[0]
        loader = importlib.machinery.ExtensionFileLoader(module_name, str(path))
        spec = importlib.util.spec_from_file_location(module_name, path, loader=loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
    except (ImportError, OSError, ValueError) as error:
        reason = f"{path} {' '.join(str(error).split())}"
        warnings.warn(f"attention operators ({name}) are not used: {reason}; rebuild: {MEND}", stacklevel=2)
        return Library(name, None, f"{reason}; rebuild: {MEND}")
    if source and stamp.get("source") != source:
        warnings.warn(f"{path} was built from other sources than those beside it; rebuild: {MEND}", stacklevel=2)
    return Library(name, path, "", stamp, getattr(module, "CPU_ISA", ""))


@functools.cache
def libraries() -> dict[str, Library]:
    """Both libraries, loaded once per process on first use."""
    if switched_off():
        off = "switched off by VISION_SUITE_OPS=reference"
        return {name: Library(name, None, off) for name in ("cpu", "cuda")}
    cpu = load("cpu", "_C.abi3.so")
    if cpu.path is None:
        cuda = Library("cuda", None, "needs the CPU library, which holds the operators' definitions")
    elif torch.version.cuda is None:
        cuda = Library("cuda", None, "this torch is built without CUDA")
    elif not torch.cuda.is_available():
        cuda = Library("cuda", None, "no GPU is seen")
    else:
        cuda = load("cuda", "_C_cuda.abi3.so")
    if cpu.path is not None:
        from vision_suite.ops import _register

        _register.register()
    return {"cpu": cpu, "cuda": cuda}


@functools.cache
def _warn_once(device: str) -> None:
    warnings.warn(f"attention runs on PyTorch alone ({device}): {libraries()[device].reason}", stacklevel=5)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def available(device: str) -> bool:
    """True if the compiled kernels for ``cpu`` or ``cuda`` are loaded; warns once per process if they are not."""
    if libraries()[device].path is None:
        _warn_once(device)
        return False
    return True


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def cpu_isa() -> str:
    """Instruction set of the CPU kernels in use; empty if they are not loaded."""
    return libraries()["cpu"].isa


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def why_not(device: str) -> str:
    """Reason why the compiled kernels for ``cpu`` or ``cuda`` are not loaded; empty if they are."""
    return libraries()[device].reason


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def switched_off() -> bool:
    """True if the environment asks for PyTorch alone.

    Raises:
        ValueError: If ``VISION_SUITE_OPS`` is set to something unknown.
    """
    wanted = os.environ.get("VISION_SUITE_OPS", "auto")
    if wanted not in ("auto", "reference"):
        raise ValueError(f"VISION_SUITE_OPS={wanted} is not known: give auto or reference")
    return wanted == "reference"
