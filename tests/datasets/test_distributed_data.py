"""Two real processes under Lightning's DDP: disjoint identities in each step, equal lengths, complete evaluation."""

import json
import multiprocessing
import os
import socket
import warnings

import pytest
import pytorch_lightning as pl
import torch
from synthetic import write_market

from vision_suite.datasets.reid.data import ReIDData


class Recorder(pl.LightningModule):
    """Keeps what each rank was given."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)
        self.fit_steps, self.test_steps = [], []

    def training_step(self, batch, batch_idx):
        identities = sorted(set(batch["identity"].tolist()))
        self.fit_steps.append([self.current_epoch, batch["index"].tolist(), identities])
        return self.layer(batch["image"].mean((2, 3))).square().mean()

    def test_step(self, batch, batch_idx):
        self.test_steps.append(batch["index"].tolist())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def work(rank, port, root, out):
    """One rank, with Lightning's settings as they are by default (it may replace samplers if it can)."""
    torch.set_num_threads(1)  # a fork of a process with other threads must not use their pool
    warnings.simplefilter("ignore")
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank), "NODE_RANK": "0"}
    data = ReIDData(
        "market_folder", str(root), (16, 8), batch_size=4, num_instances=2, eval_batch_size=4, cache="memory", seed=1
    )
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=out,
    )
    model = Recorder()
    trainer.fit(model, datamodule=data)
    trainer.test(model, datamodule=data, verbose=False)
    first = float(next(iter(data.train_dataloader()))["image"].sum())
    kept = {"fit": model.fit_steps, "test": model.test_steps, "size": data.size("test"), "first": first}
    (out / f"{trainer.global_rank}.json").write_text(json.dumps(kept))


@pytest.mark.dist
def test_two_processes(tmp_path):
    root = write_market(tmp_path / "data", train_ids=9, test_ids=3, cameras=2, shots=2, size=(16, 8))
    next((root / "query").iterdir()).unlink()  # an odd number of test pictures, so one has to be seen twice
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work, args=(rank, port, root, tmp_path)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    assert [process.exitcode for process in processes] == [0, 0]
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    steps = list(zip(ranks[0]["fit"], ranks[1]["fit"], strict=True))
    assert len(steps) == 2 * 4, "9 identities of 4 pictures, 4 identities a step: 18 chunks give 4 steps"
    for (epoch, left, left_ids), (other_epoch, right, right_ids) in steps:
        assert epoch == other_epoch
        assert not set(left) & set(right)
        assert len(left_ids) == len(right_ids) == 2
        assert not set(left_ids) & set(right_ids)
    assert [s[0][1] for s in steps[:4]] != [s[0][1] for s in steps[4:]], "a new order in each epoch"
    assert ranks[0]["first"] != ranks[1]["first"]
    shards = [[i for batch in rank["test"] for i in batch] for rank in ranks]
    assert len(shards[0]) == len(shards[1])
    assert ranks[0]["size"] == 17
    assert sorted(shards[0] + shards[1]) == [0, *range(17)], "every picture, and one of them again"
