import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_suite.cli.trainer import arguments


def test_flags_before_a_config_are_found():
    argv = ["fit", "--trainer.max_epochs", "77", "-c", "a.yaml", "--seed_everything=3", "--config=b.yaml", "--x", "y"]
    assert arguments.flags_before_config(argv) == ["--trainer.max_epochs", "--seed_everything"]
    assert arguments.config_files(argv) == ["a.yaml", "b.yaml"]


def test_a_negative_number_is_a_value():
    found = list(arguments.options(["fit", "--trainer.max_steps", "-1", "-c", "a.yaml", "--print_config"]))
    assert [(option.flag, option.value) for option in found] == [
        ("--trainer.max_steps", "-1"),
        ("-c", "a.yaml"),
        ("--print_config", None),
    ]


def test_a_config_is_inserted_behind_the_files_and_before_later_flags():
    argv = ["test", "--x=1", "-c", "a.yaml", "--y", "2"]
    assert arguments.insert_config(argv, "{}") == ["test", "--x=1", "-c", "a.yaml", "--config={}", "--y", "2"]
    assert arguments.insert_config(["test", "--y", "2"], "{}") == ["test", "--config={}", "--y", "2"]


def test_names_are_replaced_where_they_stand(tmp_path, monkeypatch):
    (tmp_path / "a.yaml").write_text("{}")
    monkeypatch.setattr(arguments, "resolve_part", lambda section, value: f"/parts/{section}/{value}.yaml")
    argv = ["fit", "-c", str(tmp_path / "a.yaml"), "--trainer=cpu", "--trainer.logger", "wandb", "--model.width", "cpu"]
    assert arguments.resolve_names(argv)[3:] == [
        "--trainer=/parts/trainer/cpu.yaml",
        "--trainer.logger",
        "/parts/logger/wandb.yaml",
        "--model.width",
        "cpu",
    ]


def given_settings(argv):
    return {setting.key: setting.source for setting in arguments.settings(argv)}


def test_given_settings_come_from_flags_files_and_files_within_files(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/model.yaml").write_text("class_path: LitToy\ninit_args: {width: 3, optim: {lr: 1}}\n")
    (tmp_path / "x.yaml").write_text("model: parts/model.yaml\ntrainer.max_epochs: 3\ndata: {class_path: D}\n")
    given = given_settings(
        ["fit", "-c", str(tmp_path / "x.yaml"), "--model.init_args.rate=2", '--data={"init_args": {"root": "here"}}']
    )
    assert given["model.width"] == given["model.optim.lr"] == str(tmp_path / "parts/model.yaml")
    assert given["trainer.max_epochs"] == str(tmp_path / "x.yaml")
    assert given["model.rate"] == "--model.init_args.rate"
    assert given["data.root"] == "--data"
    assert "model.readout" not in given


def test_settings_of_loggers_in_a_list_are_given(tmp_path):
    (tmp_path / "x.yaml").write_text("trainer: {logger: [{class_path: CSVLogger, init_args: {save_dir: here}}]}\n")
    assert "trainer.logger.save_dir" in given_settings(["fit", "-c", str(tmp_path / "x.yaml")])


words = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["--a", "--b.c"]), st.sampled_from(["1", "x", "-2"])),
        st.tuples(st.sampled_from(["--a=1", "--switch"])),
        st.tuples(st.sampled_from(["-c", "--config"]), st.sampled_from(["f.yaml", "{}"])),
    ),
    max_size=6,
)


@given(words)
def test_options_cover_the_list_without_gaps_or_overlaps(parts):
    argv = ["fit", *(word for part in parts for word in part)]
    found = list(arguments.options(argv))
    spans = [range(option.start, option.stop) for option in found]
    assert [position for span in spans for position in span] == list(range(1, len(argv)))


@given(words)
def test_an_inserted_config_is_the_last_config_and_moves_nothing(parts):
    argv = ["fit", *(word for part in parts for word in part)]
    longer = arguments.insert_config(argv, "{new}")
    assert arguments.config_files(longer)[-1] == "{new}"
    longer.remove("--config={new}")
    assert longer == argv


@pytest.mark.parametrize("argv", [[], ["fit"], ["fit", "-c"], ["fit", "word"]])
def test_short_lists_do_no_harm(argv):
    assert arguments.flags_before_config(argv) == []
    assert given_settings(argv) == {}
