"""Every datamodule gives its modules batches of exactly the promised keys, dtypes and ranks, in every stage."""

import json

import oat_data
import pytest
import torch
from lit_training import market_data, module
from pytorch_lightning.callbacks import Callback
from synthetic import write_market
from synthetic_desks import write_desk_set
from synthetic_sets import write_cub
from synthetic_tad import write_feature_set

from vision_suite.datasets.fgvc.data import FGVCData
from vision_suite.datasets.scanpath.data import ScanpathData
from vision_suite.datasets.scanpath.grid import GridScanpathData
from vision_suite.datasets.tad.data import TADData
from vision_suite.lit_modules.csa import LitCSA
from vision_suite.lit_modules.recognizer import LitRecognizer
from vision_suite.types import FGVCBatch, ImageBatch, ReIDBatch, ScanpathBatch, TADBatch
from vision_suite.types.tad import FeatureBatch

STAGES = ("fit", "validate", "test", "predict")
F32, F64, I64, BOOL = torch.float32, torch.float64, torch.int64, torch.bool
IMAGE = {"image": (F32, 4), "index": (I64, 1), "role": (I64, 1)}
REID = {**IMAGE, "identity": (I64, 1), "camera": (I64, 1), "view": (I64, 1)}
FGVC = {**IMAGE, "label": (I64, 1)}
FEATURES = {
    "features": (F32, 3), "valid": (BOOL, 2), "origin": (F64, 1), "cell_seconds": (F64, 1), "duration": (F64, 1),
    "horizon": (F64, 1), "video": (I64, 1), "index": (I64, 1),
}  # fmt: skip
TAD = {**FEATURES, "segments": (F32, 3), "label": (I64, 2)}
SCORES = {"video_scores": (F32, 2)}
SCENE = {
    "boxes": (F32, 3), "present": (BOOL, 2), "position": (F32, 3), "start": (F32, 2), "image_size": (F32, 2),
    "target": (I64, 1), "targets": (BOOL, 2), "condition": (I64, 1), "sequence": (I64, 2), "xy": (F32, 3),
    "duration": (F32, 2), "given": (I64, 1), "terminated": (BOOL, 1), "index": (I64, 1),
}  # fmt: skip
VECTORS = {**SCENE, "features": (F32, 3)}
VECTORS_AND_TARGET = {**VECTORS, "target_features": (F32, 2)}
CROPS = {**SCENE, "crops": (F32, 5)}
# By batch type the tables that together name all its keys.
CONTRACTS = {
    ImageBatch: [IMAGE],
    ReIDBatch: [REID],
    FGVCBatch: [FGVC],
    FeatureBatch: [FEATURES, SCORES],
    TADBatch: [TAD, SCORES],
    ScanpathBatch: [VECTORS_AND_TARGET, CROPS, {"target_crop": (F32, 4)}],
}


class Seen(Callback):
    """The first batch of each stage as (dtype, rank) by name."""

    def __init__(self):
        self.batches = {}

    def _note(self, stage, batch):
        self.batches.setdefault(stage, {name: (value.dtype, value.ndim) for name, value in batch.items()})
        assert len({len(value) for value in batch.values()}) == 1, "all have one entry for each item"

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self._note("fit", batch)

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self._note("validate", batch)

    def on_test_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self._note("test", batch)

    def on_predict_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self._note("predict", batch)


def seen(folder, net, data, *, predict=True):
    """Batches of one step of every stage of a real run."""
    record = Seen()
    few = {f"limit_{name}_batches": 1 for name in ("train", "val", "test", "predict")}
    run = oat_data.trainer(folder, callbacks=[record], **few)
    run.fit(net, data)
    run.test(net, data, verbose=False)
    if predict:
        run.predict(net, data, return_predictions=False)
    return record.batches


@pytest.mark.parametrize("kind", CONTRACTS, ids=lambda kind: kind.__name__)
def test_the_tables_name_every_key_of_a_batch_type(kind):
    assert {name for table in CONTRACTS[kind] for name in table} == set(kind.__annotations__)


def test_reid_data_and_dcal(tmp_path):
    root = write_market(tmp_path / "set", train_ids=6, test_ids=3, val_ids=3)
    expected = {"fit": REID, "validate": REID, "test": REID, "predict": IMAGE}
    assert seen(tmp_path, module(), market_data(root, eval_batch_size=64)) == expected


def test_fgvc_data_and_dcal(tmp_path):
    root = write_cub(tmp_path / "set", classes=3, train=6, test=4, size=(36, 20))
    data = FGVCData("cub_folder", str(root), image_size=(32, 16), resize=(36, 20), batch_size=6, validation="test")
    expected = {"fit": FGVC, "validate": FGVC, "test": FGVC, "predict": IMAGE}
    assert seen(tmp_path, module(3, task="fgvc"), data) == expected


@pytest.mark.parametrize("scored", [False, True], ids=["own classifier", "scores from a file"])
def test_tad_data_and_csa(tmp_path, scored):
    root = write_feature_set(tmp_path / "set", videos=12)
    results = {f"clip{number:02d}": [0.75, 0.25] for number in range(12)}
    (root / "scores.json").write_text(json.dumps({"class": ["circle", "square"], "results": results}))
    file = "scores.json" if scored else None
    data = TADData(str(root), num_cells=20, batch_size=2, num_workers=0, seed=1, class_scores=file)
    more = SCORES if scored else {}
    expected = {"fit": TAD, "validate": TAD | more, "test": TAD | more, "predict": FEATURES | more}
    assert seen(tmp_path, LitCSA(2, 8, 20), data) == expected


def test_tad_data_and_the_recogniser(tmp_path):
    root = write_feature_set(tmp_path / "set", videos=12)
    data = TADData(str(root), num_cells=20, batch_size=2, num_workers=0, seed=1)
    net = LitRecognizer(2, 8, 20, width=16, depth=2)
    assert seen(tmp_path, net, data, predict=False) == {"fit": TAD, "validate": TAD, "test": TAD}


@pytest.mark.parametrize("shuffled", [False, True], ids=["own targets", "shuffled targets"])
def test_grid_scanpaths_and_oat(tmp_path, shuffled):
    few = {"train_scenes": 8, "validation_scenes": 8, "test_scenes": 8, "batch_size": 4}
    data = GridScanpathData(**few, seed=1, shuffle_targets=shuffled)
    table = VECTORS_AND_TARGET if shuffled else VECTORS
    assert seen(tmp_path, oat_data.lit(), data) == dict.fromkeys(STAGES, table)


def test_scanpath_data_and_oat(tmp_path):
    data = oat_data.reading(tmp_path / "set")
    net = oat_data.table_lit(data, target_token="given")
    assert seen(tmp_path, net, data) == dict.fromkeys(STAGES, VECTORS_AND_TARGET)


def test_scanpath_data_of_crops_and_oat(tmp_path):
    root = write_desk_set(tmp_path / "set", scenes=10)
    data = ScanpathData("table", str(root), crop_size=(40, 30), batch_size=2, num_workers=0, seed=0)
    net = oat_data.table_lit(data, appearance="cnn", crop_size=(40, 30), embed_dim=84, samples=1)
    assert seen(tmp_path, net, data) == dict.fromkeys(STAGES, CROPS)
