"""``vision-suite hub``, and names of the hub in the commands that run a trainer."""

import json
import shlex
import shutil

import hub_tiny
import numpy as np
import platformdirs
import pytest
from documents import blocks
from folders import ROOT, SUPPORT
from hub_tiny import NAME, configured, local
from synthetic import save, write_market

from vision_suite import hub as checkpoint_hub
from vision_suite.cli import main
from vision_suite.cli.hub.facts import data_name, plain_texts, without_paths
from vision_suite.cli.hub.figures import figures_of
from vision_suite.errors import ConfigError
from vision_suite.hub.card import attribution_text, card
from vision_suite.hub.signature import config_folder

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
    assert [path.name for path in user.iterdir() if path.name.startswith(".")] == [".lock"]


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


def refusal(capsys, *argv):
    """The one line with which a command is refused."""
    capsys.readouterr()
    assert command(*argv) == 2
    err = capsys.readouterr().err.removesuffix("\n")
    (line,) = (line for line in err.split("\n") if not line.startswith("warning: "))
    assert line.isprintable(), line
    return line


def test_a_broken_index_is_made_again(hub, folder, capsys):
    for name in ("a", "b", "c"):
        assert command("hub", "index", "--name", name) == 0
    assert "serial 4" in capsys.readouterr().out
    checkpoint_hub.load(NAME, allow_unsigned=True)
    for contents in ("{", "[]", "\ud800".encode("utf-8", "surrogatepass"), None):
        if contents is None:
            (hub / "index.json").unlink()
        else:
            (hub / "index.json").write_bytes(contents if isinstance(contents, bytes) else contents.encode())
        assert "vision-suite hub index" in refusal(capsys, "hub", "show", NAME, "--allow-unsigned")
        assert command("hub", "index", "--name", "c") == 0
        assert "serial 5" in capsys.readouterr().out, "what was seen counts on"
    checkpoint_hub.load(NAME, allow_unsigned=True)
    old = json.loads((hub / "index.json").read_text())
    (hub / "index.json").write_text(json.dumps({**old, "serial": 2}))
    assert "serial 2 is older than 5" in refusal(capsys, "hub", "show", NAME, "--allow-unsigned")
    assert command("hub", "index") == 0
    checkpoint_hub.load(NAME, allow_unsigned=True)
    (hub / "index.json").write_text(json.dumps({**old, "format": 2}))
    assert "pip install --upgrade" in refusal(capsys, "hub", "index"), "one of a newer suite is not overwritten"


def test_a_signed_index_counts_on(hub, tmp_path, capsys):
    assert command("hub", "keygen", "key.pem") == 0
    config_folder().mkdir(parents=True)
    (config_folder() / "trusted_keys").write_text(capsys.readouterr().out.splitlines()[-1])
    for name in ("a", "b", "ours"):
        assert command("hub", "index", "--key", "key.pem", "--name", name) == 0
    checkpoint_hub.load(NAME)
    (hub / "index.json").unlink()
    assert command("hub", "index", "--key", "key.pem", "--name", "ours") == 0
    assert "serial 5" in capsys.readouterr().out
    checkpoint_hub.load(NAME)


def test_advice_for_an_unsigned_hub_is_true(hub, folder, capsys):
    line = refusal(capsys, "hub", "show", NAME)
    for words in ("hub index --key", "--allow-unsigned", f"local-dir:{hub}/NAME"):
        assert words in line
    for action in ("show", "verify"):
        assert command("hub", action, NAME, "--allow-unsigned") == 0
    for more in ([], ["--replace"]):
        assert "is that entry itself" in refusal(capsys, "hub", "pull", NAME, "--allow-unsigned", *more)
    assert "is that entry itself" in refusal(capsys, "hub", "pull", local(folder))
    checkpoint_hub.load(NAME, allow_unsigned=True)


def test_odd_names_are_told_in_one_line(hub, capsys):
    for name in ("hub:a.b\n", "a\x1b[31m.b", "local-dir:a\0b", "local-dir:a\udcff", "local-dir:~nobody_of_this_name/x"):
        refusal(capsys, "hub", "show", name)
        assert command("hub", "verify", name) == 1
        out = capsys.readouterr().out
        assert out.replace("\n", "").isprintable()
        assert len(out.splitlines()) == 2


