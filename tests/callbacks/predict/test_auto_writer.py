"""The callback of every run writes predictions by the writer for its data."""

import json

import pytest
import pytorch_lightning as pl
from stub_method import LitStub, table
from synthetic import save
from torch.utils.data import DataLoader

from vision_suite.callbacks.predict import AutoWriter, BaseWriter, DetectionWriter, PredictionWriter
from vision_suite.datasets.reid.data import ReIDData


class Unknown(pl.LightningDataModule):
    """Data of nobody."""

    def predict_dataloader(self):
        return DataLoader([1])


@pytest.fixture
def data(tmp_path):
    for number in range(4):
        save(tmp_path / f"in/{number}.png", number, size=(20, 20))
    return ReIDData(image_size=(16, 16), eval_batch_size=4, num_workers=0, predict_inputs=str(tmp_path / "in"))


def predict(folder, data, model, *callbacks):
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, logger=False, default_root_dir=folder, enable_progress_bar=False,
        callbacks=list(callbacks),
    )  # fmt: skip
    return trainer.predict(model, data)


def listed(folder):
    return [len(entry["ranked"]) for entry in json.loads((folder / "predict/rank_lists.json").read_text())["lists"]]


def test_the_writer_of_the_data_is_found(tmp_path, data):
    assert predict(tmp_path, data, LitStub(table(4)), AutoWriter()) is None
    assert listed(tmp_path) == [3] * 4


@pytest.mark.parametrize("order", [1, -1])
def test_a_writer_with_arguments_wins_and_one_of_other_data_writes_nothing(tmp_path, data, monkeypatch, order):
    joined = []
    join = PredictionWriter.join
    monkeypatch.setattr(PredictionWriter, "join", lambda self, *a: (joined.append(self), join(self, *a))[1])
    given = [AutoWriter(), PredictionWriter(top_k=1), DetectionWriter()][::order]
    predict(tmp_path, data, LitStub(table(4)), *given)
    assert listed(tmp_path) == [1] * 4
    assert len(joined) == 1
    assert not (tmp_path / "predict/timelines").exists()


def test_other_data_and_other_modules_are_left_alone(tmp_path, data):
    class Plain(pl.LightningModule):
        def predict_step(self, batch, batch_idx):
            return 1

    assert predict(tmp_path, Unknown(), Plain(), AutoWriter()) == [1]
    assert predict(tmp_path, data, Plain(), AutoWriter(), PredictionWriter()) == [1]
    assert not (tmp_path / "predict").exists()


def test_a_plug_in_brings_a_writer(tmp_path):
    class Written(Unknown):
        """Data of another package."""

    class LitOne(LitStub):
        def predict_step(self, batch, batch_idx):
            return {"one": 1}

    class OneWriter(BaseWriter[Written]):
        kind = Written
        keys = frozenset({"one"})
        pictures_folder = "drawings"

        def write(self, trainer, module, data, outputs, batch):
            (self.parts / f"{trainer.global_rank}.txt").write_text(str(outputs["one"]))

        def failed(self, data):
            return {"b": "torn"}

        def join(self, trainer, data, failed):
            return {"found": (self.parts / "0.txt").read_text(), "failed": failed}, "one number"

    assert predict(tmp_path, Written(), LitOne(), AutoWriter()) is None
    stored = json.loads((tmp_path / "predict/summary.json").read_text())
    assert stored == {"found": "1", "failed": {"b": "torn"}, "checkpoint": None}
    assert sorted(path.name for path in (tmp_path / "predict").iterdir()) == ["drawings", "summary.json"]
