"""Lightning writes and loads checkpoints through the suite's plug-in, unless it was given another."""

from pathlib import Path

import fsspec
import pytest
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io import TorchCheckpointIO
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.demos.boring_classes import BoringModel
from pytorch_lightning.plugins.io import AsyncCheckpointIO
from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy, SingleDeviceStrategy

from vision_suite.checkpoints.contents import MARK
from vision_suite.checkpoints.files import read, verify
from vision_suite.checkpoints.lightning import ResumedOptimizers, SuiteCheckpointIO, use_suite_files
from vision_suite.drafts import draft_of
from vision_suite.errors import CheckpointError, StorageError


def trainer(folder: Path, **settings) -> pl.Trainer:
    made = pl.Trainer(
        accelerator="cpu", max_epochs=1, limit_train_batches=2, limit_val_batches=0, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
        **settings,
    )  # fmt: skip
    use_suite_files(made)
    return made


def test_a_trained_model_is_saved_told_and_resumed(tmp_path):
    path = tmp_path / "deep/last.ckpt"
    first = trainer(tmp_path)
    first.fit(BoringModel())
    told = []
    first.strategy.checkpoint_io.on_saved = lambda saved, contents: told.append((saved, contents["global_step"]))
    first.save_checkpoint(path)
    assert told == [(path, 2)]
    assert read(path)[MARK]["format"] == 2
    assert list(path.parent.iterdir()) == [path]
    second = trainer(tmp_path, callbacks=[ResumedOptimizers()])
    second.fit_loop.max_epochs = 2
    second.fit(BoringModel(), ckpt_path=path)
    assert second.global_step == 4


def test_a_damaged_file_is_not_loaded(tmp_path):
    path = tmp_path / "last.ckpt"
    first = trainer(tmp_path)
    first.fit(BoringModel())
    first.save_checkpoint(path)
    data = bytearray(path.read_bytes())
    data[-200] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="checksum is wrong"):
        trainer(tmp_path).fit(BoringModel(), ckpt_path=path)


def test_another_optimizer_is_refused(tmp_path):
    class Other(BoringModel):
        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

    first = trainer(tmp_path)
    first.fit(BoringModel())
    first.save_checkpoint(tmp_path / "sgd.ckpt")
    with pytest.raises(CheckpointError, match=r"sgd\.ckpt: its optimiser is no Adam"):
        trainer(tmp_path, callbacks=[ResumedOptimizers()]).fit(Other(), ckpt_path=tmp_path / "sgd.ckpt")


def test_a_failed_save_is_one_error_with_the_path(tmp_path):
    (tmp_path / "file").write_text("x")
    first = trainer(tmp_path)
    first.fit(BoringModel())
    with pytest.raises(StorageError, match="file/last"):
        first.save_checkpoint(tmp_path / "file/last.ckpt")


def test_addresses_of_other_file_systems_are_lightnings(tmp_path):
    io = SuiteCheckpointIO()
    io.on_saved = lambda saved, contents: pytest.fail("only files of this machine are told")
    io.save_checkpoint({"state_dict": {"weight": torch.ones(2)}}, "memory://runs/last.ckpt")
    assert fsspec.filesystem("memory").exists("/runs/last.ckpt")
    assert torch.equal(io.load_checkpoint("memory://runs/last.ckpt")["state_dict"]["weight"], torch.ones(2))
    io.remove_checkpoint("memory://runs/last.ckpt")
    assert not fsspec.filesystem("memory").exists("/runs/last.ckpt")
    io.save_checkpoint({"epoch": 1}, f"file://{tmp_path}/last.ckpt")
    verify(tmp_path / "last.ckpt")


def test_weights_that_a_launcher_hands_over_stay_as_they_are(tmp_path):
    """Lightning's launchers of processes send a bare state_dict through a file, and load it strictly."""
    io = SuiteCheckpointIO()
    io.on_saved = lambda saved, contents: pytest.fail("no checkpoint of a run")
    io.save_checkpoint({"weight": torch.ones(2)}, tmp_path / ".temp.ckpt")
    assert list(io.load_checkpoint(tmp_path / ".temp.ckpt")) == ["weight"]


def test_a_removed_checkpoint_takes_its_draft_with_it(tmp_path):
    io = SuiteCheckpointIO()
    for path in (tmp_path / "last.ckpt", draft_of(tmp_path / "last.ckpt")):
        path.write_bytes(b"x")
    io.remove_checkpoint(tmp_path / "last.ckpt")
    io.remove_checkpoint(tmp_path / "last.ckpt")
    assert not list(tmp_path.iterdir())
    (tmp_path / "sharded.ckpt").mkdir()
    (tmp_path / "sharded.ckpt/part").write_bytes(b"x")
    io.remove_checkpoint(tmp_path / "sharded.ckpt")
    assert not list(tmp_path.iterdir())


def test_a_plugin_of_the_user_is_kept(tmp_path):
    class Own(TorchCheckpointIO):
        pass

    for plugin in (Own(), AsyncCheckpointIO(Own())):
        assert trainer(tmp_path, plugins=[plugin]).strategy.checkpoint_io is plugin


@pytest.mark.parametrize("kind", [SingleDeviceStrategy, FSDPStrategy, ModelParallelStrategy, DeepSpeedStrategy])
def test_strategies_take_the_plugin(kind):
    """Those that save in their own way never call it; none of them breaks."""
    try:
        strategy = kind()
    except (ImportError, MisconfigurationException) as error:
        pytest.skip(f"{kind.__name__}: {error}")

    class Stub:
        pass

    stub = Stub()
    stub.strategy = strategy
    use_suite_files(stub)
    assert type(strategy.checkpoint_io) is SuiteCheckpointIO
