"""Old names of settings in flags and files: the list that the parser gets, and the whole way."""

from pathlib import Path

import pytest
import yaml
from lit_training import NETWORK
from old_settings import VALUES

from vision_suite.cli import main
from vision_suite.cli.trainer.old_names import renamed_arguments
from vision_suite.errors import ConfigError
from vision_suite.lit_modules.dcal import LitDCAL
from vision_suite.renamed import RENAMED, renamed_class

EMOJI = ["fit", "-c", "dcal/emoji_reid"]
TABLE = RENAMED["LitDCAL"]
FULL = "vision_suite.lit_modules.dcal.LitDCAL"


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
    argv = ["fit", "--model=LitToy", "--model.protocol", "a", "--model", FULL, "--model.protocol=cuhk03"]
    assert renamed_arguments(argv)[1:] == [
        "--model=LitToy", "--model.protocol", "a", "--model", FULL, "--model.retrieval.protocol=cuhk03",
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
    model = {"class_path": FULL, "init_args": {"optim": "optim.yaml", "glca_ratio": 0.1, "glca": {"blocks": 2}}}
    write(
        tmp_path, old={"model": "parts/model.yaml", "data": "parts/data.yaml"}, new={"model": {"init_args": {}}},
        parts__model=model, parts__data={"class_path": "D", "init_args": {"file": "here.json"}}, parts__optim={"lr": 1},
    )  # fmt: skip
    (tmp_path / "dotted").write_text("model.pwca_share: 0.5\n")
    argv = [f"--config={tmp_path / 'old.yaml'}", "-c", str(tmp_path / "new.yaml"), "-c", str(tmp_path / "dotted")]
    first, *others = renamed_arguments(["fit", *argv])[1:]
    assert yaml.safe_load(first.removeprefix("--config=")) == {
        "model": {
            "class_path": FULL,
            "init_args": {"optim": str(tmp_path / "parts/optim.yaml"), "glca": {"blocks": 2, "ratio": 0.1}},
        },
        "data": str(tmp_path / "parts/data.yaml"),
    }
    assert others == ["-c", str(tmp_path / "new.yaml"), "-c", "{'model.pwca.share': 0.5}"]
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


class Finer(LitDCAL):
    """A class of another package that refines one of the suite's."""

    def __init__(self, num_classes: int, **settings):
        super().__init__(num_classes, **settings)


def test_a_class_that_refines_one_of_the_suite_takes_its_former_names(tmp_path):
    path = f"{Finer.__module__}.Finer"
    argv = ["fit", "--model", path, "--model.glca_ratio=0.2"]
    assert renamed_arguments(argv)[3:] == ["--model.glca.ratio=0.2"]
    assert renamed_class(Finer) == "LitDCAL"
    # Another package's class of the same name has its own settings.
    argv = ["fit", "--model", "json.decoder.LitCSA", "--model.layout=x"]
    assert renamed_arguments(argv) == argv


def test_a_refined_class_saves_settings_once():
    module = Finer(3, glca_ratio=0.2, task="fgvc", **NETWORK)
    assert "glca_ratio" not in module.hparams
    assert module.hparams["glca"]["ratio"] == 0.2


@pytest.mark.parametrize("key", ["init_args", "dict_kwargs"])
def test_former_names_are_found_however_settings_are_given(key, tmp_path):
    text = f"{{model: {{class_path: LitDCAL, {key}: {{glca_ratio: 0.2, pwca: null}}}}}}"
    (renamed,) = renamed_arguments(["fit", f"--config={text}"])[1:]
    settings = yaml.safe_load(renamed.removeprefix("--config="))["model"][key]
    assert settings == {"glca": {"ratio": 0.2}, "pwca": {"enabled": False}}
    flag = renamed_arguments(["fit", "--model", "LitDCAL", "--model.init_args={pwca_share: 0.25}"])[-1]
    assert yaml.safe_load(flag.removeprefix("--model.init_args=")) == {"pwca": {"share": 0.25}}
    assert renamed_arguments(["fit", "--model", "LitDCAL", "--model.glca=null"])[-1] == "--model.glca.enabled=false"


def test_renaming_changes_nothing_else(tmp_path):
    (tmp_path / "here.json").write_text("{}")
    model = {"class_path": FULL, "init_args": {"glca_ratio": 0.1, "backbone_args": {"name": "5"}}}
    data = {"class_path": "TADData", "init_args": {"annotations": "here.json"}}
    write(tmp_path, old={"model": model, "data": data})
    (first,) = renamed_arguments(["fit", f"--config={tmp_path / 'old.yaml'}"])[1:]
    found = yaml.safe_load(first.removeprefix("--config="))
    assert found["data"] == data, "relative to the data's folder, not to the file's"
    assert "'5'" in first, "text stays text"


def test_what_is_no_record_is_one_line():
    with pytest.raises(ConfigError, match="retrieval=3: give its settings by name"):
        LitDCAL(3, retrieval=3, task="fgvc", **NETWORK)
