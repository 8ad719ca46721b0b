"""``predict`` writes the same files from an entry as from the checkpoint that it was made of, for each method."""

from dataclasses import asdict

import hub_tiny
import instruct_tiny
import pytest
import yaml
from folders import SUPPORT
from saved_data import write_saved_data

from vision_suite.cli import main

TOLD = "summary.json"  # names the checkpoint
NAMES = {
    "dcal_reid": "dcal_reid.x", "dcal_fgvc": "dcal_fgvc.x", "csa": "csa_bmn.x", "oat": "oat_grid.x",
    "wings": "wings_squares.x",
}  # fmt: skip


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """The generated data that the saved configurations name."""
    return write_saved_data(tmp_path_factory.mktemp("predictions"))


def squares(work):
    """Configuration and checkpoint of a language model that was trained for a step."""
    folder = instruct_tiny.write_squares(work / "squares")
    modules = "vision_suite.lit_modules.wings.LitWings", "vision_suite.datasets.instruct.data.InstructData"
    model = {
        "decoder": {"shape": asdict(instruct_tiny.SHAPE)}, "tower": {"kind": "conv", "image_size": [64, 64]},
        "wings": {"rank": 4, "s_max": 128}, "answers": {"max_new_tokens": 4},
    }  # fmt: skip
    data = {
        "root": str(folder), "tokenizer": str(folder / "words.txt"), "image_tokens": 5, "image_size": [64, 64],
        "system": "", "max_length": 64, "batch_size": 4, "eval_batch_size": 5,
    }  # fmt: skip
    parts = zip(("model", "data"), modules, (model, data), strict=True)
    config = {name: {"class_path": kind, "init_args": settings} for name, kind, settings in parts}
    config["trainer"] = {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "limit_val_batches": 0}
    (work / "wings.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "-c", "wings.yaml", "--trainer.max_steps=1", "--trainer.default_root_dir=fit"]) == 0
    (path,) = (work / "fit").rglob("last.ckpt")
    return work / "wings.yaml", path


@pytest.mark.parametrize("name", NAMES)
def test_predict_writes_the_same_files(name, work, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(work)
    hub_tiny.as_user(monkeypatch, tmp_path)
    if name == "wings":
        config, path = squares(work)
    else:
        config, path = SUPPORT / "before" / name / "config.yaml", hub_tiny.saved_before(name, tmp_path)
    folder = hub_tiny.entry(path, tmp_path / "hub", NAMES[name])
    found = []
    for number, checkpoint in enumerate((str(path), hub_tiny.local(folder))):
        place = "default_root_dir" if name == "wings" else "logger.save_dir"
        words = ["-c", str(config), "--ckpt_path", checkpoint, f"--trainer.{place}={tmp_path / str(number)}"]
        assert main(["predict", *words]) == 0, capsys.readouterr().err
        (told,) = (tmp_path / str(number)).rglob(f"predict/{TOLD}")
        files = sorted(each for each in told.parent.rglob("*") if each.is_file() and each.name != TOLD)
        found.append({each.relative_to(told.parent): each.read_bytes() for each in files})
    one, other = found
    assert one
    assert set(one) == set(other)
    for file, contents in one.items():
        assert contents == other[file], file
