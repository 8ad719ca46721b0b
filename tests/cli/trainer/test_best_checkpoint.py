"""``best.ckpt`` of a run without a validation: the lowest training loss, also after it went on; of late ones."""

import csv
from pathlib import Path

import torch

from vision_suite.cli.commands.train import run
from vision_suite.cli.trainer.monitors import BestCheckpoint

BEST = ["--trainer.callbacks+=vision_suite.cli.trainer.monitors.BestCheckpoint", "--trainer.callbacks.monitor=val/mAP"]
FOLDER = Path("runs/toy/version_0")


def losses():
    """Loss of the last step of each epoch."""
    found = {}
    for file in sorted(FOLDER.glob("metrics*.csv")):
        with file.open(newline="") as lines:
            found |= {int(row["epoch"]): float(row["train/loss"]) for row in csv.DictReader(lines) if row["train/loss"]}
    return list(found.values())


def test_without_a_validation_the_lowest_training_loss_is_best(toy):
    cli = run(["fit", "-c", toy, "--trainer.max_epochs=3", *BEST, "--trainer.callbacks.mode=max"])
    (best,) = [each for each in cli.trainer.callbacks if isinstance(each, BestCheckpoint)]
    assert (best.monitor, best.mode) == ("train/loss", "min")
    assert float(best.best_model_score) == min(losses())
    saved = torch.load(FOLDER / "checkpoints/best.ckpt", weights_only=True)
    assert saved["epoch"] == losses().index(min(losses()))
    cli = run(["fit", "--ckpt_path=last", "--trainer.max_epochs=5"])
    (best,) = [each for each in cli.trainer.callbacks if isinstance(each, BestCheckpoint)]
    assert float(best.best_model_score) == min(losses())
    assert len(losses()) == 5
    run(["test", "-c", toy, "--ckpt_path=best"])


def test_a_validation_that_comes_later_than_the_first_epoch_counts(toy):
    validation = ["--data.validation=holdout", "--data.val_fraction=0.5", "--trainer.check_val_every_n_epoch=2"]
    validation += ["--trainer.num_sanity_val_steps=0"]
    norm = [flag.replace("val/mAP", "val/norm") for flag in BEST]
    cli = run(["fit", "-c", toy, "--trainer.max_epochs=2", *validation, *norm, "--trainer.callbacks.mode=max"])
    (best,) = [each for each in cli.trainer.callbacks if isinstance(each, BestCheckpoint)]
    assert best.monitor == "val/norm"
    saved = torch.load(FOLDER / "checkpoints/best.ckpt", weights_only=True)
    assert saved["epoch"] == 1
