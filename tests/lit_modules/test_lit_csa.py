"""CSA under Lightning: it learns, resumes exactly, reports what the metric says, and detects in video files."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from synthetic_tad import Action, write_feature_set, write_video, write_video_set

from vision_suite.callbacks.predict.base import AutoWriter
from vision_suite.callbacks.report.tad import DetectionView
from vision_suite.callbacks.report.writer import ReportWriter
from vision_suite.callbacks.run_dir import file_stem, run_dir
from vision_suite.cli import main
from vision_suite.cli.commands.train import run
from vision_suite.datasets.tad.data import TADData
from vision_suite.errors import ConfigError, DataError
from vision_suite.lit_modules.csa import LitCSA
from vision_suite.lit_modules.recognizer import LitRecognizer
from vision_suite.metrics.tad.operating_point import choose_thresholds, measures_at, short_list
from vision_suite.metrics.tad.report import detection_report
from vision_suite.metrics.tad.scoring import ACTIVITYNET, THUMOS, mean_average_precision
from vision_suite.models.csa import CSAConfig
from vision_suite.models.csa.postprocess import PostProcess
from vision_suite.models.csa.streaming import StreamingDetector
from vision_suite.optim import OptimConfig

SEGMENT = PostProcess(class_scope="segment", sigma=0.3, top_classes=1)


def data(root, **settings):
    return TADData(str(root), **{"num_cells": 20, "batch_size": 2, "num_workers": 0, "seed": 1, **settings})


def lit(**settings):
    pl.seed_everything(0)
    return LitCSA(2, 8, 20, **{"post": SEGMENT, "optim": OptimConfig("adam", 1e-3, schedule="constant"), **settings})


def trainer(folder, epochs=1, **more):
    options = {"callbacks": [], "logger": False, "enable_checkpointing": False, **more}
    return pl.Trainer(
        accelerator="cpu", devices=1, max_epochs=epochs, default_root_dir=folder, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False, **options,
    )  # fmt: skip


@pytest.fixture
def root(tmp_path):
    return write_feature_set(tmp_path / "set", videos=12)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("host", ["bmn", pytest.param("gtad", marks=pytest.mark.long)])
def test_it_learns_what_the_features_say(tmp_path, host):
    many = write_feature_set(tmp_path / "many", videos=48)
    module, split = lit(host=host, max_duration=10), data(many, batch_size=4)
    running = trainer(tmp_path, 20, limit_val_batches=0)
    running.fit(module, split)
    running.test(module, datamodule=split, verbose=False)
    untrained = lit(host=host, max_duration=10)
    running.test(untrained, datamodule=split, verbose=False)
    assert module.report.metrics["mAP@0.5"] > 0.4
    assert module.report.metrics["mAP@0.5"] > untrained.report.metrics["mAP@0.5"] + 0.3


def test_all_losses_and_the_video_head(root, tmp_path):
    module, split = lit(post=PostProcess(top_classes=2), self_attention="csa_se"), data(root)
    running = trainer(tmp_path)
    running.fit(module, split)
    logged = running.callback_metrics
    assert {"train/loss", *(f"train/loss_{n}" for n in ("boundary", "iou", "confidence", "class"))} <= set(logged)
    assert {"val/average_mAP", "val/AUC", "val/video_top1"} <= set(logged)
    parts = {n: float(logged[f"train/loss_{n}"]) for n in ("boundary", "iou", "confidence", "class")}
    total = parts["boundary"] + 10 * parts["iou"] + parts["confidence"] + parts["class"]
    assert float(logged["train/loss"]) == pytest.approx(total, rel=1e-4)


def test_the_report_is_what_the_metric_says_of_the_written_file(root, tmp_path):
    module, split = lit(), data(root)
    running = trainer(tmp_path, callbacks=[ReportWriter(queries=1)])
    running.test(module, split, verbose=False)
    folder = run_dir(running) / "test"
    results = json.loads((folder / "detections.json").read_text())
    assert set(results) == {"version", "results", "external_data"}
    again = mean_average_precision(split.ground_truth("test"), results, module.tiou)
    assert again["average_mAP"] == pytest.approx(module.report.metrics["average_mAP"])
    stored = json.loads((folder / "metrics.json").read_text())
    assert stored["task"] == "temporal_action_detection"
    assert stored["protocol"]["post"]["class_scope"] == "segment"
    rows = list(csv.reader((folder / "per_class.csv").open()))
    assert [row[0] for row in rows[1:]] == module.report.classes
    assert len(list(folder.glob("timeline_*.png"))) == 1


@pytest.mark.long
@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(root, tmp_path):
    def save(folder):
        return ModelCheckpoint(folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False)

    whole = lit()
    trainer(tmp_path, 4, enable_checkpointing=True, callbacks=[save(tmp_path / "a")]).fit(whole, data(root))
    part = lit()
    trainer(tmp_path, 2, enable_checkpointing=True, callbacks=[save(tmp_path / "b")]).fit(part, data(root))
    resumed = lit()
    running = trainer(tmp_path, 4, enable_checkpointing=True, callbacks=[save(tmp_path / "c")])
    running.fit(resumed, data(root), ckpt_path=tmp_path / "b/last.ckpt", weights_only=True)
    for (name, one), two in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, two), name
    size = (tmp_path / "a/last.ckpt").stat().st_size
    weights = sum(p.numel() * 4 for p in whole.parameters())
    assert size < 3.2 * weights + 200_000, "weights and Adam's two moments: no sampling matrix"


def test_thresholds_of_the_validation_split_make_the_short_lists(root, tmp_path):
    """Chosen in validation, kept in the checkpoint, scored in testing, used by predict; told where there are none."""
    module, split = lit(max_duration=10), data(root)
    keep = ModelCheckpoint(tmp_path, filename="last", save_on_train_epoch_end=True)
    trainer(tmp_path, 2, enable_checkpointing=True, callbacks=[keep]).fit(module, split)
    chosen = module.operating_point
    assert chosen == choose_thresholds(split.ground_truth("validate"), module.report.predictions["results"])
    loaded = LitCSA.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    assert loaded.operating_point == chosen
    running = trainer(tmp_path, callbacks=[AutoWriter(), ReportWriter(queries=1)])
    running.test(loaded, split, verbose=False)
    results = loaded.report.predictions["results"]
    assert measures_at(split.ground_truth("test"), results, chosen).items() <= loaded.report.metrics.items()
    assert "at the validation split's thresholds" in DetectionView().note(loaded.report)
    folder = run_dir(running) / "predict"
    for point, said in ((chosen, "thresholds of the validation split"), ({}, "the checkpoint has no thresholds")):
        loaded.operating_point = point
        running.predict(loaded, data(root))
        listed = json.loads((folder / "actions.json").read_text())
        found = json.loads((folder / "detections.json").read_text())["results"]
        expected = [
            {"video": name, "start": e["segment"][0], "end": e["segment"][1], "label": e["label"], "score": e["score"]}
            for name, entries in sorted(found.items())
            for e in short_list(entries, point)
        ]
        assert (listed["actions"], listed["operating_point"]) == (expected, point)
        summary = json.loads((folder / "summary.json").read_text())
        assert said in listed["rule"] == summary["short_list"]
        rows = list(csv.DictReader((folder / "actions.csv").open()))
        assert list(rows[0]) == ["video", "start", "end", "label", "score"]
        assert len(rows) == len(expected) == summary["actions"] < summary["detections"]
    running.test(loaded, split, verbose=False)
    assert "F1" not in loaded.report.metrics


def test_weights_that_are_not_finite_are_refused_in_testing(root, tmp_path):
    module = lit(max_duration=10)
    next(module.parameters()).data.fill_(float("nan"))
    with pytest.raises(DataError, match=r"not finite for 2 of 2 sequences .* of video 'clip03': its weights or"):
        trainer(tmp_path).test(module, data(root, eval_batch_size=2), verbose=False)


@pytest.mark.parametrize(
    ("tiou", "shown"),
    [
        (ACTIVITYNET, ["0.5", "0.75", "0.95"]),
        (THUMOS, ["0.3", "0.4", "0.5", "0.6", "0.7"]),
        ((0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7), ["0.1", "0.3", "0.4", "0.5", "0.7"]),
    ],
)
def test_the_table_shows_the_thresholds_that_papers_show(tiou, shown):
    truth = {"database": {"v": {"duration": 20.0, "annotations": [{"segment": [0, 10], "label": "run"}]}}}
    found = {"v": [{"segment": [0, 7.5], "label": "run", "score": 1.0}]}
    facts = {"class_scores": {}, "class_names": ["run"], "protocol": {}, "curves": {}}
    headings, rows = DetectionView().table(detection_report(truth, found, found, tiou, **facts))
    assert headings == ["AP at tIoU", *shown, "mean"]
    each = [100.0 if threshold <= 0.75 else 0.0 for threshold in tiou]
    expected = [f"{each[tiou.index(float(threshold))]:.1f}" for threshold in shown]
    assert rows[0] == ["all classes", *expected, f"{sum(each) / len(each):.1f}"]


def test_settings_survive_a_checkpoint_as_plain_values(tmp_path):
    module = lit(csa=CSAConfig(init="identity"), tiou=(0.5, 0.7))
    again = LitCSA(**{k: v for k, v in module.hparams.items() if not k.startswith("_")})
    assert again.post == SEGMENT
    assert again.model.attention.csa.config.init == "identity"


def test_shuffled_semantics_change_the_training(root, tmp_path):
    losses = []
    for semantics in ("own", "shuffled"):
        module = lit(semantics=semantics)
        running = trainer(tmp_path, limit_train_batches=1, limit_val_batches=0)
        running.fit(module, data(root))
        losses.append(float(running.callback_metrics["train/loss"]))
    assert losses[0] != losses[1]


@pytest.mark.slow
def test_the_recogniser_learns_and_detects(root, tmp_path):
    pl.seed_everything(0)
    module, split = (
        LitRecognizer(2, 8, 60, width=16, depth=2, optim=OptimConfig(lr=0.01, schedule="constant")),
        data(root, num_cells=60),
    )
    running = trainer(tmp_path, 25)
    running.fit(module, split)
    running.test(module, datamodule=split, verbose=False)
    assert float(running.callback_metrics["test/step_accuracy"]) > 0.9
    whole = module.report.metrics["mAP@0.5"]
    assert whole > 0.5
    # Windows of a third of the videos say the same, wherever an action begins.
    running.test(module, datamodule=data(root, mode="window", num_cells=20), verbose=False)
    assert module.report.metrics["mAP@0.5"] == pytest.approx(whole, abs=0.1)
    starts = [e["segment"][0] for found in module.report.predictions["results"].values() for e in found]
    assert min(starts) < 10
    assert max(starts) > 12
    with pytest.raises(ConfigError, match="LitRecognizer does not predict"):
        running.predict(module, datamodule=data(root))


@pytest.mark.long
def test_from_raw_video_to_detections(tmp_path, monkeypatch, capsys):
    """The whole path as a user walks it: videos, features, training, testing, and detections in another video."""
    monkeypatch.chdir(tmp_path)
    write_video_set(tmp_path / "set", videos=8)
    flags = ["--backbone=timm:resnet10t", "--weights=random:0", "--outputs=features", "--fps=8", "--clip=4"]
    status = main(["features", "--videos=set/videos", "--output=set/features", "--stride=4", "--quiet", *flags])
    assert status == 0
    common = [
        "--model=LitCSA", "--model.max_duration=16", "--model.post.class_scope=segment", "--model.post.sigma=0.3",
        "--model.optim.schedule=constant", "--model.optim.name=adam", "--model.optim.lr=0.001",
        "--data=TADData", "--data.root=set", "--data.mode=window", "--data.num_cells=32", "--data.train_overlap=0.75",
        "--data.batch_size=4", "--data.cache=memory", "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
    ]  # fmt: skip
    run(["fit", *common, "--trainer.max_epochs=25", "--trainer.check_val_every_n_epoch=25"])
    checkpoint = next((tmp_path / "runs").rglob("last.ckpt"))
    # An event across the border of two windows, and one that ends with the video.
    truth = [Action("circle", 12.0, 18.0), Action("square", 34.0, 40.0)]
    write_video(tmp_path / "new/mine.mp4", truth, 40.0)
    (tmp_path / "new/broken.mp4").write_text("nothing")
    predicting = ["predict", "--model=LitCSA", "--data=TADData", "--trainer.accelerator=cpu", "--data.videos=new"]
    predicting += [f"--ckpt_path={checkpoint}", "--trainer.enable_progress_bar=false", "--data.extractor_device=cpu"]
    assert main(predicting) == 2
    assert "broken.mp4" in capsys.readouterr().err
    cli = run([*predicting, "--data.on_missing=skip"])
    folder = run_dir(cli.trainer) / "predict"
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["videos"], list(summary["failed"])) == (1, ["broken"])
    assert (folder / "timelines/mine.png").stat().st_size > 10_000
    found = json.loads((folder / "detections.json").read_text())["results"]
    database = {"mine": {"annotations": [{"label": a.label, "segment": [a.start, a.end]} for a in truth]}}
    assert mean_average_precision({"database": database}, {"results": found}, (0.5,))["mAP"][0] > 0.9
    rows = list(csv.DictReader((folder / "detections.csv").open()))
    assert len(rows) == len(found["mine"])
    assert float(rows[0]["score"]) == pytest.approx(max(e["score"] for e in found["mine"]), abs=1e-6)


@pytest.mark.slow
@pytest.mark.long
def test_a_recipe_is_fitted_to_videos_and_predicts_as_the_page_says(tmp_path, monkeypatch):
    """The three commands of docs/csa.md, on small videos: predict takes the recipe, whose data set is not there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "cache"))
    write_video_set(tmp_path / "my_set", videos=4, seconds=12)
    write_video(tmp_path / "new_videos/mine.mp4", [Action("circle", 2.0, 8.0)], 20.0)
    (tmp_path / "my_set/videos").rename(tmp_path / "my_videos")
    flags = ["--backbone=timm:resnet10t", "--weights=random:0", "--fps=4", "--clip=4", "--stride=2", "--quiet"]
    assert main(["features", "--videos", "my_videos", "--output", "my_set/features/r3d", *flags]) == 0
    recipe = ["-c", "csa/thumos14_i3d_bmn_csa"]
    page = ["--data.root=my_set", "--data.features=[features/r3d]", "--data.sampling=null", "--data.test_on=[testing]"]
    small = [
        "--data.num_cells=16",
        "--data.batch_size=2",
        "--data.num_workers=0",
        "--model.max_duration=8",
        "--trainer.accelerator=cpu",
    ]
    run(["fit", *recipe, *page, *small, "--trainer.max_epochs=1"])
    predicted = run(["predict", *recipe, "--ckpt_path=last", "--data.videos=new_videos", "--trainer.accelerator=cpu"])
    folder = run_dir(predicted.trainer) / "predict"
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["videos"], summary["failed"], summary["windows"]) == (1, {}, 4)
    labels = {entry["label"] for entry in json.loads((folder / "detections.json").read_text())["results"]["mine"]}
    assert labels == {"circle", "square"}


