"""Lines about a run: the network, one line an epoch, the result, and none of the small talk of libraries."""

import re
import warnings

import pytest
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import TQDMProgressBar

from vision_suite.callbacks.progress import Bar, ProgressLines, _count, _duration, progress
from vision_suite.cli.commands.train import run
from vision_suite.cli.trainer import lines as lines_module
from vision_suite.cli.trainer.lines import plain_warnings


@pytest.fixture
def lines(toy, capsys, caplog):
    """Run a training of the toy method; its lines on stdout, and the notes of the libraries."""

    def train(*flags):
        with caplog.at_level("INFO"):
            run(["fit", "-c", toy, "--trainer.enable_progress_bar=true", "--trainer.max_epochs=3", *flags])
        return capsys.readouterr().out.splitlines(), [record.getMessage() for record in caplog.records]

    return train


def test_a_run_without_a_terminal_prints_a_line_an_epoch(lines):
    out, notes = lines("--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.monitor=train/loss")
    epochs = [line for line in out if line.startswith("epoch ")]
    assert len(epochs) == 3
    for number, line in enumerate(epochs, start=1):
        pattern = rf"epoch {number} of 3, step {6 * number}: train/loss [\d.]+; [\d.]+ s"
        assert re.fullmatch(pattern + ("" if number == 3 else r", about [\d.]+ s left"), line)
    assert "training LitToy: 52 parameters, all trained, on cpu in 32-true" in notes
    ends = [note for note in notes if note.startswith("trained to epoch 3, step 18, in ")]
    assert len(ends) == 1
    assert re.search(
        r"; train/loss [\d.]+; best train/loss [\d.]+ in epoch=\d-step=\d+\.ckpt; checkpoints and logs in runs/",
        ends[0],
    )
    small_talk = ("Seed set", "GPU available", "TPU available", "estimate number", "stopped:")
    assert not [note for note in notes if any(text in note for text in small_talk)]


def test_a_long_epoch_has_a_line_a_minute(lines, monkeypatch):
    monkeypatch.setattr("vision_suite.callbacks.progress.SECONDS", 0.0)
    out, _ = lines("--trainer.max_epochs=1")
    assert [line.split(":")[0] for line in out if ", batch " in line] == [
        f"epoch 1 of 1, batch {number} of 6" for number in range(1, 7)
    ]


def test_a_run_of_steps_tells_the_time_that_they_leave(lines):
    out, _ = lines("--trainer.max_steps=8")
    first, last = [line for line in out if line.startswith("epoch ")]
    assert re.fullmatch(r"epoch 1 of 3, step 6: train/loss [\d.]+; [\d.]+ s, about [\d.]+ s left", first)
    assert re.fullmatch(r"epoch 2 of 3, step 8: train/loss [\d.]+; [\d.]+ s", last)


def test_a_validation_in_mid_epoch_has_a_line(lines):
    out, _ = lines("--data.validation=test", "--trainer.val_check_interval=3", "--trainer.max_epochs=1")
    assert [line.split(":")[0] for line in out if line.startswith("epoch ")] == [
        "epoch 1 of 1, step 3", "epoch 1 of 1, step 6"
    ]  # fmt: skip
    assert "validated; train/loss" in next(line for line in out if "step 3" in line)


@pytest.mark.parametrize(("command", "word"), [("validate", "validation"), ("test", "test"), ("predict", "prediction")])
def test_evaluation_and_prediction_have_lines_too(toy, capsys, monkeypatch, command, word):
    monkeypatch.setattr("vision_suite.callbacks.progress.SECONDS", 0.0)
    split = ["--data.validation=test"] if command == "validate" else []
    run([command, "-c", toy, "--trainer.enable_progress_bar=true", "--data.eval_batch_size=6", *split])
    found = [line for line in capsys.readouterr().out.splitlines() if ", batch " in line]
    assert found == [f"{word}, batch {number} of 3" for number in (1, 2, 3)]


def test_a_run_resumed_within_an_epoch_counts_from_its_own_start():
    trainer, lines = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu"), ProgressLines()
    told = []
    lines._tell = told.append
    lines.on_train_start(trainer, LightningModule())
    lines.on_train_epoch_end(trainer, LightningModule())  # in mid-epoch no epoch begins
    assert re.search(r"step 0: 0(\.0)? s", told[0]), told


def test_no_lines_where_progress_is_switched_off_or_a_bar_is_configured(lines):
    assert not [line for line in lines("--trainer.enable_progress_bar=false")[0] if line.startswith("epoch ")]
    out, _ = lines("--trainer.callbacks+=TQDMProgressBar")
    assert not [line for line in out if line.startswith("epoch ")]


def test_a_terminal_has_the_bar():
    assert type(progress(bar=True)) is Bar
    assert type(progress(bar=False)) is ProgressLines
    assert not isinstance(progress(bar=True), TQDMProgressBar)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.04, "0.0 s"), (9.9, "9.9 s"), (59.4, "59 s"), (483, "8 min 3 s"), (7380, "2 h 3 min")]
)
def test_durations(seconds, words):
    assert _duration(seconds) == words


@pytest.mark.parametrize(
    ("number", "words"), [(52, "52"), (1_200, "1.2 k"), (1_234_567, "1.2 M"), (7_000_000_000, "7.0 G")]
)
def test_counts(number, words):
    assert _count(number) == words


def test_warnings_of_the_suite_are_lines_and_others_keep_their_place(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", lambda message, category, filename, *_: f"{filename}: {message}")
    plain_warnings()
    plain_warnings()  # the second one changes nothing
    own = lines_module.__file__
    assert warnings.formatwarning(UserWarning("no unit"), UserWarning, own, 3) == "vision-suite: warning: no unit\n"
    assert warnings.formatwarning(UserWarning("old"), UserWarning, "/lib/torch.py", 3) == "/lib/torch.py: old"
