"""Two gloo processes, found as torchrun would start them: one set of weights, one average, one set of scores."""

from pathlib import Path

import children
import lit_training
import pytest
import pytorch_lightning as pl
import torch
from synthetic import write_market
from synthetic_sets import write_cub

from vision_suite.callbacks.ema import EMA
from vision_suite.datasets.fgvc.data import FGVCData
from vision_suite.lit_modules.dcal import LitDCAL

pytestmark = pytest.mark.dist
TWO = {"strategy": "ddp", "devices": 2}


class Batches(pl.Callback):
    """Keeps the identities of each training batch."""

    def __init__(self):
        self.identities = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.identities.append(batch["identity"].tolist())


def fit_two(root, folder):
    """Train with EMA on both ranks; leave what each rank saw."""
    pl.seed_everything(5, verbose=False)
    # 6 identities are 3 per rank; 7 + 14 evaluation pictures are dealt out with one twice.
    data = lit_training.market_data(root, batch_size=6, eval_batch_size=4)
    net, ema, seen = lit_training.module(), EMA(decay=0.9), Batches()
    run = lit_training.trainer(folder, callbacks=[seen, ema], max_epochs=2, **TWO)
    run.fit(net, datamodule=data)
    run.save_checkpoint(Path(folder) / "end.ckpt")
    (tested,) = run.test(net, datamodule=data, verbose=False)
    torch.save(
        {
            "weights": net.state_dict(),
            "averages": ema._average,
            "training": ema._training,
            "identities": seen.identities,
            "validated": {k: float(v) for k, v in run.callback_metrics.items()},
            "tested": tested,
            "queries": net.report.query_index.tolist(),
            "ranked": net.report.ranked_index.tolist(),
        },
        Path(folder) / f"rank{run.global_rank}.pt",
    )


def test_reid_with_ema(tmp_path):
    root = write_market(tmp_path / "market", train_ids=6, test_ids=3, val_ids=3, cameras=3)
    next((root / "bounding_box_test").iterdir()).unlink()  # an odd number of pictures, so one is dealt out twice
    assert children.run(fit_two, root, tmp_path, ranks=2) == [0, 0]
    zero, one = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))

    for mine, other in zip(zero["identities"], one["identities"], strict=True):
        assert len(set(mine)) == len(set(other)) == 3
        assert not set(mine) & set(other)
    for kind in ("weights", "averages", "training"):
        for name, value in zero[kind].items():
            if "running_" not in name:  # each rank's own necks see its own pictures
                assert torch.equal(value, one[kind][name]), (kind, name)
    assert any(not torch.equal(zero["averages"][name], zero["training"][name]) for name in zero["averages"])
    for kind in ("tested", "queries", "ranked"):
        assert zero[kind] == one[kind]
    assert zero["tested"]["test/num_valid"] == 9

    # One process on the checkpoint gives the numbers of two, and the average is what it loads.
    loaded = LitDCAL.load_from_checkpoint(tmp_path / "end.ckpt")
    for name, value in zero["averages"].items():
        assert torch.equal(loaded.model.get_parameter(name), value)
    run = lit_training.trainer(tmp_path)
    (alone,) = run.test(loaded, datamodule=lit_training.market_data(root), verbose=False)
    assert alone == pytest.approx(zero["tested"], abs=1e-6)
    assert loaded.report.query_index.tolist() == zero["queries"]


def fit_birds(root, folder):
    pl.seed_everything(5, verbose=False)
    data = FGVCData(
        "cub_folder", str(root), image_size=(32, 16), resize=(36, 20), batch_size=3, eval_batch_size=2, cache="memory"
    )
    net = lit_training.module(3, task="fgvc", glca={"readout": "cls"})
    run = lit_training.trainer(folder, max_epochs=1, **TWO)
    run.fit(net, datamodule=data)
    run.save_checkpoint(Path(folder) / "end.ckpt")
    (tested,) = run.test(net, datamodule=data, verbose=False)
    report = {"index": net.report.index.tolist(), "prediction": net.report.prediction.tolist()}
    torch.save({"tested": tested, **report}, Path(folder) / f"rank{run.global_rank}.pt")


def test_fine_grained(tmp_path):
    root = write_cub(tmp_path / "cub", classes=3, train=4, test=3, size=(36, 20))  # 9 test pictures on 2 ranks
    assert children.run(fit_birds, root, tmp_path, ranks=2) == [0, 0]
    zero, one = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert zero == one
    assert zero["index"] == list(range(9))
    loaded = LitDCAL.load_from_checkpoint(tmp_path / "end.ckpt")
    data = FGVCData("cub_folder", str(root), image_size=(32, 16), resize=(36, 20), eval_batch_size=9, cache="memory")
    (alone,) = lit_training.trainer(tmp_path).test(loaded, datamodule=data, verbose=False)
    assert alone == pytest.approx(zero["tested"])
    assert loaded.report.prediction.tolist() == zero["prediction"]


def test_resume_on_two_processes(tmp_path):
    root = write_market(tmp_path / "market", train_ids=8, test_ids=3, val_ids=3)
    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
    settings = {"ema": True, "epochs": 2, **TWO}
    fit = lit_training.fit
    assert children.run(fit, root, tmp_path / "whole", ranks=2, name="whole", every=100, **settings) == [0, 0]
    codes = children.run(fit, root, tmp_path / "parts", ranks=2, name="first", every=2, kill_after=4, **settings)
    assert set(codes) == {-9}
    last = tmp_path / "parts" / "first" / "step=4.ckpt"
    assert children.run(
        fit, root, tmp_path / "parts", ranks=2, name="second", every=100, resume=str(last), **settings
    ) == [0, 0]
    for rank in (0, 1):
        one = torch.load(tmp_path / "whole" / f"whole-{rank}.pt", weights_only=True)
        two = torch.load(tmp_path / "parts" / f"second-{rank}.pt", weights_only=True)
        for kind in ("weights", "averages"):
            for name, value in one[kind].items():
                # Necks' statistics are per process, and a checkpoint holds rank 0's.
                if rank == 0 or "running_" not in name:
                    assert torch.equal(value, two[kind][name]), (rank, kind, name)
