"""``vision-suite doctor``: packages, programs and data of this machine, and the fix for each problem.

torch is imported only in a child process, so the command works when torch is absent, broken or crashes.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from vision_suite import __version__
from vision_suite.cli.light_parser import LightParser
from vision_suite.errors import SuiteError
from vision_suite.faults import CHECK_FAILED, DONE

OLDEST_TORCH = (2, 11)
REQUIRED = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "jsonargparse",
    "timm",
    "torchmetrics",
    "numpy",
    "pillow",
    "av",
)
# The command that brings an optional package, or its use.
OPTIONAL = {
    "onnx": "pip install 'vision-suite[export]'",
    "onnxscript": "pip install 'vision-suite[export]'",
    "onnxruntime": "pip install 'vision-suite[export]'",
    "open_clip_torch": "pip install 'vision-suite[clip]'; OAT's appearance clip:<model>",
    "transformers": "pip install transformers; word vectors of OneStop-mini",
    "spacy": "pip install 'vision-suite[sentinel]'; nouns of sentences when pairs are mined",
    "inflect": "pip install 'vision-suite[sentinel]'; singulars of those nouns",
    "ray": "pip install 'vision-suite[ray]'; mining and sweeps on several processes or machines",
    "optuna": "pip install 'vision-suite[sweeps]'; Bayesian sweeps",
    "trl": "pip install 'vision-suite[bench]'; what benchmarks compare with",
    "pytest": "pip install 'vision-suite[dev]'",
    "lightning-sdk": "hands on 'lightning' commands other than ours",
}
# Imported in order; each line of the answer says how far the child got.
PROBE = """
import json
facts = {}
import torch
facts["torch"] = torch.__version__
facts["cuda_build"] = torch.version.cuda
facts["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
facts["threads"] = torch.get_num_threads()
print(json.dumps(facts), flush=True)
import torchvision
facts["torchvision"] = torchvision.__version__
print(json.dumps(facts), flush=True)
import timm, pytorch_lightning, torchmetrics, jsonargparse
facts["complete"] = True
print(json.dumps(facts), flush=True)
"""

State = Literal["ok", "note", "problem"]
MARKS: dict[State, str] = {"ok": "[ok]", "note": "[--]", "problem": "[!!]"}


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        state: ok, note (something optional is missing) or problem.
        text: Finding and, for a problem, its fix.
    """

    state: State
    text: str


def main(argv: Sequence[str]) -> int:
    """Print the report; 1 if there is a problem."""
    LightParser(prog="vision-suite doctor", description="Check this machine.").parse_args(argv)
    problems = 0
    for finding in findings():
        print(f"{MARKS[finding.state]} {finding.text}", flush=True)
        problems += finding.state == "problem"
    print(f"{problems} problems" if problems else "everything needed is here")
    return CHECK_FAILED if problems else DONE


def findings() -> Iterator[Finding]:
    """Every check in turn."""
    yield Finding("ok", f"vision-suite {__version__}, Python {platform.python_version()}, {platform.platform()}")
    yield from packages()
    yield from torch_findings(probe())
    yield from operators()
    yield from tools()
    yield from data_cache()


def packages() -> Iterator[Finding]:
    """Installed versions of required and optional packages."""
    versions = {name: _version(name) for name in REQUIRED}
    present = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    missing = [name for name, version in versions.items() if not version]
    yield Finding("ok", f"packages: {present or 'none'}")
    if missing:
        yield Finding("problem", f"missing: {', '.join(missing)}. Fix: pip install {' '.join(missing)}")
    for name, how in OPTIONAL.items():
        version = _version(name)
        yield (
            Finding("ok", f"optional: {name} {version}")
            if version
            else Finding("note", f"optional: {name} is not installed ({how})")
        )


def probe() -> subprocess.CompletedProcess[str]:
    """Import torch and what rests on it in a child process."""
    # -P: a folder called torch where the command is run must not be taken for the package.
    command = [sys.executable, "-P", "-c", PROBE]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def torch_findings(done: subprocess.CompletedProcess[str]) -> Iterator[Finding]:
    """Findings on torch, torchvision and GPUs, as the child process tells them.

    Args:
        done: The ended child; its last line on stdout holds what it had found when it ended.
    """
    lines = done.stdout.strip().splitlines()
    facts = json.loads(lines[-1]) if lines else {}
    if "torch" in facts:
        number = tuple(int(part) for part in facts["torch"].split("+")[0].split(".")[:2])
        old = number < OLDEST_TORCH
        fix = f". Fix: pip install 'torch>={'.'.join(map(str, OLDEST_TORCH))}' torchvision" if old else ""
        build = f"built for CUDA {facts['cuda_build']}" if facts["cuda_build"] else "CPU build"
        text = f"torch {facts['torch']} ({build}, {facts['threads']} threads){fix}"
        yield Finding("problem" if old else "ok", text)
        gpus = ", ".join(facts["gpus"])
        yield Finding("ok", f"GPU: {gpus}") if gpus else Finding("note", "GPU: none seen; everything runs on the CPU")
    if facts.get("complete"):
        yield Finding("ok", f"torchvision {facts['torchvision']} fits torch; timm and Lightning import")
        return
    reason = (done.stderr.strip().splitlines() or [f"the import ended with status {done.returncode}"])[-1]
    if "torchvision::nms does not exist" in done.stderr:
        yield Finding("problem", mismatch(facts.get("torch"), _version("torchvision")))
    elif "torch" not in facts:
        yield Finding(
            "problem", f"torch does not import ({reason}). Fix: pip install --force-reinstall torch torchvision"
        )
    elif "torchvision" not in facts:
        yield Finding(
            "problem", f"torchvision does not import ({reason}). Fix: pip install --force-reinstall torchvision"
        )
    else:
        yield Finding("problem", f"a package on top of torch does not import ({reason}). Fix: reinstall vision-suite")


def mismatch(torch: str | None, torchvision: str | None) -> str:
    """The line for operators of torchvision that were built for another torch."""
    return (
        f"torch {torch} and torchvision {torchvision} are not one pair of builds (operator torchvision::nms does not "
        "exist), as when a CPU-only torch meets the package index's default torchvision. Fix: install both from the "
        "same index in one command, pip install --force-reinstall torch torchvision (add the --index-url your torch "
        "came from to keep the CPU-only build)"
    )


def operators() -> Iterator[Finding]:
    """The attention kernels in use, and the reason for each that is not."""
    command = [sys.executable, "-P", "-W", "ignore", "-m", "vision_suite.ops"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return  # torch does not import: reported above
    for line in done.stdout.strip().splitlines():
        missing = "not used" in line
        yield Finding("note" if missing else "ok", f"attention operators, {line}")


def tools() -> Iterator[Finding]:
    """Programs outside Python."""
    for names, use in (
        (("c++", "g++", "clang++"), "C++ compiler, for compiled operators and torch.compile"),
        (("nvcc",), "CUDA compiler, for the optional CUDA operators"),
        (("npm",), "npm, to fetch Emoji-ReID; without it a Python package that carries one is installed"),
        (("git",), "git, to record the commit of a run"),
    ):
        path = next((found for name in names if (found := shutil.which(name))), None)
        yield Finding("ok", f"{use}: {_first_line([path, '--version'])}") if path else Finding("note", f"no {use}")
    script = shutil.which("lightning")
    if script is not None:
        yield Finding("ok", f"the command 'lightning' is {script}")


def data_cache() -> Iterator[Finding]:
    """The cache folder, the space left in it, and the prepared sets."""
    try:
        from vision_suite.datasets.prepare import catalog
        from vision_suite.datasets.prepare.fetch import data_dir

        folder = data_dir()
        entries = catalog.entries()
    except SuiteError as error:  # a recipe of another package; the line says what to do
        yield Finding("problem", f"data sets: {error}")
        return
    except ImportError as error:
        yield Finding("problem", f"data cache: {error}. Fix: reinstall vision-suite")
        return
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(existing, os.W_OK):
        yield Finding("problem", f"data cache {folder}: not writable. Fix: set VISION_SUITE_DATA to a folder of yours")
        return
    free = shutil.disk_usage(existing).free / 2**30
    prepared = [entry.name for entry in entries if entry.prepared]
    yield Finding("ok", f"data cache {folder}: {free:.0f} GiB free; prepared: {', '.join(prepared) or 'nothing yet'}")


def _version(name: str) -> str | None:
    """The installed version of a package, read without importing it."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _first_line(command: list[str]) -> str:
    """The first line that a program prints, or its path when it prints none."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]} ({type(error).__name__})"
    return next(iter(done.stdout.strip().splitlines()), command[0])
