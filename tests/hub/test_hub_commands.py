"""``vision-suite hub``, and names of the hub in the commands that run a trainer."""

import json
import shlex
import shutil

import hub_tiny
import numpy as np
import pytest
from documents import blocks
from folders import ROOT, SUPPORT
from hub_tiny import NAME, local
from synthetic import save, write_market

from vision_suite.cli import main
from vision_suite.cli.hub.facts import data_name, without_paths
from vision_suite.cli.hub.figures import figures_of
from vision_suite.errors import ConfigError

PUSH = ["--license", "Apache-2.0", "--attribution", "pictures; someone; CC0-1.0; the web"]


@pytest.fixture(autouse=True)
def user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return hub_tiny.as_user(monkeypatch, tmp_path)


def command(*argv):
    return main([str(word) for word in argv])


def test_two_pushes_give_the_same_bytes(made, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    for hub in ("one", "two"):
        assert command("hub", "push", made[1], "--name", NAME, "--hub", f"{hub}/hub", *PUSH) == 0
    files = sorted(
        path.relative_to(tmp_path / "one/hub") for path in (tmp_path / "one/hub").rglob("*") if path.is_file()
    )
    assert len(files) > 9
    for path in files:
        assert (tmp_path / "one/hub" / path).read_bytes() == (tmp_path / "two/hub" / path).read_bytes(), path
    config = json.loads((tmp_path / "one/hub" / NAME / "config.json").read_text())
    assert config["created"] == "2023-11-14T22:13:20Z"
    assert config["attribution"] == [{"what": "pictures", "by": "someone", "license": "CC0-1.0", "source": "the web"}]
    assert "sums " in capsys.readouterr().out


def test_what_push_refuses(made, user, capsys):
    wrong = {
        "give --license and --attribution": ["--name", NAME],
        "must begin with the method": ["--name", "oat_x.market", *PUSH],
        "in small letters": ["--name", "DCAL.x", *PUSH],
        "give 'WHAT; BY'": ["--name", NAME, "--license", "MIT", "--attribution", "pictures"],
        "has no LoRA": ["--name", NAME, "--merge_lora", *PUSH],
        "license is": ["--name", NAME, "--license", "free for all!", "--attribution", "a; b"],
    }
    for said, words in wrong.items():
        assert command("hub", "push", made[1], *words) == 2
        line = capsys.readouterr().err.strip()
        assert said in line
        assert "\n" not in line
    assert not (user / NAME).exists()
    assert command("hub", "push", made[1], "--name", NAME, *PUSH) == 0
    assert command("hub", "push", made[1], "--name", NAME, *PUSH) == 2
    assert "--replace" in capsys.readouterr().err
    assert command("hub", "push", made[1], "--name", NAME, "--replace", *PUSH) == 0
    assert [path.name for path in user.iterdir() if path.name.startswith(".")] == []


def test_verify_ends_with_1_and_names_every_fault(hub, folder, capsys):
    assert command("hub", "verify", local(folder)) == 0
    (folder / "LICENSE").write_text("x")
    (folder / "more").write_text("x")
    assert command("hub", "verify", local(folder)) == 1
    out = capsys.readouterr().out
    assert "LICENSE: hash is" in out
    assert "more: it is not in SHA256SUMS" in out
    assert "2 faults" in out
    assert command("hub", "verify", "hub:no_such.entry") == 1
    assert command("hub", "show", local(folder)) == 2


def test_pull_copies_what_was_checked(hub, folder, tmp_path, capsys):
    assert command("hub", "pull", local(folder), "--hub", "copies") == 0
    for path in (path for path in folder.rglob("*") if path.is_file()):
        assert (tmp_path / "copies" / NAME / path.relative_to(folder)).read_bytes() == path.read_bytes()
    assert command("hub", "pull", local(folder), "--hub", "copies") == 2
    assert command("hub", "verify", local(tmp_path / "copies" / NAME)) == 0
    (folder / "LICENSE").write_text("x")
    assert command("hub", "pull", local(folder), "--hub", "others") == 2
    assert not (tmp_path / "others").exists()


def test_entries_of_the_package_are_pinned(made, tmp_path, monkeypatch, capsys):
    from vision_suite.hub import places

    monkeypatch.setattr(places, "SHIPPED", tmp_path / "entries")
    monkeypatch.setattr(places, "PINS", tmp_path / "pins")
    (tmp_path / "pins").mkdir()
    (tmp_path / "pins/dcal_gone.market.sha256").write_text("0" * 64)
    assert command("hub", "push", made[1], "--name", NAME, "--hub", "entries", *PUSH) == 0
    assert [path.name for path in (tmp_path / "pins").iterdir()] == [f"{NAME}.sha256"]
    assert [path.name for path in (tmp_path / "entries").iterdir()] == [NAME]
    assert command("hub", "verify") == 0
    assert command("hub", "list") == 0
    assert f"{NAME} (package): dcal, reid, 13,356 parameters" in capsys.readouterr().out
    (tmp_path / "pins" / f"{NAME}.sha256").write_text("0" * 64)
    assert command("hub", "verify", NAME) == 1
    assert command("hub", "index", "--hub", "entries") == 0
    assert command("hub", "verify", NAME) == 0


def test_the_page_is_true(made, user, tmp_path, capsys):
    """Every command of docs/hub.md that is not marked, in order, and its Python."""
    shutil.copy(made[1], tmp_path / "last.ckpt")
    save(tmp_path / "photo.png", 1, size=(40, 30))
    ran = 0
    for block in blocks(ROOT / "docs/hub.md"):
        for line in block.commands() if block.language == "bash" and not block.skipped else ():
            program, *argv = shlex.split(line)
            assert program == "vision-suite"
            assert main(argv) == 0, f"{line}\n{capsys.readouterr().err}"
            ran += 1
    assert ran == 9
    out = capsys.readouterr().out
    assert f"# {NAME}" in out
    assert "its sample gives what it should" in out
    (code,) = [block.code for block in blocks(ROOT / "docs/hub.md") if block.language == "python"]
    exec(compile(code.replace("local-dir:", "local-dir:hub/"), "hub.md", "exec"), {})
    assert "dcal reid torch.Size([1, 24])" in capsys.readouterr().out


def test_predict_and_test_take_names_of_the_hub(made, user, tmp_path, capsys):
    write_market(tmp_path / "market", train_ids=8, test_ids=4, val_ids=2)
    save(tmp_path / "photos/one.png", 1, size=(40, 30))
    assert command("hub", "push", made[1], "--name", NAME, *PUSH) == 0
    config, found = SUPPORT / "before/dcal_reid/config.yaml", []
    for number, path in enumerate((str(made[1]), local(user / NAME))):
        words = ["-c", config, "--ckpt_path", path, f"--trainer.logger.save_dir={tmp_path / str(number)}"]
        assert command("predict", *words, "--data.predict_inputs", tmp_path / "photos") == 0, capsys.readouterr().err
        (features,) = (tmp_path / str(number)).rglob("features.npz")
        found.append(np.load(features))
        assert command("test", *words) == 0
        (metrics,) = (tmp_path / str(number)).rglob("metrics.json")
        found.append(json.loads(metrics.read_text())["metrics"])
    features, metrics, again, other = found
    assert set(features) == set(again)
    for name in features:
        assert np.array_equal(features[name], again[name]), name
    assert metrics == other
    words = ["-c", config, "--ckpt_path", local(user / NAME)]
    assert command("fit", *words) == 2
    assert "no state of the optimiser" in capsys.readouterr().err
    assert command("test", "-c", config, "--ckpt_path", f"hub:{NAME}") == 2
    assert "is not signed" in capsys.readouterr().err


def one_test(folder, seed, value, trained=None, **data):
    """File ``metrics.json`` of a test, whose own seed is 7, of the checkpoint of a training with another seed."""
    (folder / "test/test").mkdir(parents=True)
    (folder / "fit").mkdir()
    (folder / "fit/run.json").write_text(json.dumps({"command": "fit", "seed": seed}))
    (folder / "test/run.json").write_text(json.dumps({"command": "test", "seed": 7, "working_folder": str(folder)}))
    record = {
        "metrics": {"mAP": value, "odd": None, "rank1": 0.9},
        "protocol": {"dataset": "market_folder", "root": "/data/emoji", "gallery": 7},
        "checkpoint": trained or "fit/checkpoints/last.ckpt",
        "data": data,
    }
    (folder / "test/test/metrics.json").write_text(json.dumps(record))
    return folder / "test/test/metrics.json"


def test_figures_of_several_seeds(tmp_path):
    paths = [one_test(tmp_path / str(seed), seed, value) for seed, value in enumerate((0.5, 0.6, 0.7))]
    first, second = figures_of(paths, [])
    assert (first["name"], second["name"]) == ("mAP", "rank1")
    assert first["value"] == pytest.approx(0.6)
    assert first["std"] == pytest.approx(0.1)
    assert first["seeds"] == [0, 1, 2], "of the trainings, not of the tests"
    assert first["data"] == "emoji"
    assert first["protocol"] == {"dataset": "market_folder", "gallery": 7}
    assert figures_of(paths[:1], ["mAP"])[0]["std"] is None
    for names in (["odd"], ["mP"]):
        with pytest.raises(ConfigError, match="--figures"):
            figures_of(paths, names)


def test_figures_that_do_not_belong_together(tmp_path):
    first = one_test(tmp_path / "one", 1, 0.5)
    wrong = {
        "seeds 1, 1: give one test of each training": one_test(tmp_path / "same", 1, 0.6),
        "other data than": one_test(tmp_path / "other", 2, 0.6, root="/data/persons"),
        "the run that trained gone/last.ckpt is not found": one_test(tmp_path / "gone", 3, 0.6, "gone/last.ckpt"),
    }
    for said, path in wrong.items():
        with pytest.raises(ConfigError, match=said):
            figures_of([first, path], ["mAP"])


def test_paths_of_the_machine_are_replaced(monkeypatch, tmp_path):
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path))
    root = str(tmp_path / "emoji-reid-64/a")
    assert data_name(root, "market_folder") == "emoji-reid-64"
    assert data_name("", "market_folder") == "market_folder"
    assert without_paths(f"--data.root={root}", root, "emoji-reid-64") == "--data.root=emoji-reid-64"
    assert without_paths("--out=/home/me/runs x", "", "") == "--out=runs x"
    for kept in ("dcal/emoji_reid", "1/3", "a: b", "https://spdx.org/x", "runs/dcal"):
        assert without_paths(kept, "", "") == kept
