"""The folder ``datasets/`` must never hide Hugging Face's package of the same name."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINKS = {"datasets": "../datasets", "lit_modules": "../lit_modules", "configs": "../configs"}


def run_at_the_root(code, **environment):
    command = [sys.executable, "-c", code]
    variables = {**os.environ, **environment}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def has_hugging_face_datasets():
    """Whether a regular package ``datasets`` is installed; ours at the root is none."""
    spec = importlib.util.find_spec("datasets")
    return spec is not None and spec.origin is not None


def test_the_folder_has_no_init_file():
    assert not (ROOT / "datasets" / "__init__.py").exists()
    assert (ROOT / "datasets" / "README.md").is_file(), "the folder must say why"


@pytest.mark.parametrize("name", LINKS)
def test_links_are_relative(name):
    link = ROOT / "vision_suite" / name
    if not link.is_symlink():
        pytest.skip("this checkout has no symbolic links")
    assert os.readlink(link) == LINKS[name]


@pytest.mark.skipif(not has_hugging_face_datasets(), reason="Hugging Face datasets is not installed")
def test_hugging_face_wins_at_the_root():
    run_at_the_root("import datasets; assert hasattr(datasets, 'Dataset')")


@pytest.mark.long
def test_any_regular_package_wins_at_the_root(tmp_path):
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").write_text("Dataset = 'theirs'\n")
    code = "import datasets, vision_suite.datasets.pictures.records as ours; print(datasets.Dataset, ours.__file__)"
    theirs, ours = run_at_the_root(code, PYTHONPATH=str(tmp_path)).split()
    assert theirs == "theirs"
    assert Path(ours).resolve() == ROOT / "datasets" / "pictures" / "records.py"


def test_a_checkout_without_links_still_finds_its_rooms(tmp_path):
    """As on a system without symbolic links: the links are plain text files there."""
    import shutil

    package = tmp_path / "vision_suite"
    shutil.copytree(ROOT / "vision_suite", package, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name, target in LINKS.items():
        (package / name).unlink()
        (package / name).write_text(target)
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "import vision_suite.datasets.pictures.records as a, vision_suite.cli.configs as c;"
        "print(a.__file__, c.configs_folder(), len(c.named_configs()) > 0)"
    )
    command = [sys.executable, "-P", "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)
    reader, configs, any_named = done.stdout.split()
    assert (reader, configs, any_named) == (
        str(tmp_path / "datasets/pictures/records.py"),
        str(tmp_path / "configs"),
        "True",
    )
