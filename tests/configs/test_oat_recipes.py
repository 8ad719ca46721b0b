"""Every configuration of OAT trains a step, is tested and predicts, on generated sets in the layout it names."""

import json

import pytest
import scanpath_fixture
import torch
import yaml
from long_tests import sampled

from vision_suite.callbacks.run_dir import run_dir
from vision_suite.cli.commands.train import run
from vision_suite.cli.configs import named_configs
from vision_suite.types import ScanpathReport

NAMES = sorted(name for name in named_configs() if name.startswith("oat/"))


def section(path, name):
    value = yaml.safe_load(path.read_text(encoding="utf-8"))[name]
    return yaml.safe_load((path.parent / value).read_text(encoding="utf-8")) if isinstance(value, str) else value


def write_coco(root, condition):
    """Two pictures with trials for training, one each for validation and test."""
    trials = [
        scanpath_fixture.trial(name=f"{number:012d}.jpg", subject=subject, condition=condition, split=part,
                               task="" if condition == "freeview" else "cup")
        for number, part in ((1, "train"), (2, "valid"), (3, "test"))
        for subject in (1, 2)
    ]  # fmt: skip
    notes = [
        {"image_id": n, "category_id": kind, "bbox": box, "iscrowd": 0}
        for n in (1, 2, 3)
        for kind, box in ((6, [50, 100, 200, 100]), (5, scanpath_fixture.COCO_BOX))
    ]
    scanpath_fixture.coco(root, trials, notes)


def write_shelves(root, data):
    """Ten shelves of a product; two people."""
    question = "Q3" if data["root"] == "Yogurt" else "Q1"
    rows = [
        [number, subject, f"{question}_{number}", "T_1", 10 + number, choice, 100, 200]
        for number in range(1, 11)
        for subject in (1, 2)
        for choice in (1, 2, 2, 10 + number)
    ]
    root.mkdir()
    scanpath_fixture.write_csv(root / "shelves.csv", scanpath_fixture.SHELF_HEADER, rows)


def write_table(root, data):
    """Scenes with folds and vectors in the folder that the configuration names."""
    scanpath_fixture.table(root, scenes=9)
    folder = root / data["features"]
    folder.mkdir()
    scenes = [json.loads(line) for line in (root / "scenes.jsonl").read_text().splitlines()]
    for number, scene in enumerate(scenes):
        (root / scene["features"]).rename(folder / scene["features"])
        scene["features"], scene["fold"] = f"{folder.name}/{scene['features']}", number % 3
    (root / "scenes.jsonl").write_text("".join(json.dumps(scene) + "\n" for scene in scenes))


def write_layout(root, data):
    writers = {
        "amazon_covers": lambda: scanpath_fixture.amazon(root, masks=True, pictures=True),
        "shelf_sheets": lambda: write_shelves(root, data),
        "coco_search18": lambda: write_coco(root, "present"),
        "coco_freeview": lambda: write_coco(root, "freeview"),
        "table": lambda: write_table(root, data),
    }
    writers[data["dataset"]]()


# One of each layout but the two that share a reader's code with another.
KEPT = ("oat/amazon_covers_small", "oat/grid", "oat/coco_search18", "oat/yogurt", "oat/onestop_mini")


@pytest.mark.parametrize("name", sampled(NAMES, KEPT))
def test_one_step_of(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = section(named_configs()[name], "data")["init_args"]
    # Wide enough for the position tables, and no wider.
    tiny = ["--model.embed_dim=96", "--model.ff_dim=8", "--model.samples=2", "--model.resamples=10"]
    tiny += ["--model.encoder_layers=1", "--model.decoder_layers=1", "--data.batch_size=2", "--data.eval_batch_size=2"]
    tiny += ["--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.accelerator=cpu"]
    tiny += ["--trainer.enable_model_summary=false", "--trainer.enable_progress_bar=false"]
    if "dataset" in data:
        write_layout(tmp_path / "set", data)
        tiny += ["--data.root=set", "--data.num_workers=0"]
    else:
        tiny += ["--data.validation_scenes=2", "--data.test_scenes=4"]
    cli = run(["fit", "-c", name, *tiny])
    assert cli.trainer.global_step == 1
    assert torch.isfinite(cli.trainer.callback_metrics["train/loss"])
    cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)
    report = cli.model.report
    assert isinstance(report, ScanpathReport)
    assert 0 <= report.metrics["sequence_score"] <= 1
    assert report.metrics["nats_per_fixation"] > 0
    assert (run_dir(cli.trainer) / "test/metrics.json").is_file()


@pytest.mark.parametrize("name", ["amazon_covers", "yogurt", "wine"])
def test_the_authors_recipe(name):
    """Section 1.6 of the reference: Adam 1e-4, constant, batch 20, clip 1, 500 epochs, best of 30 by greedy delta."""
    path = named_configs()[f"oat/{name}"]
    model, trainer, data = (section(path, part) for part in ("model", "trainer", "data"))
    optim = model["init_args"]["optim"]
    assert (optim["name"], optim["lr"], optim["weight_decay"], optim["schedule"]) == ("adam", 1e-4, 0.0, "constant")
    assert data["init_args"]["batch_size"] == 20
    assert (trainer["max_epochs"], trainer["gradient_clip_val"]) == (500, 1.0)
    stop, best = (callback["init_args"] for callback in trainer["callbacks"])
    assert stop == {"monitor": "val/mode/delta", "mode": "min", "patience": 30}
    assert (best["monitor"], best["mode"]) == ("val/mode/delta", "min")


def test_the_authors_network():
    from vision_suite.models.oat import OAT

    settings = section(named_configs()["oat/amazon_covers"], "model")["init_args"]
    network = {key: value for key, value in settings.items() if key not in ("optim", "samples")}
    assert sum(p.numel() for p in OAT(**network).parameters() if p.requires_grad) == 18_255_843
