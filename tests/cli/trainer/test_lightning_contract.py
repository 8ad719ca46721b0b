"""Lightning's own code that ours replaces or relies on: these fail when an upgrade changes it."""

import hashlib
import inspect

import pytest
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import LightningCLI, SaveConfigCallback, _InstantiatorFn

SEEN = {
    LightningCLI._parse_ckpt_path: "9c48f812abdba883",
    LightningCLI._instantiate_trainer: "fb0a321f9f407d93",
    LightningCLI._add_instantiators: "21a40c6fecfae243",
    LightningCLI.parse_arguments: "0212af63be2c673c",
    SaveConfigCallback.setup: "ea5348cc7956ff16",
    _InstantiatorFn.__call__: "40d63e5e45dfdbdd",
}


@pytest.mark.parametrize("method", SEEN, ids=lambda method: method.__qualname__)
def test_a_replaced_method_is_the_one_that_was_read(method):
    digest = hashlib.sha256(inspect.getsource(method).encode()).hexdigest()[:16]
    assert digest == SEEN[method], (
        f"{method.__qualname__} changed in this Lightning version: compare it with what "
        f"vision_suite/cli/trainer/suite_cli.py replaces, then store {digest}"
    )


def test_the_checkpoint_is_parsed_between_arguments_and_seed():
    source = inspect.getsource(LightningCLI.__init__)
    order = [source.index(call) for call in ("self.parse_arguments(", "self._parse_ckpt_path(", "self._set_seed(")]
    assert order == sorted(order)


def test_save_last_alone_does_not_save_every_epoch():
    """Why the suite adds a checkpoint of its own: this one writes last.ckpt only when the metric improves."""
    source = inspect.getsource(ModelCheckpoint.on_train_epoch_end)
    assert "Only save last checkpoint if a checkpoint was actually saved" in source
