"""docs/add-a-method.md holds: its files make a method without an edit, in the repository and outside of it."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documents import blocks
from synthetic import save, write_market

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = blocks(ROOT / "docs/add-a-method.md")
FILES = {block.file: block.code for block in BLOCKS if block.file}
COMMANDS = [command for block in BLOCKS if block.language == "bash" for command in block.commands()]


@pytest.fixture
def place(tmp_path):
    """A working folder with generated pictures where the configuration expects the real ones."""
    folder = tmp_path / "cache/emoji-reid-64/a"
    write_market(folder, train_ids=8, test_ids=3, cameras=4, size=(64, 64), suffix=".png")
    save(tmp_path / "photos/one.png", 1, size=(64, 64))
    return tmp_path


def run(words, place, path):
    """Run Python in the working folder with some folders first on its path."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "VISION_SUITE_DATA": str(place / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-P", *words]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_new_files_in_the_repository_are_enough(place):
    copy = place / "checkout"
    for name in ("vision_suite", "datasets", "lit_modules", "configs"):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in FILES.items():
        path = copy / name
        assert not path.exists(), f"{name}: the page must not overwrite a file"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    commands = [shlex.split(command) for command in COMMANDS]
    assert all(program == "vision-suite" for program, *_ in commands)
    # One process for all commands: they share the seconds of importing torch.
    calls = "\n".join(f"assert main({argv!r}) == 0" for _, *argv in commands)
    printed = run(["-c", f"from vision_suite.cli import main\n{calls}"], place, [copy])
    assert "hue/emoji_reid" in printed
    assert "Hue on Emoji-ReID protocol A" in printed
    runs = place / "runs/hue/emoji_reid"
    assert (runs / "version_0/checkpoints/last.ckpt").is_file()
    assert (runs / "version_1/test/metrics.json").is_file()
    assert (runs / "version_2/predict/features.npz").is_file()
    run(["-m", "pytest", "-q", "-p", "no:cacheprovider", str(copy / "tests/models/test_hue.py")], place, [copy])


@pytest.mark.slow
def test_a_package_of_its_own_is_enough(place):
    """A plugin as installed: modules beside a dist-info folder with the page's entry point."""
    site = place / "site"
    (site / "colours").mkdir(parents=True)
    (site / "colours/__init__.py").write_text("")
    (site / "colours/hue.py").write_text(FILES["vision_suite/models/hue.py"])
    module = FILES["lit_modules/hue.py"].replace("vision_suite.models.hue", "colours.hue")
    (site / "colours/lit_hue.py").write_text(module)
    (entry,) = [block.code for block in BLOCKS if block.language == "toml"]
    header, line = entry.strip().splitlines()
    assert header == '[project.entry-points."vision_suite.plugins"]'
    info = site / "colours-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: colours\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[vision_suite.plugins]\n" + line.replace('"', "") + "\n")
    (place / "mine.yaml").write_text(FILES["configs/hue/emoji_reid.yaml"])
    run(["-m", "vision_suite", "fit", "-c", "mine.yaml", "--trainer.max_steps=1"], place, [site])
    assert (place / "runs/mine/version_0/checkpoints/last.ckpt").is_file()


def test_a_broken_plugin_is_one_line(tmp_path, monkeypatch, capsys):
    from vision_suite.cli import main

    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[vision_suite.plugins]\nbad = no_such_module_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["fit"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "the plugin 'bad' (no_such_module_at_all) of broken cannot be imported" in error
