"""The trainer commands, run as a user runs them, on a generated data set and a toy method."""

import json
from pathlib import Path

import pytest
import yaml
from command import finish, start
from one_line import fails
from synthetic import write_market

from vision_suite.cli import main

FIRST_RUN = Path("runs/toy/version_0")


def test_fit_leaves_a_record_beside_the_checkpoints(toy):
    assert main(["fit", "-c", toy, "--seed_everything", "5"]) == 0
    assert (FIRST_RUN / "checkpoints/last.ckpt").is_file()
    assert (FIRST_RUN / "metrics.csv").is_file()
    config = yaml.safe_load((FIRST_RUN / "config.yaml").read_text())
    assert config["model"]["init_args"]["width"] == 6
    assert config["trainer"]["use_distributed_sampler"] is False
    record = json.loads((FIRST_RUN / "run.json").read_text())
    assert record["command_line"] == ["vision-suite", "fit", "-c", toy, "--seed_everything", "5"]
    assert (record["command"], record["status"], record["epoch"]) == ("fit", "finished", 1)
    assert record["experiment"] == str(Path(toy).resolve())
    assert record["checkpoint"] == "checkpoints/last.ckpt"
    assert record["seed"] == 5
    assert record["data"]["counts"]["train"] == {"images": 24, "identities": 4}
    assert record["data"]["fingerprint"]["files"] == 24 + 6 + 12


