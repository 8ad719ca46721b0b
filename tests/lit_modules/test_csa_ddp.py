"""Detection on two gloo processes: the numbers and files of one, whatever process saw which window."""

import json
from pathlib import Path

import children
import pytest
import pytorch_lightning as pl
from synthetic_tad import write_feature_set

from vision_suite.callbacks.predict.base import AutoWriter
from vision_suite.callbacks.run_dir import run_dir
from vision_suite.datasets.tad.data import TADData
from vision_suite.lit_modules.csa import LitCSA
from vision_suite.models.csa.postprocess import PostProcess

pytestmark = pytest.mark.dist


def work(root, folder, devices):
    """A step of training, a test and a prediction; what came out, by rank."""
    pl.seed_everything(4, verbose=False)
    # 3 test videos of 5 windows are 15 sequences: dealt out to two, one comes twice.
    data = TADData(str(root), mode="window", num_cells=20, batch_size=2, eval_batch_size=4, num_workers=0, seed=1)
    module = LitCSA(2, 8, 20, max_duration=8, post=PostProcess(sigma=0.3, top_classes=1))
    more = {"strategy": "ddp"} if devices > 1 else {}
    trainer = pl.Trainer(
        accelerator="cpu", devices=devices, default_root_dir=str(folder), logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False, max_epochs=1,
        limit_train_batches=1, callbacks=[AutoWriter()], **more,
    )  # fmt: skip
    (tested,) = trainer.test(module, data, verbose=False)
    predictions = module.report.predictions["results"]
    trainer.predict(module, data)
    trainer.fit(module, data)
    found = {"tested": tested, "predictions": predictions, "val": float(trainer.callback_metrics["val/average_mAP"])}
    Path(folder, f"rank{trainer.global_rank}.json").write_text(json.dumps(found))
    if trainer.is_global_zero:
        Path(folder, "where.txt").write_text(str(run_dir(trainer)))


def test_two_processes_equal_one(tmp_path):
    root = write_feature_set(tmp_path / "set", videos=12)
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    assert children.run(work, root, tmp_path / "one", 1) == [0]
    assert children.run(work, root, tmp_path / "two", 2, ranks=2) == [0, 0]
    alone = json.loads((tmp_path / "one/rank0.json").read_text())
    zero, one = (json.loads((tmp_path / f"two/rank{rank}.json").read_text()) for rank in (0, 1))
    assert zero["predictions"] == one["predictions"]
    assert zero["tested"] == one["tested"]
    assert zero["val"] == one["val"]
    assert alone["tested"] == pytest.approx(zero["tested"], abs=1e-6)
    folders = [Path((tmp_path / name / "where.txt").read_text()) / "predict" for name in ("one", "two")]
    short = [json.loads((folder / "actions.json").read_text())["actions"] for folder in folders]
    assert [(a["video"], a["label"]) for a in short[0]] == [(a["video"], a["label"]) for a in short[1]]
    assert len({a["video"] for a in short[0]}) == 3
    files = [json.loads((folder / "detections.json").read_text())["results"] for folder in folders]
    assert set(files[0]) == set(files[1])
    for name, entries in files[0].items():
        assert [e["label"] for e in entries] == [e["label"] for e in files[1][name]]
        scores = [[e["score"] for e in found[name]] for found in files]
        assert scores[0] == pytest.approx(scores[1], rel=1e-4)