def test_a_card_tells_the_protocol_of_each_figure(folder):
    config = json.loads((folder / "config.json").read_text())
    figure = {"name": "mAP", "value": 0.5, "std": 0.01, "seeds": [1, 2, 3], "split": "test", "data": "toy"}
    three, own = (
        {**figure, "protocol": {"of": "three"}},
        {**figure, "std": None, "seeds": [1], "protocol": {"of": "one"}},
    )
    text = card({**config, "metrics": [three, own]})
    assert "| mAP | 0.5 ± 0.01 | 1, 2, 3 | test | toy | 1 |\n| mAP | 0.5 | 1 | test | toy | 2 |" in text
    assert "Protocol 1: of three.\n\nProtocol 2: of one." in text
    text = card({**config, "metrics": [three]})
    assert "|---|---|---|---|---|\n| mAP | 0.5 ± 0.01 | 1, 2, 3 | test | toy |\n\nProtocol: of three." in text


def test_a_card_holds_no_marks_of_others(folder):
    config = json.loads((folder / "config.json").read_text())
    whole = (folder / "README.md").read_text()
    assert card(config) == whole
    assert "```bash\n" in card({**config, "training": {**config["training"], "command": ["vision-suite", "fit"]}})
    odd = "\x1b[31m<script>`|*\n```\n# x"
    config["training"].update(command=["fit", odd], hardware=odd)
    config["training"]["data"].update(name=odd, fingerprint=odd)
    config.update(suite_version=odd, torch_version=odd, method=odd)
    config["attribution"] = [dict.fromkeys(("what", "by", "license", "source"), odd)]
    config["base"] = {"source": odd, "sha256": "0" * 64}
    figure = {"name": odd, "value": 1.0, "std": None, "seeds": [1], "split": odd, "data": odd, "protocol": {odd: odd}}
    config["metrics"] = [figure]
    for text in (card(config), attribution_text(config)):
        assert all(line.isprintable() for line in text.split("\n"))
        outside, fence = [], ""
        for line in text.split("\n"):
            ticks = line[: len(line) - len(line.lstrip("`"))]
            if not fence and len(ticks) > 2:
                fence = ticks
            elif fence and line == fence:
                fence = ""
            elif not fence:
                outside.append(line)
        assert fence == ""
        assert not any("<script>" in line or line.startswith("# x") for line in outside)


def test_show_escapes_what_a_terminal_obeys(folder, capsys):
    configured(folder, lambda config: config["training"].update(hardware="a\u00a0b"))
    assert command("hub", "show", local(folder)) == 0
    out = capsys.readouterr().out
    assert "a\\u00a0b" in out
    assert json.loads(out)["training"]["hardware"] == "a\u00a0b"


def test_one_bad_folder_hides_no_other(hub, folder, tmp_path, capsys):
    (hub / "x_y.z").symlink_to("/tmp")
    (hub / "zero.entry").mkdir()
    (hub / "x_huge.entry").mkdir()
    facts = '{"method": "a", "task": "b", "weights": {"bytes": 1%s, "parameters": 2}}' % ("0" * 400)
    (hub / "x_huge.entry/config.json").write_text(facts)
    assert command("hub", "list") == 0
    out = capsys.readouterr().out
    assert f"{NAME} (hub): dcal, reid" in out
    assert "x_y.z: a link that leaves the hub" in out
    assert out.count("its config.json cannot be read") == 2
    assert command("hub", "verify", "--allow-unsigned") == 1
    out = capsys.readouterr().out
    assert "fault: x_y.z: " in out
    assert f"{NAME}: " in out
    assert "x_huge.entry: " in refusal(capsys, "hub", "index")
    shutil.rmtree(hub / "x_huge.entry")
    assert "x_y.z: a link that leaves the hub" in refusal(capsys, "hub", "index")


def test_a_user_without_a_home(hub, folder, monkeypatch, capsys):
    def none(*_):
        raise RuntimeError("could not determine the home directory")

    for name in ("user_cache_path", "user_config_path"):
        monkeypatch.setattr(platformdirs, name, none)
    monkeypatch.setenv("VISION_SUITE_HUB", "")
    checkpoint_hub.load(local(folder))
    assert command("hub", "list") == 0
    assert "hub: none" in capsys.readouterr().out
    assert "no such entry" in refusal(capsys, "hub", "show", NAME)
    assert "there is no home" in refusal(capsys, "hub", "index")
    assert command("hub", "keygen", "key.pem") == 0
    assert command("hub", "index", "--hub", hub, "--key", "key.pem") == 0
    checkpoint_hub.load(local(folder))
    monkeypatch.setenv("VISION_SUITE_HUB", str(hub))
    assert "set HOME first" in refusal(capsys, "hub", "show", NAME)


