"""Files that a run leaves beside its checkpoints, and their place for every logger."""

import json
import subprocess
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonargparse import Namespace
from pytorch_lightning.demos.boring_classes import BoringModel
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger, WandbLogger

from vision_suite.callbacks.report.writer import ReportWriter
from vision_suite.callbacks.run_dir import assign_run_dir, run_dir
from vision_suite.callbacks.run_record import RunRecord, git_state, hardware, package_versions
from vision_suite.errors import ConfigError, TrainingError
from vision_suite.faults import has_ended_run
from vision_suite.runs.record import RunFile
from vision_suite.runs.settings import flattened

QUIET = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}


def fitted(tmp_path, logger, **more):
    """A trainer that has just ended one step."""
    trainer = pl.Trainer(default_root_dir=tmp_path, logger=logger, max_steps=1, limit_val_batches=0, **QUIET, **more)
    trainer.fit(BoringModel())
    return trainer


@pytest.mark.parametrize("kind", ["csv", "tensorboard", "wandb", "none"])
def test_the_run_folder_is_the_parent_of_the_checkpoints(tmp_path, kind):
    logger = {
        "csv": lambda: CSVLogger(tmp_path, name="a/b"),
        "tensorboard": lambda: TensorBoardLogger(tmp_path, name="tb"),
        "wandb": lambda: WandbLogger(save_dir=tmp_path, offline=True),
        "none": lambda: False,
    }[kind]()
    trainer = fitted(tmp_path, logger)
    assert run_dir(trainer) == Path(trainer.checkpoint_callback.dirpath).parent
    if kind == "wandb":
        import wandb

        wandb.finish()


def test_a_development_run_stays_apart(tmp_path):
    trainer = pl.Trainer(default_root_dir=tmp_path, fast_dev_run=True, **QUIET)
    assert run_dir(trainer) == tmp_path / "fast_dev_run"


def test_two_offline_wandb_runs_keep_two_configurations(tmp_path, monkeypatch):
    import wandb
    from synthetic import write_market

    from vision_suite.cli.commands.train import run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "cache"))
    write_market(tmp_path / "market", train_ids=4, test_ids=2)
    Path("method.py").write_text(METHOD)
    monkeypatch.syspath_prepend(tmp_path)
    argv = [
        *["fit", "--model=method.LitOneWeight", "--data=ReIDData", "--data.root=market", "--data.image_size=[32,16]"],
        *["--data.batch_size=4", "--data.num_instances=2", "--data.num_workers=0", "--trainer.accelerator=cpu"],
        *["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"],
        *["--trainer.logger=WandbLogger", "--trainer.logger.offline=true", "--trainer.logger.project=two"],
    ]
    for slope in (0.25, 0.5):
        logger = run([*argv, f"--model.slope={slope}"]).trainer.logger
        assert logger.experiment.config["model.slope"] == slope
        assert logger.experiment.config["model"] == "method.LitOneWeight"
        assert logger.experiment.config["data.root"] == "market"
        wandb.finish()
    stored = [yaml.safe_load(path.read_text()) for path in Path("runs/unnamed").glob("*/config.yaml")]
    assert sorted(config["model"]["init_args"]["slope"] for config in stored) == [0.25, 0.5]
    assert all((path.parent / "config.yaml").is_file() for path in Path("runs/unnamed").glob("*/checkpoints"))
    records = [json.loads(path.read_text()) for path in Path("runs/unnamed").glob("*/run.json")]
    assert [(record["command"], record["status"]) for record in records] == [("fit", "finished")] * 2


METHOD = """
import torch
from torch import nn
from vision_suite.lit_modules.base import LitBase
from vision_suite.optim import OptimConfig

class LitOneWeight(LitBase):
    def __init__(self, slope: float = 1.0, optim: OptimConfig = OptimConfig()):
        super().__init__(optim)
        self.weight = nn.Parameter(torch.ones(1))
        self.slope = slope

    def training_step(self, batch, batch_idx):
        return (self.weight * self.slope * batch["image"].mean()) ** 2
"""


def test_git_state_of_a_checkout(tmp_path):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@y", *words], cwd=tmp_path, check=True)

    git("init", "-q")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-q", "-m", "first")
    clean = git_state(tmp_path)
    assert len(clean["commit"]) == 40
    assert clean["dirty"] is False
    (tmp_path / "file").write_text("2")
    assert git_state(tmp_path) == {"commit": clean["commit"], "dirty": True}


def test_no_checkout_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    state = git_state(tmp_path)
    assert state["commit"] is None
    assert "not a git checkout" in state["reason"]


def test_versions_and_hardware_are_plain():
    versions = package_versions(["torch", "no-such-package"])
    assert versions["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert versions["no-such-package"] is None
    assert json.loads(json.dumps(hardware()))["cores"] >= 1


names = st.text("abc", min_size=1, max_size=3)
trees = st.recursive(
    st.integers() | st.none() | st.lists(st.integers(), max_size=2),
    lambda below: st.dictionaries(names, below, min_size=1, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(names, trees, max_size=3))
def test_flattened_keeps_every_leaf_under_its_path(tree):
    flat = flattened(tree)
    assert not any(isinstance(value, dict) for value in flat.values())
    for key, value in flat.items():
        here = tree
        for part in key.split("."):
            here = here[part]
        assert here == value


def test_flattened_drops_the_words_that_spell_a_class():
    tree = {
        "model": {"class_path": "m.A", "init_args": {"lr": 1, "part": {"class_path": "m.B", "init_args": {"x": 2}}}}
    }
    assert flattened(tree) == {"model": "m.A", "model.lr": 1, "model.part": "m.B", "model.part.x": 2}


@pytest.mark.parametrize("error", [KeyError("x"), FileNotFoundError(2, "gone", "a"), ConfigError("x")])
def test_a_process_without_a_record_leaves_its_log_in_the_folder(tmp_path, error):
    trainer = pl.Trainer(default_root_dir=tmp_path, logger=False, enable_checkpointing=False, **QUIET)
    assign_run_dir(trainer, tmp_path)
    RunRecord(None, Namespace()).on_exception(trainer, BoringModel(), error)
    assert (tmp_path / "error.log").exists() != isinstance(error, ConfigError)
    assert has_ended_run(error)


@pytest.mark.parametrize(
    ("error", "notes"), [(TrainingError("x"), [""]), (ConfigError("x"), ["epoch 0, step 0, no checkpoint yet"])]
)
def test_where_a_run_stood_is_said_once(tmp_path, error, notes):
    trainer = pl.Trainer(default_root_dir=tmp_path, logger=False, enable_checkpointing=False, **QUIET)
    record = RunRecord(None, Namespace())
    record.file = RunFile(tmp_path, {"command": "fit", "status": "running"}, "")
    record.on_exception(trainer, BoringModel(), error)
    assert error.__notes__ == notes
    assert record.file.record["status"] == "failed"


def test_curves_that_cannot_be_drawn_do_not_hide_the_error(tmp_path, monkeypatch):
    writer = ReportWriter()
    writer._training = True

    def fail(*_):
        raise TypeError("a fault while drawing")

    monkeypatch.setattr(writer, "_draw_training", fail)
    trainer = pl.Trainer(default_root_dir=tmp_path, logger=False, enable_checkpointing=False, **QUIET)
    with pytest.warns(UserWarning, match="training.png is not drawn"):
        writer.on_exception(trainer, BoringModel(), KeyError("x"))
