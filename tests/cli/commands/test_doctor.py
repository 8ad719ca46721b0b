"""The doctor on broken machines, made of fake packages: it must work where torch does not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vision_suite.cli.commands import doctor

TORCH = """
__version__ = "{version}"
class version: cuda = None
class cuda:
    @staticmethod
    def device_count(): return 0
def get_num_threads(): return 2
"""
FINE = "__version__ = '0.29.2'\n"
MISMATCH = "raise RuntimeError('operator torchvision::nms does not exist')\n"


def run_doctor(folder: Path, **packages: str) -> subprocess.CompletedProcess:
    """Run the command in a child process that sees fake packages first."""
    for name, text in packages.items():
        (folder / f"{name}.py").write_text(text)
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{root}", "VISION_SUITE_DATA": str(folder / "data")}
    command = [sys.executable, "-m", "vision_suite", "doctor"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def problems(done: subprocess.CompletedProcess) -> list[str]:
    return [line.removeprefix("[!!] ") for line in done.stdout.splitlines() if line.startswith("[!!]")]


ABOVE = {name: "" for name in ("timm", "pytorch_lightning", "torchmetrics", "jsonargparse")}


def test_a_cpu_only_torch_with_the_default_torchvision_is_recognised(tmp_path):
    done = run_doctor(tmp_path, torch=TORCH.format(version="2.15.0+cpu"), torchvision=MISMATCH, **ABOVE)
    assert done.returncode == 1
    (line,) = problems(done)
    assert "torch 2.15.0+cpu and torchvision" in line
    assert "Fix: install both from the same index in one command" in line


def test_a_torch_that_does_not_import(tmp_path):
    done = run_doctor(tmp_path, torch="raise ImportError('libtorch_cpu.so: cannot open shared object file')\n")
    assert done.returncode == 1
    assert "torch does not import (ImportError: libtorch_cpu.so" in problems(done)[0]


def test_a_torch_that_kills_the_process(tmp_path):
    done = run_doctor(tmp_path, torch="import os\nos.abort()\n")
    assert done.returncode == 1
    assert "torch does not import" in problems(done)[0]


def test_a_torch_that_is_too_old(tmp_path):
    done = run_doctor(tmp_path, torch=TORCH.format(version="2.9.1"), torchvision=FINE, **ABOVE)
    assert "Fix: pip install 'torch>=2.11'" in problems(done)[0]


def test_a_sound_machine(tmp_path):
    done = run_doctor(tmp_path, torch=TORCH.format(version="2.11.0"), torchvision=FINE, **ABOVE)
    assert done.returncode == 0, done.stdout
    assert problems(done) == []
    assert "everything needed is here" in done.stdout
    assert f"data cache {tmp_path / 'data'}" in done.stdout


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="a superuser may write everywhere")
def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    tmp_path.chmod(0o500)
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "data"))
    assert [finding.state for finding in doctor.data_cache()] == ["problem"]


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: None if name in ("timm", "onnx") else "1")
    texts = {finding.state: finding.text for finding in doctor.packages() if finding.state != "ok"}
    assert "missing: timm. Fix: pip install timm" in texts["problem"]
    assert texts["note"] == "optional: onnx is not installed (pip install 'vision-suite[export]')"