def test_a_stored_configuration_repeats_the_run(toy):
    import torch

    assert main(["fit", "-c", toy]) == 0
    assert main(["fit", "-c", str(FIRST_RUN / "config.yaml")]) == 0
    first, second = (
        torch.load(FIRST_RUN.with_name(run) / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for run in ("version_0", "version_1")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_model_gets_what_the_data_knows(toy):
    import torch

    assert main(["fit", "-c", toy]) == 0
    saved = torch.load(FIRST_RUN / "checkpoints/last.ckpt", weights_only=True)["hyper_parameters"]
    assert saved["num_classes"] == 4
    assert saved["num_cameras"] == 3
    assert "num_views" not in saved, "LitToy has no such argument, so load_from_checkpoint must not meet it"


@pytest.mark.parametrize(
    ("flag", "line"),
    [
        ("--model.widht=3", "LitToy has no setting 'widht': did you mean 'width'?"),
        ("--model.optim.lrr=1", "LitToy has no setting 'optim.lrr': did you mean 'optim.lr'"),
        ("--model.init_args.width=wide", "--model.width wide: expected int"),
        ("--model.readout=cls", "--model.readout cls: expected mean or max"),
        ("--model=LitToi", "--model LitToi: no such class: did you mean 'LitToy', "),
        ("--trainer.max_epoch=3", "unknown setting 'trainer.max_epoch': did you mean 'trainer.max_epochs'"),
        ("--trainer.logger=TensorBordLogger", "no such class: did you mean 'TensorBoardLogger'"),
        ("--trainer.callbacks+=RichProgresBar", "no such class: did you mean 'RichProgressBar'"),
        ("--trainer.max_epochs=many", "--trainer.max_epochs many: expected int or null"),
        ("--trainer.accelerator=abacus", "invalid accelerator name"),
        ("--ckpt_pth=x", "unknown setting 'ckpt_pth': did you mean 'ckpt_path'?"),
        ("--data.roots=x", "ReIDData has no setting 'roots': did you mean 'root'"),
        ("--data.root=elsewhere", "data set 'elsewhere' does not exist"),
        ("--trainer=gpu_am", "--trainer gpu_am: no such file and no part of that name: did you mean 'gpu_amp'"),
        ("--model=none.yaml", "--model none.yaml: no such file"),
        ("--model=torch.nn.Linear", "--model: this class is not a LitBase: choose one of "),
        ("--trainer.callbacks={class_path: EMA, init_args: {decay: x}}", "--trainer.callbacks.decay x: expected float"),
        ("--data.image_size=[1,2,3]", "--data.image_size [1, 2, 3]: expected tuple with 2 elements"),
        ("--config=toi", "no file and no named configuration 'toi'"),
    ],
)
def test_a_mistake_is_one_line_with_the_nearest_name(toy, capsys, flag, line):
    assert line in fails(capsys, "fit", "-c", toy, flag)


def test_mistakes_in_files_are_one_line_too(toy, capsys):
    Path("key.yaml").write_text("model: {init_args: {widht: 3}}\n")
    assert "no setting 'widht': did you mean 'width'?" in fails(capsys, "fit", "-c", toy, "-c", "key.yaml")
    Path("section.yaml").write_text("trainer: nowhere.yaml\n")
    assert "nowhere.yaml" in fails(capsys, "fit", "-c", toy, "-c", "section.yaml")
    Path("broken.yaml").write_text("model: [\n")
    assert "broken.yaml" in fails(capsys, "fit", "-c", toy, "-c", "broken.yaml")


def test_nothing_given_points_to_the_configurations(toy, capsys):
    assert "name a configuration" in fails(capsys, "fit")


def test_a_value_that_the_data_decides_is_refused(toy, capsys):
    message = fails(capsys, "fit", "-c", toy, "--model.num_classes=3")
    assert message == "model.num_classes (given in --model.num_classes) is decided by the data: remove it"
    # The default value too: the parser alone could not tell it from a value that was never given.
    assert "model.num_cameras" in fails(capsys, "fit", "-c", toy, "--model.init_args.num_cameras", "0")
    Path("x.yaml").write_text("model: {init_args: {num_classes: 9}}\n")
    assert "model.num_classes (given in x.yaml)" in fails(capsys, "fit", "-c", toy, "-c", "x.yaml")


def test_a_flag_before_the_file_is_warned_of(toy, capsys):
    assert main(["fit", "--trainer.max_epochs", "9", "-c", toy, "--trainer.fast_dev_run=true"]) == 0
    assert "warning: --trainer.max_epochs before -c" in capsys.readouterr().err


def test_flags_beat_the_checkpoint_and_the_checkpoint_beats_files(toy, capsys):
    assert main(["fit", "-c", toy, "--model.rate=0.5", "--model.optim.lr=0.03"]) == 0
    checkpoint = str(FIRST_RUN / "checkpoints/last.ckpt")
    assert main(["test", "-c", toy, "--ckpt_path", checkpoint, "--model.optim.lr", "0.07"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("from checkpoint ")]
    said = (
        "rate=0.5 from the checkpoint, 0.1 in the configuration; optim.lr=0.07 from your flag, 0.03 in the checkpoint"
    )
    assert lines == [f"from checkpoint {checkpoint}: {said}"]
    config = yaml.safe_load(Path("runs/toy/version_1/config.yaml").read_text())["model"]["init_args"]
    assert (config["rate"], config["optim"]["lr"], config["width"]) == (0.5, 0.07, 6)


def test_preprocessing_comes_from_the_checkpoint_and_is_told(toy, capsys):
    assert main(["fit", "-c", toy, "--data.mean=[0.1,0.2,0.3]"]) == 0
    capsys.readouterr()
    assert main(["test", "-c", toy, "--ckpt_path=last"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("from checkpoint ")]
    assert line.endswith(": mean=[0.1, 0.2, 0.3] from the checkpoint, [0.5, 0.5, 0.5] by default")
    assert yaml.safe_load(Path("runs/toy/version_1/config.yaml").read_text())["data"]["init_args"]["mean"][0] == 0.1


def test_a_model_keeps_its_classes_on_another_data_set(toy, capsys):
    write_market(Path("other"), train_ids=7, test_ids=3)
    assert main(["fit", "-c", toy]) == 0
    capsys.readouterr()
    assert main(["test", "-c", toy, "--ckpt_path", "last", "--data.root", "other"]) == 0
    assert "num_classes=4" in capsys.readouterr().out
    other = ["--data.root", "other", "--trainer.max_epochs=2"]
    message = fails(capsys, "fit", "-c", toy, "--ckpt_path", "last", *other)
    assert "was trained with num_classes=4, but the data has 7" in message


def test_a_killed_run_continues_in_its_own_folder(toy):
    assert main(["fit", "-c", toy]) == 0
    assert main(["fit", "-c", toy, "--ckpt_path", "last", "--trainer.max_epochs=2"]) == 0
    assert [path.name for path in Path("runs/toy").iterdir()] == ["version_0"]
    names = {path.name for path in FIRST_RUN.iterdir()}
    assert {"metrics-1.csv", "metrics.csv", "config-2.yaml", "run-2.json"} <= names
    steps = [line.split(",")[1] for line in (FIRST_RUN / "metrics.csv").read_text().splitlines()[1:]]
    assert steps, "the resumed part is logged"


def test_best_is_the_monitored_checkpoint(toy, capsys):
    monitored = ["--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.monitor=train/loss"]
    assert main(["fit", "-c", toy, *monitored, "--trainer.callbacks.filename=top"]) == 0
    assert main(["test", "-c", toy, "--ckpt_path", "best"]) == 0
    assert "checkpoints/top.ckpt" in capsys.readouterr().out


def test_bad_checkpoints_are_one_line(toy, capsys):
    assert "toy.yaml below runs: start one" in fails(capsys, "fit", "-c", toy, "--ckpt_path", "last")
    assert main(["fit", "-c", toy]) == 0
    good = FIRST_RUN / "checkpoints/last.ckpt"
    Path("cut.ckpt").write_bytes(good.read_bytes()[:2000])
    assert "cut.ckpt: truncated" in fails(capsys, "test", "-c", toy, "--ckpt_path", "cut.ckpt")
    assert "no such file" in fails(capsys, "test", "-c", toy, "--ckpt_path", "none.ckpt")
    other = fails(capsys, "test", "-c", toy, "--ckpt_path", str(good), "--model", "LitOtherToy")
    assert "was saved by toy_method.LitToy, but the model is toy_method.LitOtherToy" in other
    wide = fails(capsys, "test", "-c", toy, "--ckpt_path", str(good), "--model.width=9")
    assert "size mismatch" in wide


def test_a_removed_setting_in_a_checkpoint_is_named(toy, capsys):
    import torch

    assert main(["fit", "-c", toy]) == 0
    contents = torch.load(FIRST_RUN / "checkpoints/last.ckpt", weights_only=True)
    contents["hyper_parameters"]["old_knob"] = 3
    torch.save(contents, "old.ckpt")
    assert "holds the setting 'old_knob'" in fails(capsys, "test", "-c", toy, "--ckpt_path", "old.ckpt")


def test_odd_numbers_in_a_checkpoint_survive(toy, capsys):
    assert main(["fit", "-c", toy, "--model.rate=.inf"]) == 0
    assert main(["test", "-c", toy, "--ckpt_path", "last"]) == 0
    assert "rate=inf from the checkpoint" in capsys.readouterr().out


def test_a_checkpoint_never_runs_code(toy, capsys):
    import torch

    class Evil:
        def __reduce__(self):
            return (Path.touch, (Path("was-run"),))

    torch.save({"state_dict": {}, "hyper_parameters": {"x": Evil()}}, "evil.ckpt")
    assert "evil.ckpt: holds pickled code" in fails(capsys, "test", "-c", toy, "--ckpt_path", "evil.ckpt")
    assert not Path("was-run").exists()


def test_an_untrained_test_is_warned_of(toy, capsys):
    assert main(["test", "-c", toy]) == 0
    assert "no --ckpt_path: test runs with an untrained model" in capsys.readouterr().err


@pytest.mark.parametrize("logger", ["TensorBoardLogger", "tensorboard", "csv"])
def test_loggers_by_name_follow_the_root_folder(toy, logger):
    assert main(["fit", "-c", toy, "--trainer.logger", logger, "--trainer.default_root_dir", "out"]) == 0
    assert Path("out/toy/version_0/checkpoints/last.ckpt").is_file()
    assert Path("out/toy/version_0/config.yaml").is_file()


def test_a_network_of_another_picture_size_is_refused(toy, capsys):
    message = fails(capsys, "fit", "-c", toy, "--model", "LitSizedToy", "--model.image_size=[64,32]")
    assert message == "model.image_size=[64, 32] but data.image_size=[32, 16]: give both the same"


def test_progress_bars_by_name(toy):
    argv = ["fit", "-c", toy, "--trainer.enable_progress_bar=true", "--trainer.fast_dev_run=true"]
    assert main([*argv, "--trainer.callbacks+=RichProgressBar"]) == 0
    assert main([*argv, "--trainer.callbacks+=TQDMProgressBar"]) == 0


def test_every_run_has_its_callbacks_once(toy):
    from vision_suite.callbacks.report.writer import ReportWriter
    from vision_suite.cli.commands.train import run

    argv = ["fit", "-c", toy, "--trainer.callbacks+=ReportWriter", "--trainer.callbacks.queries=3"]
    callbacks = run(argv).trainer.callbacks
    assert [callback.queries for callback in callbacks if isinstance(callback, ReportWriter)] == [3]
    names = [type(callback).__name__ for callback in callbacks]
    assert names.count("RunRecord") == names.count("AutoWriter") == names.count("LastCheckpoint") == 1


def test_debug_shows_the_traceback(toy, monkeypatch):
    from vision_suite.errors import ConfigError

    monkeypatch.setenv("VISION_SUITE_DEBUG", "1")
    with pytest.raises(ConfigError, match="no setting 'widht'"):
        main(["fit", "-c", toy, "--model.widht=3"])


@pytest.mark.dist
@pytest.mark.long
def test_two_processes_share_one_run_folder(toy):
    """Through the real program: each process parses the command line, and loggers number runs on their own."""
    two = ["--trainer.devices=2", "--trainer.strategy=ddp", "--data.batch_size=2", "--trainer.max_epochs=2"]
    command = ["fit", "-c", toy, *two]
    done = finish(start(Path.cwd(), *command))
    assert done.returncode == 0, done.stderr
    assert [path.name for path in Path("runs/toy").iterdir()] == ["version_0"]
    record = json.loads((FIRST_RUN / "run.json").read_text())
    assert record["processes"] == 2
    assert sorted(path.name for path in FIRST_RUN.glob("*.json")) == ["run.json"]
    assert (FIRST_RUN / "checkpoints/last.ckpt").is_file()
    command += ["--ckpt_path=last", "--trainer.max_epochs=3"]
    done = finish(start(Path.cwd(), *command))
    assert done.returncode == 0, done.stderr
    assert [path.name for path in Path("runs/toy").iterdir()] == ["version_0"]
    assert done.stdout.count("from checkpoint") == 1


def test_a_loss_that_is_not_finite_is_one_line_and_keeps_the_last_good_checkpoint(toy, capsys):
    import torch

    assert main(["fit", "-c", toy]) == 0
    last = FIRST_RUN / "checkpoints/last.ckpt"
    good = last.read_bytes()
    line = fails(capsys, "fit", "-c", toy, "--ckpt_path=last", "--trainer.max_epochs=9", "--model.optim.lr=1e30")
    assert line.startswith("the training loss is not finite in epoch 1 at step ")
    assert "train/loss_ce is nan: lower the rate (--model.optim.lr), or let --trainer.detect_anomaly=true" in line
    assert f"the last good checkpoint is {last}" in line.replace(str(Path.cwd()) + "/", "")
    assert last.read_bytes() == good
    assert main(["fit", "-c", toy, "--ckpt_path=last", "--trainer.max_epochs=2"]) == 0
    stored = torch.load(last, weights_only=True)
    assert stored["epoch"] == 1
    assert all(value.isfinite().all() for value in stored["state_dict"].values())


def test_detected_anomalies_are_one_line(toy, capsys):
    flags = ["--model.optim.lr=1e30", "--trainer.detect_anomaly=true", "--trainer.max_epochs=9"]
    line = fails(capsys, "fit", "-c", toy, *flags)
    assert "backward pass: Function '" in line
    assert "returned nan values" in line
    assert "lower the rate (--model.optim.lr); train/loss_ce is nan" in line
    assert not list(FIRST_RUN.glob("error*.log"))


def test_best_is_the_best_validation_by_default(toy, capsys, monkeypatch):
    from toy_method import LitToy

    from vision_suite.types.curves import CurvePanel

    write_market(Path("market"), train_ids=4, test_ids=2, val_ids=2)
    monkeypatch.setattr(LitToy, "panels", (CurvePanel("Norm", {"val/norm": "norm"}, share=True),))
    argv = ["fit", "-c", toy, "--data.root=market", "--data.validation=holdout", "--data.val_fraction=0.5"]
    assert main([*argv, "--trainer.max_epochs=3"]) == 0
    record = json.loads((FIRST_RUN / "run.json").read_text())
    assert record["best"] == "checkpoints/best.ckpt"
    assert main(["test", "-c", toy, "--ckpt_path", "best"]) == 0
    assert "checkpoints/best.ckpt" in capsys.readouterr().out


def test_best_without_a_validation_is_one_line(toy, capsys):
    assert main(["fit", "-c", toy]) == 0
    line = fails(capsys, "test", "-c", toy, "--ckpt_path", "best")
    assert "has no monitored checkpoint, as a run without a validation split" in line
