"""The command ``report``, and the commands of its page."""

import re
import shlex

import pytest
from documents import blocks
from folders import ROOT
from one_line import fails
from run_folders import write_fit, write_metrics, write_test

from vision_suite.cli import TRAINER_COMMANDS, main

PAGE = ROOT / "docs/report.md"


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Runs in the places that the page names."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs/oat/grid"
    for number in range(3):
        write_fit(folder / f"version_{number}", seed=number + 1, experiment="oat/grid")
    write_test(folder / "version_3", folder / "version_0", {"top1": 0.5}, experiment="oat/grid")
    return folder


def test_every_command_of_the_page_runs(runs, tmp_path, capsys):
    lines = [command for block in blocks(PAGE) if block.language == "bash" for command in block.commands()]
    reports = [shlex.split(line)[1:] for line in lines if line.split()[1] == "report"]
    assert len(reports) >= 3
    assert {line.split()[1] for line in lines} - {"report"} <= set(TRAINER_COMMANDS), "other pages' tests parse these"
    for argv in reports:
        assert main(argv) == 0, argv
        name = argv[argv.index("-o") + 1] if "-o" in argv else "report.html"
        assert re.match(rf"{name}: \d runs?, 2 metrics drawn, 0\.\d MB\n", capsys.readouterr().out)
        assert (tmp_path / name).read_text().startswith("<!doctype html>")
        (tmp_path / name).unlink()


def test_the_settings_that_the_page_names_are_those_that_are_left_out():
    from vision_suite.report.runs import PLACES, QUIET, SEEDS

    named = set(re.findall(r"`([\w.]+)`", PAGE.read_text(encoding="utf-8")))
    assert {*SEEDS, *PLACES, *QUIET} <= named


def test_warnings_are_counted_and_an_earlier_page_is_replaced(runs, capsys):
    write_metrics(runs / "version_0", {"top1": 0.5}, warnings=["features collapsed"])
    for _ in range(2):
        assert main(["report", "runs", "-o", "sub/page.html"]) == 0
        assert "1 warning: see the head of the page" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["report"], "the following arguments are required: RUN"),
        (["report", "runs/none"], "runs/none is no folder: name the folder of a run"),
        (["report", ".", "-o", "page.txt"], "--output page.txt: the page is HTML"),
        (["report", "empty"], "empty holds no run"),
        (["report", "runs", "-o", "folder.html"], "folder.html"),
    ],
)
def test_mistakes_are_one_line(runs, tmp_path, capsys, argv, line):
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.html").mkdir()
    assert line in fails(capsys, *argv)


def test_the_command_loads_neither_torch_nor_lightning(runs, tmp_path):
    import os
    import subprocess
    import sys

    code = (
        "import sys\nfrom vision_suite.cli import main\nassert main(['report', 'runs']) == 0\n"
        "print(*[name for name in ('torch', 'pytorch_lightning', 'timm', 'wandb') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == ""
