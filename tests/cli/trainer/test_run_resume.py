"""Runs have one identity: ``last``, ``best`` and a run's folder find the run that is meant, and go on with it."""

import json
import os
from pathlib import Path

import pytest
import yaml
from long_tests import long
from one_line import fails

from vision_suite.cli import main
from vision_suite.runs.record import process_identity

RUNS = Path("runs/toy")
FIRST = RUNS / "version_0"
MORE = "--trainer.max_epochs=2"
# The record of a run of an earlier version.
OLD = {"stage": "fit", "started": "2025-05-05T10:00:00+00:00", "command": ["vision-suite", "fit"], "checkpoint": None}


def record(folder=FIRST, name="run.json"):
    return json.loads((folder / name).read_text())


def folders():
    return sorted(path.name for path in RUNS.iterdir())


@pytest.mark.parametrize(
    "typed", [["--ckpt_path=last"], ["--ckpt_path", str(FIRST)], ["-c", "toy.yaml", "--ckpt_path=last"]]
)
def test_a_run_goes_on_without_retyping(toy, typed):
    assert main(["fit", "-c", toy, "--model.rate=0.7", "--data.batch_size=8", "--seed_everything=5"]) == 0
    assert main(["fit", *typed, MORE]) == 0
    assert folders() == ["version_0"]
    config = yaml.safe_load((FIRST / "config-2.yaml").read_text())
    assert (config["model"]["init_args"]["rate"], config["data"]["init_args"]["batch_size"]) == (0.7, 8)
    assert (config["seed_everything"], config["trainer"]["max_epochs"]) == (5, 2)
    first, second = record(), record(name="run-2.json")
    assert (first["status"], first["epoch"]) == (second["status"], second["epoch"] - 1) == ("finished", 1)
    for key in ("experiment", "experiment_digest", "experiment_folder", "seed"):
        assert first[key] == second[key], key
    assert second["started_from"] == str(FIRST / "checkpoints/last.ckpt")
    # A third part goes on from the configuration of the second.
    assert main(["fit", "--ckpt_path=last", "--trainer.max_epochs=3"]) == 0
    assert record(name="run-3.json")["epoch"] == 3


def test_a_run_goes_on_from_another_place(toy, tmp_path, monkeypatch):
    assert main(["fit", "-c", toy, f"--data.root={tmp_path / 'market'}"]) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["fit", "--ckpt_path", f"../{FIRST}", MORE]) == 0
    assert not Path("runs").exists()
    assert record(Path("..") / FIRST, "run-2.json")["epoch"] == 2
    assert (Path("..") / FIRST / "metrics.csv").is_file()


def test_a_finished_run_has_nothing_left(toy, capsys):
    assert main(["fit", "-c", toy]) == 0
    weights = (FIRST / "checkpoints/last.ckpt").read_bytes()
    capsys.readouterr()
    assert main(["fit", "--ckpt_path=last"]) == 0
    said = f"{FIRST} has come to its end (epoch 1 of 1): nothing is left to train; --trainer.max_epochs adds more"
    assert capsys.readouterr().out.splitlines() == [said]
    assert (FIRST / "checkpoints/last.ckpt").read_bytes() == weights
    assert sorted(path.name for path in FIRST.glob("run*.json")) == ["run.json"]
    assert main(["fit", "--ckpt_path=last", "--trainer.max_epochs=-1", "--trainer.max_steps=6"]) == 0
    assert "(step 6 of 6)" in capsys.readouterr().out


def test_a_changed_configuration_is_told_and_orphans_nothing(toy, capsys):
    assert main(["fit", "-c", toy]) == 0
    config = yaml.safe_load(Path(toy).read_text())
    config["model"]["init_args"]["width"] = 7
    Path(toy).write_text(yaml.safe_dump(config))
    assert main(["fit", "-c", toy, "--ckpt_path=last", MORE]) == 0
    assert f"toy.yaml was changed since {FIRST} began: the run goes on with its own" in capsys.readouterr().err
    assert yaml.safe_load((FIRST / "config-2.yaml").read_text())["model"]["init_args"]["width"] == 6
    assert main(["test", "-c", toy, "--ckpt_path=last"]) == 0
    captured = capsys.readouterr()
    assert f"toy.yaml was changed since {FIRST} began: test uses it as it is now" in captured.err
    assert "width=6 from the checkpoint, 7 in the configuration" in captured.out


