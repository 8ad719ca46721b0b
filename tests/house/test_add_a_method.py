"""docs/add-a-method.md holds: its files make a method and a task without an edit, in the repository and outside."""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from documents import blocks
from synthetic import save, write_market

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/add-a-method.md"
BLOCKS = blocks(PAGE)
FIRST_OF_TASK = next(n for n, block in enumerate(BLOCKS) if block.file == "vision_suite/types/dots.py")
METHOD, TASK = BLOCKS[:FIRST_OF_TASK], BLOCKS[FIRST_OF_TASK:]


def files(part):
    """Contents of the files of a half of the page by path."""
    return {block.file: block.code for block in part if block.file}


def commands(part):
    """The command lines of a half of the page, without the name of the program."""
    lines = [shlex.split(line) for block in part if block.language == "bash" for line in block.commands()]
    assert all(program == "vision-suite" for program, *_ in lines)
    return [argv for _, *argv in lines]


def entry_points(part):
    """The file of entry points that an installer makes of the page's pyproject table."""
    (table,) = [tomllib.loads(block.code) for block in part if block.language == "toml"]
    groups = table["project"]["entry-points"]
    return "".join(
        f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()) for group, points in groups.items()
    )


@pytest.fixture
def place(tmp_path):
    """A working folder with generated pictures where the configuration expects the real ones."""
    folder = tmp_path / "cache/emoji-reid-64/a"
    write_market(folder, train_ids=8, test_ids=3, cameras=4, size=(64, 64), suffix=".png")
    save(tmp_path / "photos/one.png", 1, size=(64, 64))
    return tmp_path


@pytest.fixture
def copy(tmp_path):
    """A copy of the repository's sources."""
    for name in ("vision_suite", "datasets", "lit_modules", "configs"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / "checkout" / name, symlinks=True, ignore=ignore)
    return tmp_path / "checkout"


def checksums(folder):
    """The sha256 of every file below a folder by its path."""
    found = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def add(contents, folder):
    """Write new files; none may be there."""
    for name, text in contents.items():
        path = folder / name
        assert not path.exists(), f"{name}: the page must not overwrite a file"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def install(site, package, contents, points):
    """A package as installed: modules beside a dist-info folder with entry points."""
    add({"__init__.py": "", **contents}, site / package)
    metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
    add({"METADATA": metadata, "entry_points.txt": points}, site / f"{package}-1.0.dist-info")


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


def run_commands(lines, place, path):
    """Run command lines in one process, which share the seconds of importing torch."""
    calls = "\n".join(f"assert main({argv!r}) == 0" for argv in lines)
    return run(["-c", f"from vision_suite.cli import main\n{calls}"], place, path)


def run_test(name, place, copy):
    run(["-m", "pytest", "-q", "-p", "no:cacheprovider", str(copy / name)], place, [copy])


@pytest.mark.slow
def test_new_files_in_the_repository_are_enough_for_a_method(place, copy):
    before = checksums(copy)
    add(files(METHOD), copy)
    printed = run_commands(commands(METHOD), place, [copy])
    assert "hue/emoji_reid" in printed
    assert "Hue on Emoji-ReID protocol A" in printed
    runs = place / "runs/hue/emoji_reid"
    assert (runs / "version_0/checkpoints/last.ckpt").is_file()
    assert (runs / "version_1/test/metrics.json").is_file()
    assert (runs / "version_2/predict/features.npz").is_file()
    run_test("tests/models/test_hue.py", place, copy)
    after = checksums(copy)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == set(files(METHOD))


@pytest.mark.long
def test_a_package_of_its_own_is_enough_for_a_method(place):
    site = place / "site"
    module = files(METHOD)["lit_modules/hue.py"].replace("vision_suite.models.hue", "colours.hue")
    modules = {"hue.py": files(METHOD)["vision_suite/models/hue.py"], "lit_hue.py": module}
    install(site, "colours", modules, entry_points(METHOD))
    (place / "mine.yaml").write_text(files(METHOD)["configs/hue/emoji_reid.yaml"])
    run(["-m", "vision_suite", "fit", "-c", "mine.yaml", "--trainer.max_steps=1"], place, [site])
    assert (place / "runs/mine/version_0/checkpoints/last.ckpt").is_file()


def check_task(printed, place, runs):
    """What the commands of the task leave."""
    assert "dots: 480 pictures of up to 4 dots" in printed
    assert "prepare it: vision-suite data prepare dots" in printed
    assert f"dots is ready: {place / 'cache/dots'}" in printed
    assert "dots: all files are right" in printed
    assert "pictures with" in printed
    assert "80 pictures, mean error" in printed
    assert (runs / "version_0/checkpoints/last.ckpt").is_file()
    stored = json.loads((runs / "version_1/test/metrics.json").read_text())
    assert stored["task"] == "counting"
    assert set(stored["metrics"]) == {"exact", "mean_error"}
    assert stored["metrics"]["exact"] > 0.3, "a guess is right in a fifth of the pictures"
    assert stored["data"]["counts"]["test"] == 80
    assert (runs / "version_1/test/confusion.png").is_file()
    assert (runs / "version_2/predict/counts.csv").read_text().count("\n") == 81
    assert json.loads((runs / "version_2/predict/summary.json").read_text())["pictures"] == 80


@pytest.mark.long
def test_new_files_in_the_repository_are_enough_for_a_task(place, copy):
    before = checksums(copy)
    add(files(TASK), copy)
    check_task(run_commands(commands(TASK), place, [copy]), place, place / "runs/dots/linear")
    run_test("tests/datasets/dots/test_dots.py", place, copy)
    after = checksums(copy)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == set(files(TASK))


@pytest.mark.long
@pytest.mark.slow
def test_a_package_of_its_own_is_enough_for_a_task(place):
    rows = re.findall(r"^\| `(\S+)\.py` \|.*\| `spots/(\w+)\.py` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) == 7
    moved = {}
    for path, name in rows:
        text = files(TASK)[f"{path}.py"]
        for old, new in rows:
            dotted = old.replace("/", ".")
            text = text.replace(
                dotted if dotted.startswith("vision_suite") else f"vision_suite.{dotted}", f"spots.{new}"
            )
        assert "vision_suite.datasets.dots" not in text
        moved[f"{name}.py"] = text
    install(place / "site", "spots", moved, entry_points(TASK))
    (place / "mine.yaml").write_text(files(TASK)["configs/dots/linear.yaml"])
    lines = [["mine.yaml" if word == "dots/linear" else word for word in argv] for argv in commands(TASK)]
    before = checksums(ROOT / "vision_suite")
    check_task(run_commands(lines, place, [place / "site"]), place, place / "runs/mine")
    assert checksums(ROOT / "vision_suite") == before


def test_a_broken_plugin_is_one_line(tmp_path, monkeypatch, capsys):
    from vision_suite.cli import main

    install(tmp_path, "broken", {}, "[vision_suite.plugins]\nbad = no_such_module_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["fit"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "the plugin 'bad' (no_such_module_at_all) of broken cannot be imported" in error