def test_push_with_a_key_that_is_none_writes_nothing(made, user, capsys):
    words = ["hub", "push", made[1], "--name", NAME, *PUSH]
    assert "cannot be read" in refusal(capsys, *words, "--key", "missing.pem")
    assert list(user.iterdir()) == []
    (user / "bad.entry").mkdir()
    assert "bad.entry: SHA256SUMS: it is missing" in refusal(capsys, *words)
    assert not (user / NAME).exists(), "the index could not be made"


def test_a_key_never_lies_in_a_hub(hub, folder, user, tmp_path, capsys):
    (hub / "index.json").unlink()
    shutil.copytree(folder, tmp_path / "others" / NAME)
    (tmp_path / "link").symlink_to(tmp_path / "others")
    (tmp_path / "init.d").mkdir()
    shutil.rmtree(folder)
    for path in (hub / "key.pem", hub / "deep/key.pem", "others/key.pem", f"others/{NAME}/key.pem", "link/key.pem"):
        assert "never lies in a hub" in refusal(capsys, "hub", "keygen", path)
    assert command("hub", "keygen", "key.pem") == 0


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
    for kept in KEPT:
        assert without_paths(kept, "", "") == kept
    for text, plain in PLAIN.items():
        assert without_paths(text, "", "") == plain
        assert without_paths(f"--x={text}", "", "") == f"--x={plain}" or text[0] == "-"
        assert plain_texts({text: [{"a": text}]}, "", "") == {plain: [{"a": plain}]}
    assert without_paths("--r=/data/ab/c /data/a/b", "/data/a", "set") == "--r=c set/b"
    assert without_paths("-I/data/a/b /mnt/data/a/c", "/data/a/", "set") == "-Ib c"
    assert without_paths("x.y=.", ".", "") == "x.y=."


KEPT = (
    "dcal/emoji_reid", "1/3", "a: b", "https://spdx.org/x", "runs/dcal", "km/h", "a/b", "12 km/h", "and/or yes/no",
    "./a/b", "../a/b", "a / b", "**/*.jpg", "/", "</s> [/INST] <b>x</b>", "hub:dcal_micro.emoji_a", "hf-hub:a/b@c",
    "http://localhost:8000/v1", "http://host/x?file=/a/b", "s3://bucket/x", "local-dir:my_hub/dcal_micro.emoji_a",
)  # fmt: skip
PLAIN = {
    "/home/me/x": "x",
    "/home/me/x/": "x",
    "//home/me/x": "x",
    "/home/me/my data/x": "x",
    "/home/me/photos (1)/x.png": "x.png",
    "/home/o'neil/x": "x",
    "/home/me/epoch=1-step=2/last.ckpt": "last.ckpt",
    "~/x/y": "y",
    "~me/x/y": "y",
    "file:///home/me/x": "x",
    "FILE://host/home/me/my data/x": "x",
    "file:/home/me/x": "file:x",
    "dir:/home/me/x": "dir:x",
    "local-dir:/home/me/hub/dcal_micro.emoji_a": "local-dir:dcal_micro.emoji_a",
    "-I/home/me/x": "-Ix",
    "-L/usr/lib/x -lfoo": "-Lx -lfoo",
    "/home/me/a:/home/me/b": "a:b",
    "[/home/me/a, /home/me/b c/d]": "[a, d]",
    "['/home/me/my a/x','rel/y']": "['x','rel/y']",
    '{"root": "/home/me/my x/y", "unit": "km/h"}': '{"root": "y", "unit": "km/h"}',
    "python /home/me/t.py --o /home/me/r km/h": "python t.py --o r km/h",
    "speed of /home/me/x in km/h": "speed of x in km/h",
    "/home/me/a and https://x.org/b": "a and https://x.org/b",
    "x:\n/home/me/a b/c\nkm/h": "x:\nc\nkm/h",
}
