"""What a wheel holds, and that it works away from the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What a build reads; the rest of a checkout (environment, runs, history) stays out of the copy.
PARTS = ("vision_suite", "datasets", "lit_modules", "configs", "setup.py", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy of the checkout, without network and without leaving anything in it."""
    folder = tmp_path_factory.mktemp("wheel")
    ignore = shutil.ignore_patterns("__pycache__", "*.so")
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignore)
        else:
            shutil.copy(ROOT / name, folder / name)
    offline = ["--no-build-isolation", "--no-deps", "--no-index"]
    command = [sys.executable, "-m", "pip", "wheel", ".", *offline, "-w", "out"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = (folder / "out").glob("*.whl")
    return built


def test_a_wheel_holds_every_room_once(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert len(names) == len(set(names))
    for room in ("datasets", "lit_modules"):
        expected = {f"vision_suite/{room}/{path.relative_to(ROOT / room)}" for path in (ROOT / room).rglob("*.py")}
        assert expected <= set(names)
    folder = ROOT / "configs"
    configs = {f"vision_suite/configs/{path.relative_to(folder)}" for path in folder.rglob("*.yaml")}
    assert configs
    assert configs <= set(names)
    assert {"vision_suite/py.typed", "vision_suite/datasets/emoji/emoji_reid.yaml"} <= set(names)
    roots = {name.split("/")[0] for name in names}
    assert {root for root in roots if not root.endswith(".dist-info")} == {"vision_suite"}


def test_a_wheel_declares_scripts_and_licence(wheel):
    archive = zipfile.ZipFile(wheel)
    (entry_points,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
    scripts = archive.read(entry_points).decode()
    assert "vision-suite = vision_suite.cli:main" in scripts
    assert "lightning = vision_suite.cli.lightning_script:main" in scripts
    assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())


def test_named_configurations_resolve_from_a_wheel(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}

    def run(*words):
        command = [sys.executable, "-P", *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    where = run("-c", "import vision_suite; print(vision_suite.__file__)").stdout.strip()
    assert Path(where).is_relative_to(tmp_path), "the wheel must come before the checkout"
    listed = run("-m", "vision_suite", "configs")
    assert "dcal/emoji_reid" in listed.stdout, listed.stderr
    code = "from vision_suite.cli.configs import resolve; print(resolve('dcal/emoji_reid'))"
    assert Path(run("-c", code).stdout.strip()).is_relative_to(tmp_path)
