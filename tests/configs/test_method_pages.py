"""Commands in the method and data pages parse, files they name exist, and the table of decisions is complete."""

import functools
import inspect
import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import yaml

from vision_suite.cli import TRAINER_COMMANDS, main
from vision_suite.cli.configs import named_configs
from vision_suite.models.dcal import DCAL

DOCS = Path(__file__).resolve().parents[2] / "docs"
# Every page on a method or on data; the code of add-a-method.md is run by a test of its own.
PAGES = {
    path.name: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md")) if path.stem != "add-a-method"
}
SHELL = re.compile(r"```bash\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CODE = "".join(code for text in PAGES.values() for code in SHELL.findall(text))
LINES = [re.sub(r"\s+#.*", "", line).strip() for line in CODE.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("vision-suite ") and line.split()[1] in TRAINER_COMMANDS]


def test_every_command_is_ours():
    assert all(line.startswith("vision-suite ") for line in LINES)
    assert len(COMMANDS) > 15


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_parses(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # `last` is that of the runs here
    argv = shlex.split(command)[1:]
    with pytest.raises(SystemExit) as leave:
        main([*argv, "--print_config"])
    assert not leave.value.code
    printed = yaml.safe_load(capsys.readouterr().out)
    flags = dict(pairwise(argv))
    for flag in ("--data.dataset", "--data.root", "--data.validation", "--model.glca.readout", "--model.patch_stride"):
        if flag in flags:
            section, *names = flag[2:].split(".")
            found = functools.reduce(lambda record, name: record[name], names, printed[section]["init_args"])
            assert found == yaml.safe_load(flags[flag])


def test_all_fourteen_decisions_are_settings_with_their_defaults():
    rows = re.findall(r"^\| D(\d+) \|[^|]*\| `(\w+\.\w+)` \|([^|]*)\|", PAGES["dcal.md"], re.MULTILINE)
    assert [int(number) for number, _, _ in rows] == list(range(1, 15))
    records = {name: argument.default for name, argument in inspect.signature(DCAL).parameters.items()}
    for _, name, choices in rows:
        bold = re.search(r"\*\*`?([^*`]+)`?\*\*", choices)
        assert bold, name
        section, field = name.split(".")
        assert yaml.safe_load(bold[1]) == getattr(records[section], field), name
        named = set(re.findall(r"`([^`*]+)`", choices)) - {"true", "false"}
        if named:
            assert named == set(get_args(get_type_hints(type(records[section]))[field])), name


def test_the_recipes_named_exist():
    methods = {name.partition("/")[0] for name in named_configs()}
    for method in methods:
        for name in re.findall(rf"[` ]{method}/(\w+)[` \n]", "".join(PAGES.values())):
            assert f"{method}/{name}" in named_configs(), name


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", PAGES[page]):
        if not target.startswith("http"):
            assert (DOCS / target).exists(), target
