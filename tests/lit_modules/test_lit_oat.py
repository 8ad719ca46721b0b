"""OAT under Lightning: it learns, resumes exactly, reports what was drawn, and refuses data that it cannot read."""

import csv
import json

import numpy as np
import pytest
import torch
from oat_data import beside, covers, lit, reading, searches, table_lit, trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from vision_suite.callbacks.report.writer import ReportWriter
from vision_suite.callbacks.run_dir import run_dir
from vision_suite.cli.commands.train import run
from vision_suite.datasets.scanpath.data import ScanpathData
from vision_suite.datasets.scanpath.grid import GridScanpathData
from vision_suite.errors import ConfigError, DataError
from vision_suite.lit_modules.oat import LitOAT
from vision_suite.metrics.scanpath import sequence_score
from vision_suite.optim import OptimConfig
from vision_suite.types import BACKGROUND


def grid(**settings):
    few = {"train_scenes": 64, "validation_scenes": 8, "test_scenes": 12, "eval_batch_size": 5, "seed": 1}
    return GridScanpathData(**{**few, **settings})


@pytest.mark.long
def test_it_learns_the_rule_and_nothing_from_shuffled_targets(tmp_path):
    found = {}
    for shuffled in (False, True):
        split = grid(train_scenes=6400, test_scenes=100, eval_batch_size=100, shuffle_targets=shuffled)
        module = lit(embed_dim=64, ff_dim=128, samples=2)
        running = trainer(tmp_path, 2, limit_val_batches=0, gradient_clip_val=1.0, limit_train_batches=250)
        running.fit(module, split)
        running.test(module, datamodule=split, verbose=False)
        found[shuffled] = module.report.metrics
    assert found[False]["mode/sequence_score"] >= 0.95, "within 500 of the 800 steps"
    assert found[True]["mode/sequence_score"] <= 0.4
    assert found[False]["nats_per_fixation"] < 0.35 < 1 < found[True]["nats_per_fixation"]


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    def save(folder):
        return ModelCheckpoint(folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False)

    def fit(epochs, folder, **more):
        module = lit(dropout=0.1)
        running = trainer(tmp_path, epochs, enable_checkpointing=True, callbacks=[save(tmp_path / folder)])
        running.fit(module, grid(), **more)
        return module, float(running.callback_metrics["val/nats_per_fixation"])

    whole, score = fit(3, "a")
    fit(2, "b")
    resumed, again = fit(3, "c", ckpt_path=tmp_path / "b/last.ckpt", weights_only=True)
    for (name, one), two in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, two), name
    assert score == again


def test_settings_survive_a_checkpoint_as_plain_values():
    module = lit(scores=("scanmatch",), position="gauss_hermite", optim=OptimConfig("sgd"), max_length=5)
    again = LitOAT(**{k: v for k, v in module.hparams.items() if not k.startswith("_")})
    assert (again.scores, again.max_length, again.optim.name) == (("scanmatch",), 5, "sgd")
    assert type(again.model.embedding.position) is type(module.model.embedding.position)


def test_the_report_is_what_was_drawn(tmp_path):
    module, split = lit(samples=3), grid()
    running = trainer(tmp_path, callbacks=[ReportWriter(queries=1)])
    running.test(module, split, verbose=False)
    folder = run_dir(running) / "test"
    trials = json.loads((folder / "scanpaths.json").read_text())["trials"]
    assert [trial["scene"] for trial in trials] == [trial.scene for trial in split.trials("test")]
    pairs = [sequence_score(t["human"]["objects"], s["objects"]) for t in trials for s in t["samples"]]
    assert len(pairs) == 36
    assert module.report.metrics["sequence_score"] == pytest.approx(np.mean(pairs))
    stored = json.loads((folder / "metrics.json").read_text())
    assert stored["task"] == "scanpath_prediction"
    assert stored["protocol"]["trials_scored"] == {"scored": 12, "of": 12}
    names = {row["predictor"] for row in csv.DictReader((folder / "scores.csv").open())}
    assert names == {"model", "mode", "human", "random", "next_object", "offsets"}
    # What the network itself says of the same paths.
    batch = next(iter(split.test_dataloader()))
    steps = module.model.log_prob(batch).total
    assert [-t for t in steps.tolist()] == pytest.approx([_nats(trial) for trial in trials[:5]], rel=1e-4)


def _nats(trial):
    return -sum(trial["human"]["step_log_probs"])


