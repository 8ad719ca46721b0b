"""Modules that start from a checkpoint of the suite: the average of EMA, other heads, other classes of one network."""

import lit_training
import pytest
import torch
from synthetic import write_market

from vision_suite.callbacks.ema import EMA
from vision_suite.errors import CheckpointError
from vision_suite.lit_modules.dcal import LitDCAL
from vision_suite.lit_modules.recognizer import LitRecognizer


class LitRefined(LitDCAL):
    """Another class with the same network."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_market(tmp_path_factory.mktemp("market"), train_ids=6, test_ids=3, val_ids=3)


@pytest.fixture(scope="module")
def checkpoint(root, tmp_path_factory):
    """A checkpoint in the middle of an epoch, in which average and training weights differ."""
    folder = tmp_path_factory.mktemp("run")
    run = lit_training.trainer(
        folder, callbacks=[EMA(decay=0.9), Keep(folder / "mid.ckpt")], max_epochs=1, limit_val_batches=0
    )
    run.fit(lit_training.module(), datamodule=lit_training.market_data(root))
    return folder / "mid.ckpt"


class Keep(lit_training.Callback):
    """Saves a checkpoint after step 3, and the average at the start of training."""

    def __init__(self, path):
        self.path = path

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == 3:
            trainer.save_checkpoint(self.path)


def network(module):
    return {name: value.clone() for name, value in module.model.state_dict().items()}


def test_the_average_is_taken(checkpoint):
    contents = torch.load(checkpoint, weights_only=True)
    lit = LitRefined(6, **lit_training.NETWORK)
    start = lit.start_from(checkpoint)
    assert start.missing == ()
    for name, value in network(lit).items():
        assert torch.equal(value, contents["state_dict"][f"model.{name}"]), name
    weights = contents["ema"]["weights"]
    assert not torch.equal(weights["vit.cls_token"], lit.model.vit.cls_token)
    assert lit.initialised_from == start.record()
    assert lit.initialised_from["layout"] == "own names"
    assert all(name.startswith("loss.") for name in start.left_out), "learnt weights of the loss belong to the old run"


def test_averaging_starts_from_the_weights_that_were_taken(checkpoint, root, tmp_path):
    ema = EMA(decay=0.9)
    seen = {}

    class Look(lit_training.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if not seen:
                seen.update({name: value.clone() for name, value in ema._average.items()})

    lit = lit_training.module()
    lit.start_from(checkpoint)
    taken = network(lit)
    run = lit_training.trainer(tmp_path, callbacks=[ema, Look()], max_steps=1, limit_val_batches=0)
    run.fit(lit, datamodule=lit_training.market_data(root))
    assert seen
    assert all(torch.equal(value, taken[name]) for name, value in seen.items())


def test_another_picture_size_and_other_identities(checkpoint):
    """The checkpoint tells its picture size, so even a grid that is no square is known."""
    lit = LitDCAL(9, **{**lit_training.NETWORK, "image_size": (48, 16)})
    start = lit.start_from(checkpoint)
    assert start.changed == {"vit.pos_embed": "resized from 4x2 to 6x2"}
    heads = {name for name in start.left_out if not name.startswith("model.loss") and not name.startswith("loss.")}
    assert heads == {"model.head.classifier.weight", "model.glca_head.classifier.weight"}
    assert set(start.missing) == {"head.classifier.weight", "glca_head.classifier.weight"}


def test_a_branch_that_the_checkpoint_lacks_starts_as_configured(root, tmp_path):
    baseline = lit_training.module(glca={"enabled": False})
    torch.save({"state_dict": baseline.state_dict(), "hyper_parameters": dict(baseline.hparams)}, tmp_path / "sa.ckpt")
    lit = lit_training.module()
    with torch.no_grad():
        lit.model.vit.blocks[-1].mlp.fc1.weight.add_(1)
    lit.start_from(tmp_path / "sa.ckpt")
    last, branch = lit.model.vit.blocks[-1].state_dict(), lit.model.glca.blocks[0].state_dict()
    assert all(torch.equal(value, branch[name]) for name, value in last.items())


def test_the_checkpoint_of_another_network_is_refused(checkpoint):
    lit = LitRecognizer(3, 8)
    assert lit.initialised_from is None
    with pytest.raises(CheckpointError, match="nothing taken"):
        lit.start_from(checkpoint)
    assert lit.initialised_from is None
