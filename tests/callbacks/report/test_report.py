"""Files that a test leaves: table, metrics.json and pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
from PIL import Image
from pytorch_lightning.loggers import CSVLogger, WandbLogger
from stub_method import LitStub
from synthetic import write_market
from synthetic_sets import write_cub

from vision_suite.callbacks.report import fgvc as fgvc_view
from vision_suite.callbacks.report import reid as reid_view
from vision_suite.callbacks.report import writer as report_module
from vision_suite.callbacks.report.base import view_of
from vision_suite.callbacks.report.writer import ReportWriter, metrics_record
from vision_suite.datasets.fgvc.data import FGVCData
from vision_suite.datasets.reid.data import ReIDData
from vision_suite.errors import ConfigError
from vision_suite.lit_modules.dcal import LitDCAL
from vision_suite.metrics.reid_metric import ReIDMetric
from vision_suite.runs.log import read_log
from vision_suite.types import ClassificationReport, RetrievalReport, Role

TINY = {"backbone": "vit_micro_conv8_64", "backbone_args": {"depth": 2, "embed_dim": 32}, "image_size": (32, 16)}


@pytest.fixture
def market(tmp_path) -> ReIDData:
    root = write_market(tmp_path / "market", train_ids=4, test_ids=4, val_ids=3, cameras=3, shots=2)
    return ReIDData("market_folder", str(root), image_size=(32, 16), batch_size=4, num_instances=2, num_workers=0)


def retrieval_report(data: ReIDData, queries: int = 12) -> RetrievalReport:
    """A report of random features for the test split, with one invalid query."""
    records = [data.record("test", n) for n in range(data.size("test"))]
    identity, camera = (np.array([record[k] for record in records]) for k in (1, 2))
    identity[0] = 999
    role = np.where(np.arange(len(records)) < queries, int(Role.QUERY), int(Role.GALLERY))
    metric = ReIDMetric({"sa": (0, 3), "glca": (3, 6)}, top_k=5)
    import torch

    features = torch.from_numpy(np.random.default_rng(0).normal(size=(len(records), 6)).astype(np.float32))
    rows = [torch.from_numpy(values.astype(np.int64)) for values in (identity, camera, role, np.arange(len(records)))]
    metric.update(features, *rows)
    return metric.report({"stage": "test", **data.protocol})


def trainer(folder: Path, callback: ReportWriter, logger: object = False, **more: object) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu", devices=1, logger=logger, default_root_dir=folder, enable_progress_bar=False,
        enable_checkpointing=False, enable_model_summary=False, callbacks=[callback], **more,
    )  # fmt: skip


def test_retrieval_report_is_stored_printed_and_drawn(tmp_path, market, capsys, monkeypatch):
    strips = []
    draw = reid_view.gallery_strip
    monkeypatch.setattr(reid_view, "gallery_strip", lambda rows, **text: (strips.append(rows), draw(rows, **text))[1])
    report = retrieval_report(market)
    trainer(tmp_path, ReportWriter(queries=3)).test(LitStub(made=report), market)
    stored = json.loads((tmp_path / "test/metrics.json").read_text())
    assert stored["task"] == "retrieval"
    assert stored["metrics"] == pytest.approx(report.metrics)
    assert stored["protocol"]["ap"] == "rect"
    assert stored["data"]["counts"] == market.protocol["counts"]
    assert stored["data"]["fingerprint"]["sha256"] == market.protocol["fingerprint"]["sha256"]
    assert stored["checkpoint"] is None

    printed = capsys.readouterr().out
    for row, prefix in (("fused", ""), ("SA only", "sa/"), ("GLCA only", "glca/")):
        line = next(line for line in printed.splitlines() if row in line)
        numbers = [cell.strip() for cell in line.split("│")[2:-1]]
        assert numbers == [
            f"{100 * report.metrics[prefix + k]:.1f}" for k in ("mAP", "rank1", "rank5", "rank10", "mINP")
        ]
    assert "11 of 12 queries valid, gallery 24" in printed
    assert "test/mAP" not in printed, "Lightning printed a second table"

    assert sorted(path.name for path in (tmp_path / "test").iterdir()) == [
        "cmc.png", "gallery_hardest.png", "gallery_random.png", "metrics.json",
    ]  # fmt: skip
    valid = np.flatnonzero(np.isfinite(report.average_precision))
    assert 0 not in valid
    hardest = np.sort(report.average_precision[valid])[:3]
    assert [row.average_precision for row in strips[1]] == pytest.approx(hardest)
    for row in (*strips[0], *strips[1]):
        assert np.isfinite(row.average_precision)
        for shown in row.entries:
            assert shown.match == (shown.identity == row.query.identity)
            assert not (shown.match and shown.camera == row.query.camera)


def test_drawn_pictures_are_the_originals(market):
    report = retrieval_report(market)
    row = reid_view._ranked(report, market, "test", 4)
    for shown, index in zip(row.entries, report.ranked_index[4], strict=True):
        path, identity, camera = market.record("test", int(index))
        np.testing.assert_array_equal(np.asarray(shown.picture), np.asarray(Image.open(path).convert("RGB")))
        assert (shown.identity, shown.camera) == (identity, camera)


def test_validate_writes_no_pictures_unless_asked_and_fit_none_at_all(tmp_path, market):
    report = retrieval_report(market)
    trainer(tmp_path / "a", ReportWriter()).validate(LitStub(made=report), market)
    assert [path.name for path in (tmp_path / "a/validate").iterdir()] == ["metrics.json"]
    # The report above is of the test split: its positions don't exist here, so only the drawing is looked at.
    market._records["validate"] = market._records["test"]
    trainer(tmp_path / "b", ReportWriter(queries=1, validation_pictures=True)).validate(LitStub(made=report), market)
    assert len(list((tmp_path / "b/validate").glob("*.png"))) == 3
    trainer(tmp_path / "c", ReportWriter(), max_epochs=1).fit(LitStub(made=report), market)
    assert not list((tmp_path / "c").rglob("*.png"))
    assert not (tmp_path / "c/validate").exists()


def test_a_method_without_a_report_keeps_lightnings_table(tmp_path, market, capsys):
    trainer(tmp_path, ReportWriter()).test(LitStub(), market)
    assert "test/mAP" in capsys.readouterr().out
    assert not (tmp_path / "test").exists()


def test_confusions_of_a_real_network(tmp_path, capsys):
    root = write_cub(tmp_path / "cub", classes=4, train=3, test=3, size=(32, 16))
    data = FGVCData(
        "cub_folder", str(root), image_size=(32, 16), resize=(40, 20), batch_size=4, eval_batch_size=5, num_workers=0
    )
    model = LitDCAL(4, task="fgvc", **TINY)
    trainer(tmp_path, ReportWriter(pairs=2)).test(model, data)
    assert isinstance(model.report, ClassificationReport)
    stored = json.loads((tmp_path / "test/metrics.json").read_text())
    right = (model.report.label == model.report.prediction).mean()
    assert stored["metrics"]["top1"] == pytest.approx(right)
    assert stored["task"] == "classification"
    printed = capsys.readouterr().out
    assert "12 pictures" in printed
    assert f"{100 * right:.1f}" in next(line for line in printed.splitlines() if "fused" in line)
    assert (tmp_path / "test/confusions.png").is_file() == (right < 1)


def test_no_mistake_no_picture(tmp_path):
    data = FGVCData("cub_folder", str(write_cub(tmp_path / "cub")), image_size=(16, 16), resize=(16, 16))
    label = np.array([0, 0, 1, 1, 2, 2])
    made = ClassificationReport({"top1": 1.0}, {}, np.arange(6), label, label, np.ones(6, dtype=np.float32))
    assert fgvc_view.classification_pictures(made, data, "test", "T", pairs=3) == {}


def test_confusions_show_surest_mistakes_and_the_predicted_class(tmp_path):
    data = FGVCData("cub_folder", str(write_cub(tmp_path / "cub", test=4)), image_size=(16, 16), resize=(16, 16))
    label = np.repeat([0, 1, 2], 4)
    prediction = np.array([1, 1, 0, 1, 1, 1, 0, 1, 2, 2, 2, 2])
    confidence = np.array([0.1, 0.9, 0.5, 0.2, *[0.5] * 8], dtype=np.float32)
    made = ClassificationReport({"top1": 0.5}, {}, np.arange(12), label, prediction, confidence)
    rows = []
    original = fgvc_view.confusion_sheet
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fgvc_view, "confusion_sheet", lambda r, **text: (rows.extend(r), original(r, **text))[1])
        assert set(fgvc_view.classification_pictures(made, data, "test", "T", pairs=5)) == {"confusions"}
    assert [(r.confusion.label, r.confusion.prediction, r.confusion.count) for r in rows] == [(0, 1, 3), (1, 0, 1)]
    assert fgvc_view._name(data, -1) == "no class"  # of scores that are not finite
    assert rows[0].label_name == data.class_names[0]
    expected = {"mistaken": [1, 3, 0], "predicted_class": [4, 5, 7]}
    for name, indices in expected.items():
        for picture, index in zip(getattr(rows[0], name), indices, strict=True):
            np.testing.assert_array_equal(np.asarray(picture), np.asarray(data.picture("test", index)))


def test_numbers_that_are_not_finite_become_null(market):
    report = retrieval_report(market)
    report.metrics["mINP"] = float("nan")
    record = metrics_record(
        report, "retrieval", "test", {"a": np.float32(0.5), "b": (np.int64(3), Path("x")), "c": float("inf")}
    )
    assert record["metrics"]["mINP"] is None
    assert record["data"] == {"a": 0.5, "b": [3, "x"], "c": None}
    json.dumps(record, allow_nan=False)
    assert "-" in view_of(report).table(report)[1][0]


def test_one_branch_is_not_called_fused(market):
    report = retrieval_report(market)
    for key in list(report.metrics):
        if "/" in key:
            del report.metrics[key]
    assert [row[0] for row in view_of(report).table(report)[1]] == ["network"]


def test_log_of_a_resumed_run(tmp_path):
    (tmp_path / "metrics-1.csv").write_text("step,train/loss,epoch\n0,3.0,0\n1,2.0,0\n2,9.0,0\n")
    (tmp_path / "metrics.csv").write_text("step,train/loss,val/mAP\n2,1.0,\n3,,0.5\n4,0.5,\n")
    log = read_log(tmp_path)
    assert set(log) == {"train/loss", "val/mAP"}
    assert [values.tolist() for values in log["train/loss"]] == [[0, 1, 2, 4], [3, 2, 1, 0.5]]


def test_training_leaves_its_curves(tmp_path, market):
    logger = CSVLogger(tmp_path, name="run")
    trainer(tmp_path, ReportWriter(), logger, max_epochs=2, log_every_n_steps=1).fit(LitStub(), market)
    assert Image.open(tmp_path / "run/version_0/training.png").width > 2000


@pytest.mark.slow
def test_pictures_go_to_weights_and_biases(tmp_path, market):
    logger = WandbLogger(project="p", save_dir=tmp_path, offline=True)
    trainer(tmp_path, ReportWriter(queries=2), logger).test(LitStub(made=retrieval_report(market)), market)
    logger.experiment.finish()
    media = {path.name.rsplit("_", 2)[0] for path in tmp_path.rglob("media/images/test/*.png")}
    assert media == {"cmc", "gallery_random", "gallery_hardest"}
    assert (tmp_path / "p" / logger.version / "test/metrics.json").is_file()


@pytest.mark.parametrize("options", [{"queries": 0}, {"pairs": 0}])
def test_impossible_settings_are_refused(options):
    with pytest.raises(ConfigError):
        ReportWriter(**options)


def test_only_rank_zero_writes(tmp_path, market, monkeypatch):
    callback = ReportWriter()
    run = trainer(tmp_path, callback)
    monkeypatch.setattr(type(run), "is_global_zero", property(lambda self: False))
    monkeypatch.setattr(report_module, "print_table", lambda *given: pytest.fail("printed"))
    model = LitStub(made=retrieval_report(market))
    model.report = model.made
    callback.on_test_end(run, model)
    assert not (tmp_path / "test").exists()