def test_neither_the_batch_size_nor_the_order_of_runs_changes_the_numbers(tmp_path):
    reports = []
    for size in (12, 5, 1):
        module = lit(samples=4)
        torch.manual_seed(size)
        trainer(tmp_path).test(module, grid(eval_batch_size=size), verbose=False)
        reports.append(module.report)
    for report in reports[1:]:
        assert report.metrics == pytest.approx(reports[0].metrics, rel=1e-5, nan_ok=True)
        for one, two in zip(report.trials, reports[0].trials, strict=True):
            assert [s["objects"] for s in one["samples"]] == [s["objects"] for s in two["samples"]]
    samples = [tuple(s["objects"]) for s in reports[0].trials[0]["samples"]]
    assert len(set(samples)) > 1


def test_validation_in_training_draws_once_and_alone_as_often_as_a_test(tmp_path):
    module, split = lit(samples=3), grid()
    running = trainer(tmp_path)
    running.fit(module, split)
    logged = running.callback_metrics
    assert {"train/loss", "train/loss_fixation", "val/nats_per_fixation", "val/delta", "val/mode/delta"} <= set(logged)
    assert "val/edit_distance" not in logged
    assert {len(trial["samples"]) for trial in module.report.trials} == {1}
    running.validate(module, split, verbose=False)
    assert {len(trial["samples"]) for trial in module.report.trials} == {3}
    assert "val/edit_distance" in running.callback_metrics


def test_limited_batches_are_scored_and_said(tmp_path):
    module = lit()
    with pytest.warns(UserWarning, match="5 of 12 trials are scored"):
        trainer(tmp_path, limit_test_batches=1).test(module, grid(), verbose=False)
    assert len(module.report.trials) == 5
    assert module.report.protocol["trials_scored"] == {"scored": 5, "of": 12}
    running = trainer(tmp_path, fast_dev_run=True)
    running.fit(module, grid())
    running.test(module, grid(), verbose=False)
    assert len(module.report.trials) == 5


def test_nothing_to_validate_on(tmp_path):
    module = lit()
    running = trainer(tmp_path)
    running.fit(module, grid(validation_scenes=0))
    assert module.report is None
    assert not [name for name in running.callback_metrics if name.startswith("val/")]


def test_an_error_stops_a_test_but_not_a_run_to_try_every_step(tmp_path, monkeypatch):
    def fails(*args, **kwargs):
        raise DataError("nothing can be scored")

    monkeypatch.setattr("vision_suite.lit_modules.oat.scanpath_report", fails)
    with pytest.raises(DataError, match="nothing can be scored"):
        trainer(tmp_path).test(lit(), grid(), verbose=False)
    with pytest.warns(UserWarning, match="fast_dev_run: test is not scored"):
        trainer(tmp_path, fast_dev_run=True).test(lit(), grid(), verbose=False)


def test_durations_of_windows_that_go_on(tmp_path):
    """As OneStop-mini: words at free places, a question as target, pieces of recordings, seconds."""
    split = reading(tmp_path / "set", window=4, test_overlap=2)
    module = table_lit(split, duration=True, target_token="given", samples=2)
    running = trainer(tmp_path, callbacks=[ReportWriter(queries=1)])
    running.fit(module, split)
    assert float(running.callback_metrics["train/loss_duration"]) != 0
    assert float(running.callback_metrics["train/loss"]) == pytest.approx(
        float(running.callback_metrics["train/loss_fixation"] + running.callback_metrics["train/loss_duration"]),
        rel=1e-4,
    )
    running.test(module, split, verbose=False)
    report = module.report
    assert not any(trial["human"]["terminated"] for trial in report.trials)
    for trial in report.trials:
        given = trial["given"]
        assert given >= 1
        for path in trial["samples"]:
            assert len(path["objects"]) <= len(trial["human"]["objects"])
            assert path["objects"][:given] == trial["human"]["objects"][:given]
            assert path["duration"][:given] == pytest.approx(trial["human"]["duration"][:given])
            assert 0 < min(path["duration"]) <= max(path["duration"]) <= 60
    assert np.isfinite(report.rows["model"]["multimatch_duration"])
    assert report.protocol["window"] == {
        "length": {"fit": 4, "validate": 4, "test": 4},
        "overlap": {"fit": 0, "validate": 2, "test": 2},
    }
    assert report.rows["model"]["nats_per_fixation"] > 0
    capped = report.protocol["durations_capped"]
    assert capped["at"] == 60
    assert capped["fixations"] > 0, "a network that was trained for three steps draws hours"