def test_runs_of_another_experiment_are_never_taken(toy, capsys):
    """Two files of one name keep their runs in one folder; only the record tells them apart."""
    assert main(["fit", "-c", toy]) == 0
    Path("other").mkdir()
    Path("other/toy.yaml").write_text(Path(toy).read_text())
    assert "no training run of" in fails(capsys, "fit", "-c", "other/toy.yaml", "--ckpt_path=last")
    assert main(["fit", "-c", "other/toy.yaml"]) == 0
    assert folders() == ["version_0", "version_1"]
    assert main(["test", "-c", toy, "--ckpt_path=last"]) == 0
    assert f"from checkpoint {FIRST}/" in capsys.readouterr().out
    message = fails(capsys, "test", "--ckpt_path=last")
    assert message.startswith("--ckpt_path last: 2 experiments below runs: choose one with -c (")
    message = fails(capsys, "fit", "-c", toy, "--ckpt_path", str(RUNS / "version_1"), MORE)
    assert "other/toy.yaml, but -c names" in message


def test_test_runs_do_not_count(toy, capsys):
    assert main(["fit", "-c", toy]) == 0
    for _ in range(2):
        assert main(["test", "--ckpt_path=last"]) == 0
    assert folders() == ["version_0", "version_1", "version_2"]
    assert (record(RUNS / "version_2")["command"], record(RUNS / "version_2")["status"]) == ("test", "finished")
    assert f"from checkpoint {FIRST}/" in capsys.readouterr().out


def test_a_newer_run_without_a_checkpoint_is_named_with_the_older(toy, capsys):
    assert main(["fit", "-c", toy]) == 0
    assert main(["fit", "-c", toy, "--trainer.enable_checkpointing=false"]) == 0
    message = fails(capsys, "test", "-c", toy, "--ckpt_path=last")
    assert message.startswith(
        "--ckpt_path last: the newest run, runs/toy/version_1 (finished, epoch 1), has no checkpoint"
    )
    assert message.endswith(f"--ckpt_path {FIRST}")
    assert main(["test", "--ckpt_path", str(FIRST)]) == 0


def test_a_damaged_file_is_passed_over_and_said(toy, capsys):
    every = ["--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.filename=kept"]
    assert main(["fit", "-c", toy, *every]) == 0
    last = FIRST / "checkpoints/last.ckpt"
    last.write_bytes(last.read_bytes()[:-500])
    assert main(["fit", "--ckpt_path=last", MORE]) == 0
    captured = capsys.readouterr()
    assert "last.ckpt: " in captured.err
    assert f"passed over, {FIRST}/checkpoints/kept.ckpt is used" in captured.err
    assert record(name="run-2.json")["epoch"] == 2
    for path in (FIRST / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-500])
    assert f"no checkpoint of {FIRST} can be read" in fails(capsys, "test", "--ckpt_path=last")


def test_a_run_that_still_trains_is_left_alone(toy, capsys):
    assert main(["fit", "-c", toy]) == 0
    alive = record() | {"status": "running", "process": process_identity(os.getppid())}
    (FIRST / "run.json").write_text(json.dumps(alive))
    assert "is still being trained" in fails(capsys, "fit", "--ckpt_path=last", MORE)
    assert main(["test", "--ckpt_path=last"]) == 0


def test_a_folder_that_is_no_run_is_refused(toy, capsys):
    Path("empty").mkdir()
    assert "not the folder of a training run: name a run's folder" in fails(capsys, "fit", "--ckpt_path=empty")
    assert main(["fit", "-c", toy]) == 0
    assert fails(capsys, "fit", f"--ckpt_path={RUNS}").endswith(f"name one of {FIRST}")
    assert main(["fit", f"--ckpt_path={FIRST / 'checkpoints'}", MORE]) == 0


@pytest.mark.parametrize(
    "logger", [*map(long, ["TensorBoardLogger", "false", "true"]), "WandbLogger", "[TensorBoardLogger, CSVLogger]"]
)
def test_every_logger_has_the_same_folders(toy, logger):
    argv = ["fit", "-c", toy, "--trainer.logger", logger]
    argv += ["--trainer.logger.offline=true"] if logger == "WandbLogger" else []
    assert main(argv) == 0
    assert main(argv) == 0
    assert {"version_0", "version_1"} <= set(folders())
    for name in ("version_0", "version_1"):
        files = {path.name for path in (RUNS / name).iterdir()}
        assert {"config.yaml", "run.json", "checkpoints"} <= files
        assert ("metrics.csv" in files) == (logger != "false")
        assert ("training.png" in files) == (logger != "false")
    assert main(["fit", "--ckpt_path=last", MORE]) == 0
    assert record(RUNS / "version_1", "run-2.json")["epoch"] == 2
    assert main(["test", "--ckpt_path=last"]) == 0
    if logger == "WandbLogger":
        import wandb

        wandb.finish()