def test_videos_with_like_names_have_their_own_files():
    names = ["a b", "a+b", "a_b", "x" * 70, "x" * 71, "mine"]
    stems = [file_stem(name) for name in names]
    assert len(set(stems)) == len(names)
    assert (stems[2], stems[5]) == ("a_b", "mine")


@pytest.mark.parametrize("mode", ["resize", "window"])
@pytest.mark.parametrize("stage", ["video", "window_then_video"])
def test_prediction_of_stored_features_and_a_stream_equal_the_test(root, tmp_path, mode, stage):
    """The same sequences, so the same detections, however suppression is done."""
    post = replace(SEGMENT, nms_stage=stage, keep=30)
    module, split = lit(post=post), data(root, mode=mode)
    trainer(tmp_path).test(module, split, verbose=False)
    tested = module.report.predictions["results"]
    running = trainer(tmp_path, callbacks=[AutoWriter()])
    running.predict(module, data(root, mode=mode))
    found = json.loads((run_dir(running) / "predict/detections.json").read_text())["results"]
    assert set(found) == set(tested)
    for name, entries in found.items():
        assert len(entries) == 30
        scores = np.array([e["score"] for e in entries])
        np.testing.assert_allclose(scores, [e["score"] for e in tested[name]], rtol=1e-4)
        if (mode, stage) == ("window", "video"):
            stream = StreamingDetector(
                module.model.eval(), split.class_names, replace(post, keep=9999), cell_seconds=0.5
            )
            said = stream.feed(np.load(root / f"features/{name}.npy")) + stream.close()
            assert len(said) > 30
            everything = {(e["label"], *np.round([e["score"], *e["segment"]], 3)) for e in said}
            assert {(e["label"], *np.round([e["score"], *e["segment"]], 3)) for e in entries} <= everything
