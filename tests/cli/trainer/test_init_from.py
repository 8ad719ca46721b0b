"""``fit --init_from``: a run starts from weights; its configuration fits every command; resuming leaves them alone."""

from pathlib import Path

import pytest
import torch
import yaml
from command import finish, start
from synthetic import write_market

from vision_suite.cli import main
from vision_suite.cli.commands.train import run

FIRST_RUN = Path("runs/toy/version_0")
LINE = (
    "init_from start.pth (own names): took 2 of 4 tensors (hidden 2); left out head.weight (9x6, here 4x6), "
    "head.bias (9, here 4); not in the file, initialised as configured: head.* (2 tensors)"
)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A working folder with data, a configuration and the weights of the same network for more identities."""
    import toy_method

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "cache"))
    write_market(tmp_path / "market", train_ids=4, test_ids=2, val_ids=2)
    data = {"root": "market", "image_size": [32, 16], "batch_size": 4, "num_instances": 2, "cache": "memory"}
    config = {
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": 1,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "log_every_n_steps": 1,
        },
        "model": {"class_path": "toy_method.LitToy", "init_args": {"width": 6}},
        "data": {"class_path": "vision_suite.datasets.reid.data.ReIDData", "init_args": {"num_workers": 0, **data}},
    }
    Path("toy.yaml").write_text(yaml.safe_dump(config))
    torch.save(toy_method.LitToy(9, width=6).state_dict(), "start.pth")
    return "toy.yaml"


def fails(capsys, *argv):
    """Run a command that must fail as a user's mistake; returns its one line."""
    capsys.readouterr()
    assert main(list(argv)) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vision-suite: error: ")]
    assert len(lines) == 1
    return lines[0].removeprefix("vision-suite: error: ")


def test_a_run_starts_from_the_weights(toy, capsys):
    argv = ["--init_from", "start.pth", "--model.optim.lr=1e-30"]  # a step that changes no weight
    model = run(["fit", "-c", toy, *argv]).model
    assert LINE in capsys.readouterr().out.splitlines()
    assert torch.equal(model.hidden.weight, torch.load("start.pth", weights_only=True)["hidden.weight"])
    assert model.initialised_from["file"] == "start.pth"
    assert model.initialised_from["taken"] == {"hidden": 2}


@pytest.mark.long
def test_its_configuration_is_good_for_every_command(toy, capsys):
    assert main(["fit", "-c", toy, "--init_from", "start.pth"]) == 0
    config = str(FIRST_RUN / "config.yaml")
    assert yaml.safe_load(Path(config).read_text())["init_from"] == "start.pth"
    last = str(FIRST_RUN / "checkpoints/last.ckpt")
    capsys.readouterr()
    for command in ("validate", "test", "predict"):
        assert main([command, "-c", config, "--ckpt_path", last]) == 0, command
    assert "init_from" not in capsys.readouterr().out, "only training starts from weights"
    assert main(["fit", "-c", config]) == 0, "the configuration repeats the run"
    assert LINE in capsys.readouterr().out.splitlines()


def test_resuming_does_not_start_again(toy, capsys):
    Path("toy.yaml").write_text(Path("toy.yaml").read_text() + "init_from: start.pth\n")
    assert main(["fit", "-c", toy]) == 0
    Path("start.pth").unlink()
    capsys.readouterr()
    assert main(["fit", "-c", toy, "--ckpt_path", "last", "--trainer.max_epochs=2"]) == 0
    assert "init_from" not in capsys.readouterr().out
    last = str(FIRST_RUN / "checkpoints/last.ckpt")
    assert main(["fit", "-c", str(FIRST_RUN / "config.yaml"), "--ckpt_path", last, "--trainer.max_epochs=3"]) == 0


def test_a_checkpoint_that_nobody_typed_wins_and_says_so(toy, capsys):
    assert main(["fit", "-c", toy]) == 0
    last = str(FIRST_RUN / "checkpoints/last.ckpt")
    assert main(["fit", "-c", toy, "--ckpt_path", last, "--trainer.max_epochs=2"]) == 0
    resumed = "runs/toy/version_1/config.yaml"
    capsys.readouterr()
    assert main(["fit", "-c", resumed, "--init_from", "start.pth"]) == 0
    assert f"init_from start.pth: not read, the run goes on from {last}" in capsys.readouterr().out.splitlines()


def test_contradictions_are_one_line(toy, capsys):
    assert main(["fit", "-c", toy]) == 0
    last = str(FIRST_RUN / "checkpoints/last.ckpt")
    both = fails(capsys, "fit", "-c", toy, "--init_from", "start.pth", "--ckpt_path", last)
    assert both == (
        f"--init_from start.pth and --ckpt_path {last}: the first starts a run from weights, the second goes on with a "
        "run: give one of them"
    )
    Path("resumed.yaml").write_text(f"ckpt_path: {last}\n")
    both = fails(capsys, "fit", "-c", toy, "-c", "resumed.yaml", "--init_from=start.pth")
    assert f"--ckpt_path {last} (from resumed.yaml)" in both
    other = fails(capsys, "test", "-c", toy, "--init_from", "start.pth", "--ckpt_path", last)
    assert other == "--init_from starts training: give test the trained weights with --ckpt_path"


def test_some_models_are_evaluated_as_they_start(toy, capsys, monkeypatch):
    import toy_method

    from vision_suite.lit_modules.sentinel import LitSentinel
    from vision_suite.lit_modules.wings import LitWings

    assert LitWings.evaluated_at_start
    assert LitSentinel.evaluated_at_start
    monkeypatch.setattr(toy_method.LitToy, "evaluated_at_start", True)
    model = run(["test", "-c", toy, "--init_from", "start.pth"]).model
    told = capsys.readouterr()
    assert LINE in told.out.splitlines()
    assert "untrained model" not in told.err
    assert torch.equal(model.hidden.weight, torch.load("start.pth", weights_only=True)["hidden.weight"])


def test_files_that_are_no_weights_are_one_line(toy, capsys):
    Path("text.pth").write_text("hello")
    torch.save({"unknown": torch.ones(2)}, "foreign.pth")
    for name, line in (
        ("absent.pth", "no such file"),
        ("text.pth", "not a checkpoint (a text file)"),
        ("foreign.pth", "nothing taken"),
    ):
        assert fails(capsys, "fit", "-c", toy, "--init_from", name).startswith(f"{name}: {line}")


def test_the_option_is_documented_where_it_works(toy, capsys):
    for command, shown in (("fit", True), ("test", False)):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert ("--init_from" in capsys.readouterr().out) is shown


@pytest.mark.long
@pytest.mark.dist
def test_two_processes_start_from_the_same_weights(toy):
    two = ["--trainer.devices=2", "--trainer.strategy=ddp", "--data.batch_size=2", "--init_from=start.pth"]
    done = finish(start(Path.cwd(), "fit", "-c", toy, *two))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("init_from start.pth") == 1
