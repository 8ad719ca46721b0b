"""The README's commands are run, in order, on generated pictures in the place of the real ones."""

import json
import shlex
from pathlib import Path

import pytest
import yaml
from documents import blocks
from synthetic import save, write_market

from vision_suite.cli import TRAINER_COMMANDS, main

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCKS = blocks(README)
# Merged into every training command: one step of a tiny network.
TINY = {
    "trainer": {
        "accelerator": "cpu",
        "limit_train_batches": 1,
        "max_epochs": 1,
        "enable_model_summary": False,
    },
    "model": {"init_args": {"backbone_args": {"depth": 2, "embed_dim": 48, "num_heads": 3}}},
    "data": {"init_args": {"batch_size": 8, "num_instances": 2}},
}


def test_the_readme_opens_with_its_two_commands():
    assert BLOCKS[0].commands() == ["make demo", "make test"]


def test_what_is_not_run_says_why():
    for block in BLOCKS:
        if block.skipped:
            assert len(block.marker.removeprefix("not run by the tests: ")) > 10
    assert sum(block.language == "bash" and not block.skipped for block in BLOCKS) >= 4


@pytest.mark.long
@pytest.mark.slow
def test_the_commands_run(tmp_path, monkeypatch, capsys):
    import wandb

    write_market(
        tmp_path / "cache/emoji-reid-64/a", train_ids=8, test_ids=3, val_ids=2, cameras=4, size=(64, 64), suffix=".png"
    )
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for identity in range(3):
        save(tmp_path / f"photos/{identity}.png", identity, size=(64, 64))
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    for block in BLOCKS:
        if block.language != "bash" or block.skipped:
            continue
        for command in block.commands():
            program, *argv = shlex.split(command)
            assert program == "vision-suite", f"{command}: mark the block or make it a command of ours"
            if argv[0] in TRAINER_COMMANDS and "-c" in argv:  # a continued run has its own configuration
                # Right behind the named configuration: what the README's own flags say still wins.
                argv[3:3] = ["-c", "tiny.yaml"]
            printing = any(word.startswith("--print_config") for word in argv)
            try:
                status = main(argv)
            except SystemExit as leave:  # the parser leaves after printing
                assert printing, command
                status = leave.code or 0
            assert status == 0, f"{command}\n{capsys.readouterr().err}"
        if wandb.run is not None:
            wandb.finish()
    record = json.loads((tmp_path / "runs/dcal/emoji_reid/version_0/run.json").read_text())
    assert record["command_line"][:4] == ["vision-suite", "fit", "-c", "dcal/emoji_reid"], "as typed, not as resolved"
    for expected in ("version_0/run.json", "version_1/test/metrics.json", "version_2/predict/features.npz"):
        assert (tmp_path / "runs/dcal/emoji_reid" / expected).is_file(), expected
    assert list((tmp_path / "runs/dcal/emoji_reid/version_0/checkpoints").glob("*.onnx"))


@pytest.mark.parametrize("code", [block.code for block in BLOCKS if block.language == "python"])
def test_the_python_runs(code):
    exec(compile(code, str(README), "exec"), {})


def test_links_lead_somewhere():
    import re

    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (README.parent / target).exists(), target