def test_an_earlier_run_is_found_by_its_folder(toy, capsys):
    assert main(["fit", "-c", toy]) == 0
    (FIRST / "run.json").write_text(json.dumps(OLD))
    assert main(["fit", "-c", toy, "--ckpt_path=last", MORE]) == 0
    assert record(name="run-2.json")["epoch"] == 2
    assert main(["test", "--ckpt_path=last"]) == 0
    assert f"from checkpoint {FIRST}/" in capsys.readouterr().out


def test_a_requeued_job_goes_on_by_itself(toy, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    assert main(["fit", "-c", toy]) == 0
    assert record()["slurm_job"] == "42"
    assert main(["fit", "-c", toy, MORE]) == 0
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert main(["fit", "-c", toy, "--trainer.max_epochs=3"]) == 0
    assert folders() == ["version_0", "version_1"]
    assert record(RUNS / "version_1", "run-2.json")["epoch"] == 3
    monkeypatch.setenv("SLURM_JOB_ID", "43")
    assert main(["fit", "-c", toy]) == 0
    assert folders() == ["version_0", "version_1", "version_2"]


def test_a_run_that_never_began_leaves_no_folder(toy, capsys):
    fails(capsys, "fit", "-c", toy, "--data.root=nowhere")
    assert not RUNS.exists() or folders() == []


def test_a_repeated_run_is_found_where_it_was_put(toy, capsys):
    assert main(["fit", "-c", toy]) == 0
    own = ["-c", str(FIRST / "config.yaml"), "--trainer.default_root_dir=other"]
    assert main(["fit", *own]) == 0
    assert main(["fit", *own, "--ckpt_path=last", MORE]) == 0
    assert record(Path("other/toy/version_0"), "run-2.json")["epoch"] == 2
    assert not (FIRST / "run-2.json").exists()
    # What a continued run stores can be repeated too.
    assert main(["fit", "-c", "other/toy/version_0/config-2.yaml"]) == 0
    assert record(Path("other/toy/version_1"))["epoch"] == 2


def test_one_process_at_a_time_trains_in_a_folder(toy, capsys, monkeypatch):
    import fcntl

    assert main(["fit", "-c", toy]) == 0

    def taken(file, kind):
        raise BlockingIOError

    monkeypatch.setattr(fcntl, "lockf", taken)
    assert "is being trained by another process" in fails(capsys, "fit", "--ckpt_path=last", MORE)
    assert not (FIRST / "run-2.json").exists()


def test_the_best_checkpoint_survives_another_name_of_the_folder(toy):
    keep = ["--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.monitor=train/loss"]
    keep += ["--trainer.callbacks.save_on_train_epoch_end=true", "--trainer.callbacks.mode=max"]
    assert main(["fit", "-c", toy, MORE, *keep]) == 0
    best = record()["best"]
    Path("moved").mkdir()
    FIRST.rename("moved/here")
    assert main(["fit", f"--ckpt_path={Path('moved/here').absolute()}", "--trainer.max_epochs=3"]) == 0
    assert record(Path("moved/here"), "run-2.json")["best"] == best
    assert len(list(Path("moved/here/checkpoints").glob("epoch*.ckpt"))) == 1


def test_a_repeated_command_does_not_add_its_callbacks_again(toy, capsys):
    second = ["--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.filename=second"]
    second += ["--trainer.callbacks+=LearningRateMonitor"]
    assert main(["fit", "-c", toy, *second]) == 0
    assert main(["fit", "-c", toy, MORE, *second, "--ckpt_path=last"]) == 0
    told = capsys.readouterr().err
    assert "trainer.callbacks has ModelCheckpoint twice with the same settings: it is used once" in told
    assert "trainer.callbacks has LearningRateMonitor twice" in told
    assert record(name="run-2.json")["epoch"] == 2
    stored = yaml.safe_load((FIRST / "config-2.yaml").read_text())["trainer"]["callbacks"]
    assert [each["class_path"].rpartition(".")[2] for each in stored] == ["ModelCheckpoint", "LearningRateMonitor"]
    # One that the run has with other settings is no repetition.
    other = ["--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.filename=third"]
    line = fails(capsys, "fit", "--ckpt_path=last", "--trainer.max_epochs=3", *other)
    assert line.startswith(
        "trainer.callbacks has two ModelCheckpoint that a checkpoint cannot tell apart: leave one out"
    )
    assert main(["fit", "--ckpt_path=last", "--trainer.max_epochs=3", *other, "--trainer.callbacks.monitor=epoch"]) == 0


def test_an_earlier_run_keeps_its_configuration(toy, capsys):
    assert main(["fit", "-c", toy]) == 0
    (FIRST / "run.json").write_text(json.dumps(OLD))
    assert main(["fit", "--ckpt_path=last", MORE]) == 0
    assert main(["fit", "-c", toy, "--ckpt_path=last", "--trainer.max_epochs=3"]) == 0
    assert main(["fit", "-c", toy, "--ckpt_path", str(FIRST), "--trainer.max_epochs=4"]) == 0
    assert record(name="run-4.json")["experiment"] == str(Path(toy).resolve())


def test_a_linked_folder_is_found(toy):
    assert main(["fit", "-c", toy]) == 0
    Path("disk").mkdir()
    RUNS.rename("disk/toy")
    RUNS.symlink_to(Path("disk/toy").absolute())
    assert main(["fit", "-c", toy, "--ckpt_path=last", MORE]) == 0
    assert main(["test", "--ckpt_path=last"]) == 0


def test_last_looks_where_the_loggers_write(toy):
    kinds = {"TensorBoardLogger": "tb", "CSVLogger": "csv"}
    loggers = [{"class_path": name, "init_args": {"save_dir": place}} for name, place in kinds.items()]
    argv = ["-c", toy, "-c", json.dumps({"trainer": {"logger": loggers}})]
    assert main(["fit", *argv]) == 0
    assert main(["test", *argv, "--ckpt_path=last"]) == 0
    assert main(["fit", *argv, "--trainer.logger=false"]) == 0
    assert main(["test", *argv, "--trainer.logger=false", "--ckpt_path=last"]) == 0


def test_configurations_written_out_are_told_apart(toy):
    first, second = (json.dumps({**yaml.safe_load(Path(toy).read_text()), "seed_everything": seed}) for seed in (1, 2))
    assert main(["fit", "-c", first]) == 0
    assert main(["fit", "-c", second]) == 0
    assert main(["fit", "-c", first, "--ckpt_path=last", MORE]) == 0
    assert Path("runs/unnamed/version_0/run-2.json").is_file()


def test_only_the_configuration_itself_counts_as_changed(toy, capsys):
    Path("extra.yaml").write_text("trainer: {max_epochs: 1}\n")
    assert main(["fit", "-c", toy, "-c", "extra.yaml", "--trainer.logger=csv"]) == 0
    assert main(["test", "-c", toy, "--ckpt_path=last"]) == 0
    assert "was changed" not in capsys.readouterr().err
    # The extra file is not applied again over what was chosen later.
    assert main(["fit", "--ckpt_path=last", MORE]) == 0
    assert main(["fit", "-c", toy, "-c", "extra.yaml", "--ckpt_path=last"]) == 0
    assert "(epoch 2 of 2)" in capsys.readouterr().out


def test_a_run_that_ended_early_has_nothing_left(toy, capsys):
    early = ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=train/loss", "--trainer.max_epochs=5"]
    early += ["--trainer.callbacks.check_on_train_epoch_end=true", "--trainer.callbacks.stopping_threshold=100"]
    assert main(["fit", "-c", toy, *early]) == 0
    assert record()["epoch"] == 1
    assert main(["fit", "--ckpt_path=last"]) == 0
    assert "nothing is left to train" in capsys.readouterr().out


def test_a_chosen_number_does_not_overwrite_a_run(toy, capsys):
    chosen = ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=runs", "--trainer.logger.version=9"]
    assert main(["fit", "-c", toy, *chosen]) == 0
    assert "holds a training run: go on with --ckpt_path" in fails(capsys, "fit", "-c", toy, *chosen)


def test_a_continued_run_tells_where_it_stands_before_its_first_checkpoint(toy):
    from toy_method import LitToy

    assert main(["fit", "-c", toy]) == 0
    seen = {}
    before = LitToy.on_train_batch_start
    LitToy.on_train_batch_start = lambda *args: (seen.update(record(name="run-2.json")), before(*args))[1]
    try:
        assert main(["fit", "--ckpt_path=last", "--trainer.max_epochs=2", "--trainer.limit_train_batches=1"]) == 0
    finally:
        LitToy.on_train_batch_start = before
    assert (seen["status"], seen["epoch"], seen["checkpoint"]) == ("running", 1, "checkpoints/last.ckpt")
