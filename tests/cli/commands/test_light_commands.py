"""The commands that load neither torch nor Lightning, and the dispatch around all commands."""

import sys

import pytest

from vision_suite import __version__
from vision_suite.cli import OTHER_COMMANDS, TRAINER_COMMANDS, lightning_script, main
from vision_suite.hints import did_you_mean, nearest


def test_help_names_every_command(capsys):
    for argv in ([], ["--help"], ["-h"]):
        assert main(argv) == 0
        text = capsys.readouterr().out
        assert all(f"  {name} " in text for name in {**TRAINER_COMMANDS, **OTHER_COMMANDS})


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"vision-suite {__version__}\n"


def test_a_hint_never_offers_the_word_itself():
    assert nearest("cpu", ["cpu", "cpus"]) == ["cpus"]
    assert did_you_mean("trainer.max_epochs", ["trainer.max_epochs"]) == ""


def test_an_unknown_command_brings_the_nearest(capsys):
    assert main(["fti"]) == 2
    assert "unknown command 'fti': did you mean 'fit'" in capsys.readouterr().err


def test_a_command_that_cannot_start_points_to_the_doctor(capsys, monkeypatch):
    def broken(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("vision_suite.cli.importlib.import_module", broken)
    assert main(["fit"]) == 2
    assert "operator torchvision::nms does not exist" in (err := capsys.readouterr().err)
    assert "vision-suite doctor" in err


def test_data_list_shows_sets_and_states(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "cache"))
    assert main(["data", "list"]) == 0
    text = capsys.readouterr().out
    assert str(tmp_path / "cache") in text
    assert "prepare it: vision-suite data prepare emoji-reid" in text


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["data", "prepare", "emojis"], "no set is called 'emojis'"),
        (["data", "verify", "emoji-reid"], "does not exist"),
        (["data", "lst"], "invalid choice: 'lst'"),
        (["data"], "required"),
        (["data", "prepare", "emoji-reid", "--image_size", "-3"], "'-3' is no whole number from 1"),
        (["data", "prepare", "emoji-reid", "--workers", "100000000"], "is no whole number from 1 to 65536"),
        (["export", "--format", "onnx", "--ckpt_path", "x", "--batch", "0"], "'0' is no whole number from 1"),
        (["export", "--format", "onnx", "--ckpt_path", "x", "--tolerance", "nan"], "'nan' is no number above 0"),
        (["configs", "--long"], "unrecognized arguments: --long"),
        (["doctor", "now"], "unrecognized arguments: now"),
    ],
)
def test_mistakes_are_one_line(capsys, monkeypatch, tmp_path, argv, line):
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "cache"))
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert line in err


def test_data_verify_tells_problems_by_its_status(capsys, monkeypatch, tmp_path):
    from types import SimpleNamespace

    from vision_suite.datasets.prepare import catalog

    for problems, status in (((), 0), (("a/query: one picture is missing",), 1)):
        monkeypatch.setattr(catalog, "verify", lambda name, quiet, found=problems: SimpleNamespace(problems=found))
        assert main(["data", "verify", "emoji-reid"]) == status
        assert all(problem in capsys.readouterr().out for problem in problems)


def test_lightning_serves_the_trainer_commands(monkeypatch):
    seen = []
    monkeypatch.setattr("vision_suite.cli.main", lambda: seen.append(sys.argv[1:]) or 0)
    monkeypatch.setattr(sys, "argv", ["lightning", "fit", "-c", "x"])
    assert lightning_script.main() == 0
    assert seen == [["fit", "-c", "x"]]


def test_lightning_hands_everything_else_to_its_owner(monkeypatch, tmp_path, capsys):
    folder = tmp_path / "lightning_sdk-2026.10.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: lightning-sdk\nVersion: 2026.10\n")
    (folder / "entry_points.txt").write_text("[console_scripts]\nlightning = fake_sdk:main\nsandbox = fake_sdk:other\n")
    (tmp_path / "fake_sdk.py").write_text("import sys\ndef main():\n    print('sdk got', sys.argv[1:])\n    return 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning", "studio", "start"])
    assert lightning_script.main() == 3
    assert capsys.readouterr().out == "sdk got ['studio', 'start']\n"


def test_lightning_without_its_owner_says_what_it_is(monkeypatch, capsys):
    monkeypatch.setattr(lightning_script, "sdk_entry_point", lambda: None)
    monkeypatch.setattr(sys, "argv", ["lightning", "studio"])
    assert lightning_script.main() == 2
    assert "belongs to vision-suite" in capsys.readouterr().err


def test_nearest_names():
    names = ["dcal/market1501_deit_s", "dcal/msmt17_vit_b", "dcal/emoji_reid"]
    assert nearest("emoji_reid", names)[0] == "dcal/emoji_reid"
    assert nearest("dcal/market1501", names)[0] == "dcal/market1501_deit_s"
    assert nearest("zzzz", names) == []
    assert did_you_mean("zzzz", names) == ""
    assert did_you_mean("widht", ["width"]) == ": did you mean 'width'?"
