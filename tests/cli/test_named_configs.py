from pathlib import Path

import pytest

from vision_suite.cli import main
from vision_suite.cli.configs import description, experiment_of, named_configs, resolve, resolve_part
from vision_suite.errors import ConfigError


@pytest.fixture
def configs(tmp_path, monkeypatch):
    """A configs folder of our own with two named configurations and one part."""
    folder = tmp_path / "configs"
    for name, text in {
        "dcal/emoji_reid.yaml": "# Emoji-ReID on a CPU.\nmodel: x\n",
        "dcal/market1501_deit_s.yaml": "# Market-1501, DeiT-S.\n",
        "_base/trainer/cpu.yaml": "# One CPU.\naccelerator: cpu\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setattr("vision_suite.cli.configs.configs_folder", lambda: folder)
    return folder


def test_a_name_becomes_the_packaged_file(configs, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert resolve("dcal/emoji_reid") == str(configs / "dcal/emoji_reid.yaml")
    assert resolve("configs/dcal/emoji_reid.yaml") == str(configs / "dcal/emoji_reid.yaml")


def test_an_existing_file_wins_over_a_name(configs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dcal").mkdir()
    (tmp_path / "dcal/emoji_reid").write_text("model: mine\n")
    assert resolve("dcal/emoji_reid") == "dcal/emoji_reid"


def test_an_unknown_name_brings_the_nearest(configs):
    with pytest.raises(ConfigError, match=r"emoji_rid.*'dcal/emoji_reid'"):
        resolve("emoji_rid")


def test_parts_are_not_named_configurations(configs):
    assert list(named_configs()) == ["dcal/emoji_reid", "dcal/market1501_deit_s"]
    assert description(named_configs()["dcal/emoji_reid"]) == "Emoji-ReID on a CPU."


def test_a_part_resolves_in_its_section_only(configs):
    assert resolve_part("trainer", "cpu") == str(configs / "_base/trainer/cpu.yaml")
    assert resolve_part("model", "cpu") == "cpu"
    assert resolve_part("logger", "../trainer/cpu") == "../trainer/cpu"
    assert resolve_part("trainer", "{accelerator: cpu}") == "{accelerator: cpu}"
    with pytest.raises(ConfigError, match=r"no part of that name: did you mean 'cpu'\?"):
        resolve_part("trainer", "cpus")


def test_runs_are_kept_under_the_name_of_their_configuration(configs, tmp_path):
    packaged = experiment_of([str(configs / "dcal/emoji_reid.yaml")], [])
    assert (packaged.name, packaged.folder) == ("dcal/emoji_reid", "dcal/emoji_reid")
    own = experiment_of([str(tmp_path / "mine.yaml")], [])
    assert (own.name, own.folder) == (str(tmp_path.resolve() / "mine.yaml"), "mine")
    first, second = (experiment_of([f'{{"model": "{name}"}}'], []) for name in "xy")
    assert first.folder == second.folder == experiment_of([], []).name == "unnamed"
    assert first.name != second.name


def test_the_contents_of_every_file_count(tmp_path):
    files = [str(tmp_path / name) for name in ("a.yaml", "part.yaml")]
    for file in files:
        Path(file).write_text(file)
    first = experiment_of(files[:1], files)
    assert first == experiment_of(files[:1], files)
    Path(files[1]).write_text("changed")
    assert first.name == experiment_of(files[:1], files).name
    assert first.digest != experiment_of(files[:1], files).digest


def test_configs_lists_a_line_each(configs, capsys):
    assert main(["configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["dcal/emoji_reid", "Emoji-ReID", "on", "a", "CPU."],
        ["dcal/market1501_deit_s", "Market-1501,", "DeiT-S."],
    ]


def test_every_packaged_configuration_says_what_it_is():
    for name, path in named_configs().items():
        assert description(path), f"{name}: the file must begin with a comment that says what it is"
