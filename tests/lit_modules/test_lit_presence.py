"""Training a small detector, its report and pictures, and the same scores from its checkpoint alone."""

import json
import math
from pathlib import Path

import lit_training
import numpy as np
import pytest
import torch
from PIL import Image
from tiny_instances import NAMES, write_instances

from vision_suite.callbacks.report.presence import PresenceView
from vision_suite.callbacks.report.writer import ReportWriter
from vision_suite.datasets.pictures.transforms import Augment
from vision_suite.datasets.presence import PresenceData
from vision_suite.detectors.small import SmallDetector
from vision_suite.errors import CheckpointError
from vision_suite.lit_modules.presence import LitPresence
from vision_suite.optim import OptimConfig
from vision_suite.types.presence import PresenceReport


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on coloured squares: trainer, module, data, checkpoint, losses, and the report of the test."""
    folder = tmp_path_factory.mktemp("lit_presence")
    files = {
        split: str(write_instances(folder, split, count)) for split, count in (("train", 48), ("val", 20), ("test", 20))
    }
    data = PresenceData(
        **files, image_size=(24, 24), resize=(32, 32), batch_size=16, eval_batch_size=7, cache="memory", seed=0,
        augment=Augment(pad=0, erase=0.0, colour=0.02),
    )  # fmt: skip
    torch.manual_seed(0)
    module = LitPresence(3, 16, optim=OptimConfig(lr=1e-2))
    trainer = lit_training.trainer(folder, max_epochs=16, enable_checkpointing=False, callbacks=[ReportWriter()])
    trainer.fit(module, datamodule=data)
    path = folder / "runs" / "boxes" / "version_0" / "checkpoints" / "last.ckpt"
    path.parent.mkdir(parents=True)
    trainer.save_checkpoint(path)
    validated = dict(trainer.callback_metrics)
    trainer.test(module, datamodule=data, verbose=False)
    return trainer, module, data, path, validated


def test_it_learns_and_is_reported(trained):
    trainer, module, _, _, validated = trained
    assert validated["val/mAP"] > 0.9
    assert validated["val/tpr"] - validated["val/fpr"] > 0.7
    assert module.main_score == ("val/mAP", "max")
    report = module.report
    assert isinstance(report, PresenceReport)
    assert report.names == NAMES
    assert report.metrics["mAP"] > 0.9
    assert report.threshold == module.operating_point["threshold"]
    assert report.protocol["threshold_from"] == "validation"
    (written,) = Path(trainer.default_root_dir).rglob("metrics.json")
    assert json.loads(written.read_text())["metrics"]["mAP"] == pytest.approx(report.metrics["mAP"])
    for name in ("presence.png", "names.png"):
        with Image.open(written.parent / name) as picture:
            assert min(picture.size) > 200
    heading, rows = PresenceView().table(report)
    assert len(rows) == 1 + len(NAMES)
    assert {len(row) for row in rows} == {len(heading)}
    assert f"{report.metrics['mAP'] * 100:.1f}" == rows[0][1]
    assert "20 pictures, 3 names (0 never shown)" in PresenceView().note(report)


def test_the_loss_is_summed_over_names(trained):
    _, module, data, _, _ = trained
    batch = next(iter(data.test_dataloader()))
    module.log_dict = module.log = lambda *args, **kwargs: None
    with torch.no_grad():
        loss = module.eval().training_step(batch, 0)
        probability = module(batch["image"]).sigmoid()
    right = torch.where(batch["present"] > 0, probability, 1 - probability)
    torch.testing.assert_close(loss, -right.log().sum() / len(right))


def test_a_checkpoint_alone_gives_the_same_scores(trained):
    trainer, module, data, path, _ = trained
    detector = SmallDetector(path, batch_size=3)
    assert detector.name == "boxes"
    assert detector.vocabulary == frozenset(NAMES)
    assert detector.threshold == module.operating_point["threshold"]
    images = [data.picture("test", number) for number in range(data.size("test"))]
    found = detector.score(images, [[*NAMES, "Red Box", "dog"]] * len(images))
    predicted = torch.cat([batch["probability"] for batch in trainer.predict(module, datamodule=data)])
    scores = np.array([[row[name] for name in NAMES] for row in found])
    np.testing.assert_allclose(scores, predicted.numpy(), atol=1e-6)
    assert all(math.isnan(row["dog"]) and row["Red Box"] == row["red box"] for row in found)
    assert SmallDetector(path, "a").name == "a"


def test_other_files_are_refused(trained, tmp_path):
    _, _, _, path, _ = trained
    contents = torch.load(path, weights_only=True)
    with pytest.raises(CheckpointError, match="no such file"):
        SmallDetector(tmp_path / "none.ckpt")

    def changed(change):
        copy = {
            **contents,
            "PresenceData": dict(contents["PresenceData"]),
            "hyper_parameters": dict(contents["hyper_parameters"]),
        }
        change(copy)
        torch.save(copy, tmp_path / "changed.ckpt")
        return tmp_path / "changed.ckpt"

    def crop(copy):
        copy["PresenceData"]["preprocessing"] = {**copy["PresenceData"]["preprocessing"], "center_crop": [99, 99]}

    for change, words in (
        (lambda copy: copy.pop("PresenceData"), "no checkpoint of LitPresence"),
        (lambda copy: copy["hyper_parameters"].pop("width"), "no checkpoint of LitPresence"),
        (lambda copy: copy["hyper_parameters"].update(width=20), "its weights do not fit its settings"),
        (lambda copy: copy["PresenceData"].update(class_names=["cat"]), "1 names for 3 scores"),
        (crop, "center_crop"),
    ):
        with pytest.raises(CheckpointError, match=words) as caught:
            SmallDetector(changed(change))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [1.5, "high", True])
def test_a_threshold_that_is_none_is_refused(trained, value):
    trainer, _, data, path, _ = trained
    contents = torch.load(path, weights_only=True)
    other = LitPresence(3, 16)
    other.load_state_dict(contents["state_dict"])
    other.operating_point = {"threshold": value}
    with pytest.raises(CheckpointError, match="threshold="):
        trainer.test(other, datamodule=data, verbose=False)
