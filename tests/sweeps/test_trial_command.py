"""Commands of trials: equal to those of W&B's own agent, and refused where they cannot start."""

import json
import sys

import pytest

from vision_suite.errors import ConfigError
from vision_suite.sweeps.command import MACROS, check_program, expand, here, trainer_options

ARGS = {"a.b": 0.1, "c": None, "d": True, "e": False, "f": [1, "x"], "g": {"name": "adam", "lr": 1e-5}, "h": "a b"}
COMMANDS = [
    ["${env}", "${interpreter}", "${program}", "${args}"],
    ["${env}", "vision-suite", "fit", "--config", "oat/grid", "${args}"],
    ["${program}", "${args_no_equals}", "${args_no_hyphens}"],
    ["x", "${args_no_boolean_flags}", "--end"],
    ["x", "${args_json}", "--config", "${args_json_file}"],
    ["x", "${args_append_hydra}", "${args_override_hydra}"],
    ["x", "--home=${envvar:SWEEP_HOME}/a/${envvar:SWEEP_HOME}", "${envvar:NOT_SET_ANYWHERE}", "${args}"],
]


def by_wandb(command, args, monkeypatch, folder):
    """The command that W&B's agent would start."""
    from wandb import wandb_agent

    started = []
    monkeypatch.chdir(folder)
    monkeypatch.setattr(wandb_agent, "AgentProcess", lambda **given: started.append(given["command"]) or FakeProcess())
    monkeypatch.setattr(wandb_agent.config_util, "save_config_file_from_dict", lambda *given: None)
    for name in ("WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):  # the agent sets them
        monkeypatch.setenv(name, "before")
    monkeypatch.setenv("WANDB_SWEEP_ID", "s")
    (folder / "wandb/sweep-s").mkdir(parents=True)
    agent = wandb_agent.Agent.__new__(wandb_agent.Agent)
    agent._sweep_command, agent._in_jupyter, agent._function = list(command), False, None
    agent._forward_signals, agent._run_processes = False, {}
    agent._command_run({"run_id": "r", "program": "train.py", "args": {name: {"value": v} for name, v in args.items()}})
    return started[0]


class FakeProcess:
    last_sigterm_time = None


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:3]))
def test_words_equal_those_of_wandb(command, monkeypatch, tmp_path):
    monkeypatch.setenv("SWEEP_HOME", "/h")
    monkeypatch.delenv("WANDB_DIR", raising=False)
    theirs = by_wandb(command, ARGS, monkeypatch, tmp_path)
    file = "wandb/sweep-s/config-r.json"
    assert expand(command, ARGS, program="train.py", interpreter="python", json_file=file) == theirs
    if "${args_json_file}" in command:
        assert json.loads((tmp_path / file).read_text()) == ARGS


def test_every_macro_is_compared():
    words = {word for command in COMMANDS for word in command}
    assert words >= {f"${{{name}}}" for name in MACROS}


def test_the_interpreter_is_the_running_one():
    assert expand(["${interpreter}"], {}) == [sys.executable]


def test_the_suite_is_the_running_one():
    assert here(["/usr/bin/env", "vision-suite", "fit"]) == [sys.executable, "-m", "vision_suite", "fit"]
    assert here(["bash", "vision-suite"]) == ["bash", "vision-suite"]


@pytest.mark.parametrize(("words", "options"), [
    (["/usr/bin/env", "vision-suite", "fit", "-c", "a"], ["-c", "a"]),
    (["python", "-m", "vision_suite", "fit"], []),
    (["python", "train.py", "fit"], None),
    (["vision-suite", "test", "-c", "a"], None),
])  # fmt: skip
def test_options_of_a_training(words, options):
    assert trainer_options(words) == options


@pytest.mark.parametrize(("command", "message"), [
    (["train.py", "${args}"], "without an interpreter"),
    (["${env}", "${program}", "${args}"], "without an interpreter"),
    (["${args}"], "names no program"),
    (["${env}", "--x"], "names no program"),
    (["${interpreter}", "vision-suite", "fit"], "leave ${interpreter} out"),
    (["${interpreter}", "absent.py"], "no such file"),
    (["${interpreter}", "${args}"], "write one behind ${interpreter}"),
    (["${env}", "${interpreter}"], "write one behind ${interpreter}"),
    (["vision-suit", "fit"], "no program 'vision-suit': did you mean 'vision-suite'"),
    (["vision-suite", "${envvar:NOT_SET_ANYWHERE}"], "is not set"),
])  # fmt: skip
def test_commands_that_cannot_start(command, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("")
    with pytest.raises(ConfigError) as caught:
        check_program(command, "train.py")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("command", [
    ["vision-suite", "fit"], ["${interpreter}", "train.py"], ["${env}", "bash", "-c"],
    ["${interpreter}", "-u", "${program}", "${args}"], ["${interpreter}", "${program}"],
])  # fmt: skip
def test_commands_that_can(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("")
    check_program(command, "train.py")
