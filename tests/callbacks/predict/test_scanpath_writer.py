"""What ``predict`` leaves of scanpaths, by the command line on given pictures and in Python on a test split."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import yaml
from PIL import Image
from synthetic_desks import draw_desk, write_desk_set

from vision_suite.callbacks.predict import scanpath as writer_module
from vision_suite.callbacks.predict.base import AutoWriter
from vision_suite.callbacks.predict.scanpath import ScanpathWriter, entry_of
from vision_suite.cli import main
from vision_suite.datasets.scanpath.data import ScanpathData
from vision_suite.datasets.scanpath.grid import GridScanpathData
from vision_suite.datasets.scanpath.predict.data import ScanpathPictureData
from vision_suite.datasets.scanpath.predict.settings import PictureSettings
from vision_suite.errors import ConfigError, DataError
from vision_suite.lit_modules.oat import LitOAT
from vision_suite.models.oat.rows import split_rows, unpack_paths
from vision_suite.types import BACKGROUND, PADDING, Condition, Scene, Trial


def small(**settings):
    pl.seed_everything(0)
    own = {"embed_dim": 32, "ff_dim": 32, "encoder_layers": 1, "decoder_layers": 1, "samples": 4, **settings}
    return LitOAT(16, 4, 6, appearance="table", position="cholesky", **own)


def predict(folder, module, data, **options):
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, logger=False, default_root_dir=folder, enable_progress_bar=False,
        enable_checkpointing=False, enable_model_summary=False, use_distributed_sampler=False, **options,
    )  # fmt: skip
    assert trainer.predict(module, data) is None
    found = folder / "predict"
    return found, json.loads((found / "scanpaths.json").read_text())["scanpaths"], summary(found)


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def grid(scenes=5):
    return GridScanpathData(test_scenes=scenes, eval_batch_size=2, seed=1)


def test_a_test_split_gives_every_trial_its_samples(tmp_path):
    module, data = small(), grid()
    folder, entries, counts = predict(tmp_path, module, data, callbacks=[ScanpathWriter(overlays=2)])
    assert [entry["image"] for entry in entries] == [trial.scene for trial in data.trials("predict")]
    assert (counts["trials"], counts["samples"], counts["not_reached"], counts["overlays"]) == (5, 20, 0, 2)
    assert sorted(path.name for path in (folder / "overlays").iterdir()) == ["000000_2-0-0.png", "000001_2-0-1.png"]
    assert not (folder / ".parts").exists()
    for entry, trial in zip(entries, data.trials("predict"), strict=True):
        scene = data.scenes("predict")[trial.scene]
        assert entry["target"] == {"object": trial.target, "objects": [trial.target]}
        for path in (*entry["samples"], entry["likeliest"]):
            middle = [(scene.boxes[n, :2] + scene.boxes[n, 2:]) / 2 for n in path["objects"]]
            np.testing.assert_allclose(path["xy"], middle)
            assert 1 <= len(path["objects"]) <= 6
            assert path["terminated"] or len(path["objects"]) == 6
            assert path["duration"] is None
    # The written log-probability is that of the path under the network.
    batch = next(iter(data.predict_dataloader()))
    samples = [entry["samples"][0] for entry in entries[:2]]
    batch["sequence"] = torch.full((2, 6), PADDING)
    for row, path in enumerate(samples):
        batch["sequence"][row, : len(path["objects"])] = torch.tensor(path["objects"])
    batch["terminated"] = torch.tensor([path["terminated"] for path in samples])
    with torch.no_grad():
        expected = module.eval().model.log_prob(batch).total
    np.testing.assert_allclose([path["log_prob"] for path in samples], expected, atol=1e-4)


def test_durations_and_repeats(tmp_path):
    folder, entries, _ = predict(tmp_path, small(duration=True), grid(2), callbacks=[ScanpathWriter(overlays=0)])
    assert all(len(p["duration"]) == len(p["objects"]) and min(p["duration"]) > 0 for p in entries[0]["samples"])
    assert not list((folder / "overlays").iterdir())
    auto = {"callbacks": [AutoWriter()], "limit_predict_batches": 1}
    _, again, counts = predict(tmp_path, small(), grid(1), **auto)
    assert len(again) == 1, "what an earlier prediction left is gone"
    assert counts["overlays"] == 1, "the data bring their own writer"
    _, part, counts = predict(tmp_path, small(), grid(), **auto)
    assert (len(part), counts["not_reached"]) == (2, 3)


@pytest.mark.parametrize(("task", "words"), [("", "search for object "), ("class 1", "search for class 1")])
def test_the_heading_is_that_of_the_report(tmp_path, monkeypatch, task, words):
    """The condition decides, as in the pictures of a test."""
    titles, data = [], grid(1)
    trials = [replace(trial, task=task, targets=()) for trial in data.trials("predict")]
    monkeypatch.setattr(data, "trials", lambda stage: trials)

    def draw(*_, title, **__):
        titles.append(title)
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr(writer_module, "prediction_picture", draw)
    predict(tmp_path, small(), data, callbacks=[ScanpathWriter(overlays=1)])
    assert titles[0].split(": ")[1].startswith(words)
    assert "not there" not in titles[0], "no box is named, but the target is present"


def test_a_single_row_is_split_too():
    assert [rows.tolist() for rows in split_rows(torch.tensor(0), torch.ones(1, 4))] == [[[1.0] * 4]]
    parts = split_rows(torch.tensor([3, 3, 5]), torch.arange(3.0)[:, None])
    assert [rows.tolist() for rows in parts] == [[[0.0], [1.0]], [[2.0]]]


def test_an_entry_by_hand():
    boxes = np.array([[0, 0, 10, 10], [20, 0, 40, 30]], dtype=np.float32)
    scene = Scene("s", (100.0, 60.0), boxes, ("cup", ""))
    empty = np.zeros(0)
    trial = Trial("s", "", "cup", Condition.PRESENT, (0,), 0, empty.astype(np.int64), empty.reshape(0, 2), empty)
    row = np.array([1, -2.5, 1, BACKGROUND, 0, PADDING, 0.2, 0.3, 0.25, math.nan])
    paths = unpack_paths(row[None])
    entry = entry_of(scene, trial, paths, paths, {"by": "word"})
    assert entry["samples"] == [
        {
            "objects": [1, BACKGROUND, 0], "xy": [[30, 15], [50, 30], [5, 5]], "duration": [0.2, 0.3, 0.25],
            "log_prob": -2.5, "terminated": True,
        }
    ]  # fmt: skip
    assert entry["target"] == {"object": 0, "objects": [0], "by": "word"}
    row[1] = math.nan
    with pytest.raises(DataError, match="broken"):
        entry_of(scene, trial, unpack_paths(row[None]), paths, {})
    with pytest.raises(ConfigError, match="overlays=-2"):
        ScanpathWriter(overlays=-2)


def desk_config(root):
    """A tiny network on such a set, as a configuration file's contents."""
    network = {
        "appearance": "cnn", "crop_size": [29, 29], "embed_dim": 32, "ff_dim": 32, "encoder_layers": 1,
        "decoder_layers": 1, "position": "gauss_hermite", "samples": 5,
    }  # fmt: skip
    data = {
        "dataset": "table",
        "root": str(root),
        "crop_size": [29, 29],
        "mean": [0.4, 0.4, 0.4],
        "folds": 4,
        "batch_size": 5,
    }
    trainer = {
        "max_epochs": 1, "accelerator": "cpu", "devices": 1, "num_sanity_val_steps": 0, "log_every_n_steps": 1,
        "enable_progress_bar": False, "enable_model_summary": False,
    }  # fmt: skip
    return {
        "seed_everything": 1,
        "trainer": trainer,
        "model": {"class_path": "vision_suite.lit_modules.oat.LitOAT", "init_args": network},
        "data": {"class_path": "vision_suite.datasets.scanpath.data.ScanpathData", "init_args": data},
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny network trained on desks by the command line: its configuration and checkpoint."""
    folder = tmp_path_factory.mktemp("desks")
    config = folder / "desk.yaml"
    config.write_text(yaml.safe_dump(desk_config(write_desk_set(folder / "set"))))
    assert main(["fit", "-c", str(config), f"--trainer.default_root_dir={folder / 'runs'}"]) == 0
    return config, next((folder / "runs").rglob("last.ckpt"))


def run(trained, tmp_path, *flags, more=()):
    config, checkpoint = trained
    common = ["predict", "-c", str(config), *more, "--ckpt_path", str(checkpoint), "--data.root=/nowhere"]
    code = main([*common, f"--trainer.default_root_dir={tmp_path}", "--model.samples=3", *flags])
    return code, next(iter(sorted(tmp_path.rglob("predict"))), None)


def test_given_pictures_by_the_command_line(trained, tmp_path):
    rows = {name: draw_desk(tmp_path / "in" / name, 40 + n) for n, name in enumerate(("a.png", "deep/b.png"))}
    (tmp_path / "in" / "torn.png").write_bytes(b"no picture")
    (tmp_path / "boxes.json").write_text(json.dumps(rows))
    code, folder = run(
        trained, tmp_path / "out", f"--data.predict_inputs={tmp_path / 'in'}", "--data.target=cup",
        f"--data.boxes={tmp_path / 'boxes.json'}", "--data.on_bad_image=skip",
        more=["-c", "{data: {init_args: {crop_size: [50, 50]}}}"],  # the checkpoint's wins over a file's
    )  # fmt: skip
    assert code == 0
    entries = json.loads((folder / "scanpaths.json").read_text())["scanpaths"]
    assert [entry["image"] for entry in entries] == ["a.png", "deep/b.png"]
    for entry in entries:
        assert entry["labels"] == [row[4] for row in rows[entry["image"]]]
        assert entry["target"]["by"] == "word"
        assert entry["target"]["object"] == 0
        assert len(entry["samples"]) == 3
    counts = summary(folder)
    assert counts["failed"].keys() == {"torn.png"}
    assert (counts["pictures"], counts["samples"], counts["overlays"]) == (2, 6, 2)
    drawn = Image.open(folder / "overlays" / "000000_a.png").convert("RGB")
    assert drawn.width > 3 * 500, "two paths and the heat map"


@pytest.mark.parametrize(("background", "first"), [(True, BACKGROUND), (False, 1)])
def test_a_first_fixation_that_was_always_given_is_given_in_pictures_to_predict(tmp_path, background, first):
    """A network that never predicted one cannot say where gaze begins: it begins in the middle, as in training."""
    root = write_desk_set(tmp_path / "set")
    lines = [json.loads(line) for line in (root / "trials.jsonl").read_text().splitlines()]
    for line in lines:
        line["fixations"] = [[*point, 0.2] for point in ([160, 100] if background else [145, 43], *line["fixations"])]
        line["given"] = 1
    (root / "trials.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = desk_config(root)
    config["model"]["init_args"] |= {"background": background, "duration": True}
    config["data"]["init_args"]["max_offset"] = 1.0
    (tmp_path / "desk.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "-c", str(tmp_path / "desk.yaml"), f"--trainer.default_root_dir={tmp_path / 'runs'}"]) == 0
    given = (tmp_path / "desk.yaml", next((tmp_path / "runs").rglob("last.ckpt")))
    draw_desk(tmp_path / "a.png", 40)
    boxes = [[20, 20, 60, 60, "cup"], [20, 80, 60, 120, "book"]]
    (tmp_path / "boxes.json").write_text(json.dumps({"a.png": boxes}))
    code, folder = run(
        given, tmp_path / "out", f"--data.predict_inputs={tmp_path / 'a.png'}", "--data.target=cup",
        f"--data.boxes={tmp_path / 'boxes.json'}",
    )  # fmt: skip
    assert code == 0
    (entry,) = json.loads((folder / "scanpaths.json").read_text())["scanpaths"]
    assert entry["given"] == 1
    for path in (entry["likeliest"], *entry["samples"]):
        assert path["objects"][0] == first
        assert path["duration"] is None or path["duration"][0] is None
        assert all(value > 0 for value in (path["duration"] or [0])[1:])
    assert any(len(path["objects"]) > 1 and path["duration"] for path in entry["samples"])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--data.target=mug"], "no box of 'a.png' is labelled 'mug': its labels are"),
        ([], "1 of 1 trials to predict are target-absent or free viewing"),
    ],
)
def test_what_cannot_be_predicted_is_one_line(trained, tmp_path, capsys, flags, said):
    (tmp_path / "boxes.json").write_text(json.dumps({"a.png": draw_desk(tmp_path / "a.png", 7)}))
    given = [f"--data.predict_inputs={tmp_path / 'a.png'}", f"--data.boxes={tmp_path / 'boxes.json'}"]
    code, _ = run(trained, tmp_path / "out", *given, *flags)
    assert code != 0
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vision-suite: error")]
    assert len(errors) == 1
    assert said in errors[0]


def test_a_table_of_positions_needs_a_grid(tmp_path):
    (tmp_path / "boxes.json").write_text(json.dumps({"a.png": draw_desk(tmp_path / "a.png", 7)}))
    own = {"predict_inputs": str(tmp_path / "a.png"), "boxes": str(tmp_path / "boxes.json"), "crop_size": (29, 29)}
    pl.seed_everything(0)
    settings = {"embed_dim": 32, "ff_dim": 32, "encoder_layers": 1, "decoder_layers": 1, "crop_size": (29, 29)}
    module = LitOAT(0, 4, 6, samples=2, position="cholesky", **settings)
    with pytest.raises(ConfigError, match=r"stand freely: train with --model.position gauss_hermite"):
        predict(tmp_path, module, ScanpathData(target="cup", **own), callbacks=[AutoWriter()])
    data = ScanpathData(target_box=1, grid=(3, 4), **{**own, "boxes": None})
    _, entries, _ = predict(tmp_path, module, data, callbacks=[AutoWriter()])
    assert entries[0]["target"] == {"object": 1, "objects": [1], "by": "box"}
    assert len(entries[0]["boxes"]) == 12
    free = LitOAT(0, 0, 6, samples=2, position="gauss_hermite", conditions=True, **settings)
    _, entries, _ = predict(tmp_path, free, ScanpathData(**own), callbacks=[AutoWriter()])
    assert (entries[0]["condition"], entries[0]["target"]["object"]) == ("free", -1)


def test_the_datamodule_of_pictures_predicts_what_the_flags_predict(trained, tmp_path):
    """Used alone, it also takes crops and beginnings from the checkpoint, which Lightning keeps under another name."""
    (tmp_path / "boxes.json").write_text(json.dumps({"a.png": draw_desk(tmp_path / "a.png", 7)}))
    given = {"boxes": str(tmp_path / "boxes.json"), "target": "cup"}
    _, checkpoint = trained
    flags = ScanpathData(predict_inputs=str(tmp_path / "a.png"), **given)
    alone = ScanpathPictureData(PictureSettings(str(tmp_path / "a.png"), **given))
    written = []
    for name, data in (("flags", flags), ("alone", alone)):
        module = LitOAT.load_from_checkpoint(checkpoint)
        pl.seed_everything(3)
        (tmp_path / name).mkdir()
        trainer = pl.Trainer(
            accelerator="cpu", devices=1, logger=False, default_root_dir=tmp_path / name, enable_progress_bar=False,
            enable_checkpointing=False, enable_model_summary=False, use_distributed_sampler=False,
            callbacks=[AutoWriter()],
        )  # fmt: skip
        trainer.predict(module, data, ckpt_path=checkpoint, weights_only=True)
        assert data.preprocessing["mean"] == [0.4, 0.4, 0.4], "as in training, not the default"
        folder = tmp_path / name / "predict"
        written.append([(folder / file).read_text() for file in ("scanpaths.json", "summary.json")])
    assert written[0] == written[1]
    for stage in ("fit", "test"):
        with pytest.raises(DataError, match=f"no data set to {stage} on"):
            alone.setup(stage)