def test_background_absent_and_free_trials(tmp_path):
    split = searches(tmp_path / "set")
    module = table_lit(split, background=True, conditions=True, target_token="given", samples=2)
    running = trainer(tmp_path)
    running.fit(module, split)
    running.test(module, split, verbose=False)
    report = module.report
    assert {trial["condition"] for trial in report.trials} == {"present", "absent", "free"}
    assert any(BACKGROUND in trial["human"]["objects"] for trial in report.trials)
    assert np.isfinite(report.metrics["nats_per_fixation"])
    assert {"delta", "hit"} <= set(report.rows["model"])
    only = replace_part(searches(tmp_path / "set"), lambda trial: trial.condition != 0)
    running.test(module, only, verbose=False)
    assert "delta" not in module.report.rows["model"], "nothing is there to be found"
    assert np.isfinite(module.report.metrics["sequence_score"])


def replace_part(split, keep):
    """The data with fewer test trials."""
    split._trials["test"] = split._recordings["test"] = [t for t in split.trials("test") if keep(t)]
    return split


def test_a_network_is_tested_on_scenes_with_more_objects(tmp_path):
    small = table_lit(beside(tmp_path / "small", objects=3), samples=2)
    split = beside(tmp_path / "large", objects=9)
    trainer(tmp_path).test(small, split, verbose=False)
    assert small.max_length == 3 < max(trial.length for trial in split.trials("test"))
    assert max(max(path["objects"]) for trial in small.report.trials for path in trial["samples"]) > 2
    assert small.report.counts["model"]["unterminated"] > 0, "paths are cut at the longest of training, and counted"


def test_predictions_are_rows_of_drawn_paths(tmp_path):
    module, split = lit(samples=2), grid()
    running = trainer(tmp_path)
    running.test(module, split, verbose=False)
    batch = next(iter(split.predict_dataloader()))
    first = module.predict_step(batch, 0)
    assert first["trial"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    objects = [[int(n) for n in row[2 : 2 + module.max_length] if n != -1] for row in first["values"]]
    tested = [path["objects"] for trial in module.report.trials[:5] for path in trial["samples"]]
    assert objects == tested, "the same paths as in testing"


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"appearance": "cnn", "in_channels": 0}, "reads crops, but the data give vectors"),
        ({"in_channels": 4}, "reads vectors of width 4, but those of the data have 16"),
        ({"target_token": "given"}, r"target_token=given, but the data copy the target"),
        ({"num_positions": 3}, r"a table of 3 rows and columns, but .* a grid of 4 rows"),
    ],
)
def test_data_that_the_network_cannot_read(tmp_path, settings, match):
    with pytest.raises(ConfigError, match=match):
        trainer(tmp_path).fit(lit(**settings), grid())


def test_trials_that_the_network_does_not_know(tmp_path):
    split = searches(tmp_path / "set")
    running = trainer(tmp_path)
    with pytest.raises(ConfigError, match=r"of \d+ trials to fit have fixations on no object: pass --model.background"):
        running.fit(table_lit(split, conditions=True, target_token="given"), split)
    with pytest.raises(ConfigError, match=r"target-absent or free viewing: pass --model.conditions true"):
        running.fit(table_lit(split, background=True, target_token="given"), split)
    with pytest.raises(ConfigError, match="name no single object to copy"):
        running.fit(table_lit(reading(tmp_path / "words")), reading(tmp_path / "words"))
    with pytest.raises(ConfigError, match=r"objects of the data stand freely: train with --model.position gauss_herm"):
        running.fit(table_lit(split, position="cholesky", background=True, conditions=True), split)


