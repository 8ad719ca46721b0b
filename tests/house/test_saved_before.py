"""Checkpoints and configurations that earlier versions wrote keep working, with the same numbers."""

import json
import lzma

import pytest
import yaml
from folders import SUPPORT
from saved_data import write_saved_data

from vision_suite.callbacks.run_dir import run_dir
from vision_suite.cli.commands.train import run

BEFORE = SUPPORT / "before"
NAMES = sorted(path.name for path in BEFORE.iterdir() if path.is_dir())
ADDED = {"dcal_reid": {"tpr_at_fpr_0.001"}}  # scores that later versions have besides


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The generated data that the saved configurations name."""
    return write_saved_data(tmp_path_factory.mktemp("before"))


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_run_gives_the_same_metrics(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    checkpoint = folder / f"{name}.ckpt"
    checkpoint.write_bytes(lzma.decompress((BEFORE / name / "last.ckpt.xz").read_bytes()))
    cli = run(["test", "-c", str(BEFORE / name / "config.yaml"), f"--ckpt_path={checkpoint}"])
    record = json.loads((run_dir(cli.trainer) / "test" / "metrics.json").read_text(encoding="utf-8"))
    expected = json.loads((BEFORE / name / "metrics.json").read_text(encoding="utf-8"))
    found = record["metrics"]
    assert set(found) - set(expected) == ADDED.get(name, set())
    assert [key for key in found if key in expected] == list(expected)
    assert [key for key in found if found[key] is None] == [key for key in expected if expected[key] is None]
    for key in (key for key in expected if expected[key] is not None):
        # Float32 rounds otherwise on another processor: a difference of log-likelihoods of about 3 moved by 3e-8.
        assert found[key] == pytest.approx(expected[key], rel=1e-7, abs=5e-8), key


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_run_can_be_repeated(name, folder, monkeypatch):
    """A saved configuration trains a step as it is."""
    monkeypatch.chdir(folder)
    cli = run(["fit", "-c", str(BEFORE / name / "config.yaml"), "--trainer.max_steps=1", "--trainer.max_epochs=1"])
    assert cli.trainer.global_step == 1


def test_settings_under_old_names_keep_their_precedence(folder, monkeypatch, capsys):
    """A checkpoint beats a file and a flag beats both, though each names the setting as it was named before."""
    monkeypatch.chdir(folder)
    (folder / "old.ckpt").write_bytes(lzma.decompress((BEFORE / "dcal_fgvc" / "last.ckpt.xz").read_bytes()))
    changes = {"glca_ratio": 0.5, "label_smoothing": 0.1, "drop_path": 0.0}
    (folder / "changes.yaml").write_text(yaml.safe_dump({"model": {"init_args": changes}}))
    files = ["-c", str(BEFORE / "dcal_fgvc" / "config.yaml"), "-c", "changes.yaml"]
    cli = run(["test", *files, "--ckpt_path=old.ckpt", "--model.label_smoothing=0.2"])
    settings = cli.model.hparams
    assert (settings["glca"]["ratio"], settings["loss"]["label_smoothing"], settings["drop_path"]) == (0.1, 0.2, 0.1)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("from checkpoint ")]
    told = {
        "loss.label_smoothing=0.2 from your flag, 0.0 in the checkpoint",
        "drop_path=0.1 from the checkpoint, 0.0 in the configuration",
        "glca.ratio=0.1 from the checkpoint, 0.5 in the configuration",
    }
    assert set(line.removeprefix("from checkpoint old.ckpt: ").split("; ")) == told
