"""Old names of settings in flags and files: the list that the parser gets, and the whole way."""

from pathlib import Path

import pytest
import yaml
from old_settings import VALUES

from vision_suite.cli import main
from vision_suite.cli.trainer.old_names import renamed_arguments
from vision_suite.renamed import RENAMED

EMOJI = ["fit", "-c", "dcal/emoji_reid"]
TABLE = RENAMED["LitDCAL"]


def parsed(capsys, *argv):
    """The model's settings as the parser understands them."""
    with pytest.raises(SystemExit) as leave:
        main([*argv, "--print_config"])
    assert not leave.value.code
    return yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]


def test_flags_are_renamed_where_they_stand():
    argv = ["fit", "--model", "LitDCAL", "--model.glca_ratio", "0.1", "--model.init_args.rerank=true", "--x", "y"]
    argv += ["--model.backbone_args.depth=2", "--model.pwca=false", "--data.protocol", "a", "--model.glca", "g.yaml"]
    assert renamed_arguments(argv) == [
        "fit", "--model", "LitDCAL", "--model.glca.ratio", "0.1", "--model.init_args.retrieval.rerank=true", "--x", "y",
        "--model.backbone_args.depth=2", "--model.pwca.enabled=false", "--data.protocol", "a", "--model.glca", "g.yaml",
    ]  # fmt: skip


def test_another_model_keeps_its_names():
    argv = ["fit", "--model=LitToy", "--model.protocol", "a", "--model", "a.b.LitDCAL", "--model.protocol=cuhk03"]
    assert renamed_arguments(argv)[1:] == [
        "--model=LitToy", "--model.protocol", "a", "--model", "a.b.LitDCAL", "--model.retrieval.protocol=cuhk03",
    ]  # fmt: skip


@pytest.mark.parametrize("argv", [[], ["fit"], ["fit", "-c"], ["fit", "-c", "none.yaml", "--model"]])
def test_short_lists_do_no_harm(argv):
    assert renamed_arguments(argv) == argv


def write(folder: Path, **files: object) -> None:
    for name, contents in files.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(contents))


def test_a_file_is_replaced_only_where_it_holds_an_old_name(tmp_path):
    model = {"class_path": "m.LitDCAL", "init_args": {"optim": "optim.yaml", "glca_ratio": 0.1, "glca": {"blocks": 2}}}
    write(
        tmp_path, old={"model": "parts/model.yaml", "data": "parts/data.yaml"}, new={"model": {"init_args": {}}},
        parts__model=model, parts__data={"class_path": "D", "init_args": {"file": "here.json"}}, parts__optim={"lr": 1},
    )  # fmt: skip
    (tmp_path / "dotted").write_text("model.pwca_share: 0.5\n")
    argv = [f"--config={tmp_path / 'old.yaml'}", "-c", str(tmp_path / "new.yaml"), "-c", str(tmp_path / "dotted")]
    first, *others = renamed_arguments(["fit", *argv])[1:]
    assert yaml.safe_load(first.removeprefix("--config=")) == {
        "model": {
            "class_path": "m.LitDCAL",
            "init_args": {"optim": str(tmp_path / "parts/optim.yaml"), "glca": {"blocks": 2, "ratio": 0.1}},
        },
        "data": str(tmp_path / "parts/data.yaml"),
    }
    assert others == ["-c", str(tmp_path / "new.yaml"), "-c", "{model.pwca.share: 0.5}"]
    (part,) = renamed_arguments(["fit", f"--model={tmp_path / 'parts/model.yaml'}"])[1:]
    assert yaml.safe_load(part.removeprefix("--model="))["init_args"]["glca"]["ratio"] == 0.1


def test_every_old_flag_is_the_new_flag(capsys):
    old = parsed(capsys, *EMOJI, *(f"--model.{name}={value}" for name, value in texts(VALUES)))
    new = parsed(capsys, *EMOJI, *(f"--model.{TABLE[name]}={value}" for name, value in texts(VALUES)))
    assert old == new
    for name, value in VALUES.items():
        record, field = TABLE[name].split(".")
        assert old[record][field] == value, name


def texts(values):
    return [(name, str(value).lower() if isinstance(value, bool) else value) for name, value in values.items()]


def test_files_with_old_names_merge_with_files_and_flags(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, old={"model": {"init_args": {"glca_ratio": 0.2, "triplet_margin": 0.9, "pwca": False}}})
    write(tmp_path, new={"model": {"init_args": {"glca": {"blocks": 2}, "triplet": {"margin": 0.8}}}})
    found = parsed(capsys, *EMOJI, "-c", "old.yaml", "-c", "new.yaml", "--model.glca_readout", "cls")
    assert (found["glca"]["ratio"], found["glca"]["blocks"], found["glca"]["readout"]) == (0.2, 2, "cls")
    assert (found["triplet"]["margin"], found["triplet"]["weight"], found["pwca"]["enabled"]) == (0.8, 3.0, False)
    assert parsed(capsys, *EMOJI, "-c", "new.yaml", "-c", "old.yaml")["triplet"]["margin"] == 0.9
    # A flag under one name beats a file under the other.
    assert parsed(capsys, *EMOJI, "-c", "old.yaml", "--model.glca.ratio=0.4")["glca"]["ratio"] == 0.4


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (
            ["--model.glca_ratio=0.1", "--model.glca.ratio", "0.2"],
            "--model.glca_ratio is the old name of --model.glca.ratio, and both are given: keep --model.glca.ratio",
        ),
        (["-c", "both.yaml"], "rerank is the old name of retrieval.rerank, and both are given: keep retrieval.rerank"),
        (["--model.glca_rato=0.1"], "LitDCAL has no setting 'glca_rato': did you mean 'glca.ratio'"),
        (["--model.glca.rato=0.1"], "LitDCAL has no setting 'glca.rato': did you mean 'glca.ratio'"),
        (["--model.glca_ratio=wide"], "--model.glca.ratio wide: expected float"),
        (["--model.glca_readout=all"], "--model.glca.readout all: expected mean, cls or cls+local"),
    ],
)
def test_a_mistake_is_one_line(flags, line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, both={"model": {"init_args": {"rerank": True, "retrieval": {"rerank": True}}}})
    assert main([*EMOJI, *flags]) == 2
    (found,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("vision-suite: error: ")]
    assert line in found