def test_crops_that_the_network_cannot_read(tmp_path):
    split = ScanpathData("amazon_covers", str(covers(tmp_path)), length_deviations=0, crop_size=(40, 30), seed=0)
    running = trainer(tmp_path)
    small = {"appearance": "cnn", "in_channels": 0, "num_positions": 14, "embed_dim": 84}
    with pytest.raises(ConfigError, match=r"model.crop_size=\[150, 93\], but data.crop_size=\[40, 30\]"):
        running.fit(lit(**small), split)
    with pytest.raises(ConfigError, match="appearance=table reads vectors, but the data give crops"):
        running.fit(lit(num_positions=14, embed_dim=84), split)
    other = ScanpathData("amazon_covers", str(covers(tmp_path)), length_deviations=0, mean=(0.5, 0.5, 0.5), seed=0)
    with pytest.raises(ConfigError, match=r"data.mean=\[0.5, 0.5, 0.5\].* leave both out"):
        running.fit(lit(**{**small, "appearance": "timm:resnet10t", "pretrained": False}), other)
    split.batch_size = 8
    running.fit(lit(**small, crop_size=[40, 30], samples=1), split)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"max_length": 0}, "the data names no longest scanpath"),
        ({"samples": 0}, "samples=0"),
        ({"scores": ("sequence_score", "beauty")}, "scores='beauty' is not known: choose one of sequence_score"),
        ({"temperature": 0.0}, "temperature above 0"),
        ({"duration_weight": -1.0}, "a weight of 0 or more"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"temperature": float("inf")}, "temperature=inf"),
        ({"duration_weight": float("nan")}, "duration_weight=nan"),
        ({"max_length": 2.5}, "max_length=2.5 is no whole number"),
        ({"num_positions": -3}, "num_positions=-3"),
        ({"in_channels": -2}, "feature_dim=-2"),
        ({"scores": ()}, "give one score or more"),
        ({"num_heads": 5}, "embed_dim=32 must be a multiple of num_heads=5"),
        ({"ff_dim": 2.5}, "ff_dim=2.5 must be a whole number, 1 or more"),
        ({"dropout": float("nan")}, "dropout=nan"),
        ({"sigma": float("nan")}, "sigma=nan must be a finite number above 0"),
        ({"sigma": 500.0}, "sigma=500 is too wide for a table of 4 positions"),
        ({"position": "gauss_hermite", "flag_step": 0}, "flag_step=0 must be a whole number, 1 or more"),
        ({"appearance": "cnn", "crop_size": (150,)}, "crop_size="),
        ({"resamples": 0}, "resamples=0"),
    ],
)
def test_settings_out_of_range(settings, match):
    with pytest.raises(ConfigError, match=match):
        lit(**settings)


def test_inputs_that_say_nothing_are_warned_of(tmp_path):
    """One class without noise: every object looks alike, in every scene."""
    module, split = lit(samples=2), grid(rule={"classes": 1, "noise": 0.0})
    with pytest.warns(UserWarning, match="144 of 144 appearance features are equal"):
        trainer(tmp_path, callbacks=[ReportWriter(queries=1)]).test(module, split, verbose=False)
    stored = json.loads(next(tmp_path.rglob("metrics.json")).read_text())["protocol"]
    assert stored["warnings"] == module.report.protocol["warnings"]
    assert stored["warnings"][0].startswith("144 of 144 appearance features are equal")
    assert stored["pairs_without_score"]["model"]["sequence_score"] == {"without": 0, "pairs": 24}
    usual = lit(samples=2)
    trainer(tmp_path).test(usual, grid(), verbose=False)
    assert not any("features" in line for line in usual.report.protocol["warnings"])


def test_free_places_from_the_command_line(tmp_path, monkeypatch):
    """num_positions is 0 there; what a network was trained with stays, whatever data it is tested on."""
    monkeypatch.chdir(tmp_path)
    beside(tmp_path / "set", objects=4)
    beside(tmp_path / "more", objects=6)
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", "--trainer.accelerator=cpu"]
    small = ["--model.embed_dim=32", "--model.ff_dim=32", "--model.encoder_layers=1", "--model.decoder_layers=1"]
    network = ["--model=LitOAT", *small, "--model.samples=2", "--model.appearance=table"]
    own = ["--data=ScanpathData", "--data.dataset=table", "--data.batch_size=4"]
    cli = run(
        ["fit", *network, "--model.position=gauss_hermite", *own, "--data.root=set", "--trainer.max_epochs=1", *quiet]
    )
    assert (cli.model.hparams["num_positions"], cli.model.max_length, cli.model.hparams["in_channels"]) == (0, 4, 5)
    checkpoint = next((tmp_path / "runs").rglob("last.ckpt"))
    tested = run(["test", "--model=LitOAT", f"--ckpt_path={checkpoint}", *own, "--data.root=more", *quiet])
    assert tested.model.max_length == 4
    assert tested.datamodule.max_length == 6
    with pytest.raises(ConfigError, match=r"max_length .* is decided by the data"):
        run(["fit", *network, *own, "--data.root=set", "--model.max_length=3"])
