"""The page on sweeps: its commands run in order, its files are right."""

import shlex

import pytest
import yaml
from documents import blocks
from folders import ROOT, SUPPORT

from vision_suite.cli import main
from vision_suite.sweeps.command import MACROS
from vision_suite.sweeps.settings import SERVER, parse_sweep
from vision_suite.sweeps.space import DEPRECATED

PAGE = ROOT / "docs/sweeps.md"
BLOCKS = blocks(PAGE)
COMMANDS = [command for block in BLOCKS if block.language == "bash" for command in block.commands()]


def test_files_on_the_page_are_right():
    files = [yaml.safe_load(block.code) for block in BLOCKS if block.language == "yaml"]
    assert [parse_sweep(file).method for file in files] == ["bayes", "grid"]


def test_the_page_tells_what_is_refused():
    text = PAGE.read_text()
    assert all(f"`{name}`" in text for name in (*SERVER, *DEPRECATED))
    assert "args_json_file" in MACROS


def run_all(folder, monkeypatch, capsys, change):
    monkeypatch.chdir(folder)
    for block in BLOCKS:
        if block.file:
            (folder / block.file).write_text(yaml.safe_dump(change(yaml.safe_load(block.code))))
    for command in COMMANDS:
        program, *argv = shlex.split(command)
        assert program == "vision-suite"
        assert main(argv) == 0, f"{command}\n{capsys.readouterr().err}"
    return (folder / "runs/sweeps/grid/table.csv").read_text().splitlines()


def test_the_commands_run_on_light_trials(tmp_path, monkeypatch, capsys):
    """The page's file with another program, which trains nothing."""

    def light(file):
        words = ["${interpreter}", str(SUPPORT / "sweep_trial.py"), "--x=1", "${args}"]
        return {**file, "command": words, "metric": {"name": "loss"}}

    rows = run_all(tmp_path, monkeypatch, capsys, light)
    assert rows[0] == "trial,state,loss,last,values,model.encoder_layers,model.optim.lr"
    assert len(rows) == 5
    assert {"table.md", "parallel.png"} <= {path.name for path in (tmp_path / "runs/sweeps/grid").iterdir()}


@pytest.mark.long
@pytest.mark.slow
def test_the_commands_run(tmp_path, monkeypatch, capsys):
    rows = run_all(tmp_path, monkeypatch, capsys, lambda file: file)
    assert all(row.split(",")[1] == "finished" for row in rows[1:])
    folder = tmp_path / "runs/sweeps/grid"
    assert all((folder / f"trial-{number:04d}/checkpoints/last.ckpt").is_file() for number in range(1, 5))
    assert not (tmp_path / "runs/oat").exists(), "a trial trains in its own folder"
