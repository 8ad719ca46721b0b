"""Command of a trial: the macros that ``wandb agent`` expands, expanded alike without it."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vision_suite.errors import ConfigError
from vision_suite.hints import did_you_mean

DEFAULT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")
ARGS = (
    "args",
    "args_no_equals",
    "args_no_hyphens",
    "args_no_boolean_flags",
    "args_json",
    "args_json_file",
    "args_append_hydra",
    "args_override_hydra",
)
MACROS = ("env", "interpreter", "program", *ARGS)
MACRO = re.compile(r"\$\{([^}]*)\}")
VARIABLE = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")
SUITE = "vision-suite"
ENV = "/usr/bin/env"


def check_macros(command: Sequence[str], program: str | None) -> None:
    """Refuse macros that are unknown, that stand inside a word, or that have no value, and a command without arguments.

    Args:
        command: Words of the command.
        program: Value of ``program`` in the file.

    Raises:
        ConfigError: The word, and what to write.
    """
    for word in command:
        for name in MACRO.findall(VARIABLE.sub("", word)):
            if name.startswith("envvar:"):
                raise ConfigError(f"command: '{word}': names of variables have capitals, digits and '_' only")
            if name not in MACROS:
                hint = did_you_mean(name, MACROS) or f": choose one of {', '.join(MACROS)} and envvar:NAME"
                raise ConfigError(f"command: unknown macro '${{{name}}}'{hint}")
            if word != f"${{{name}}}":
                raise ConfigError(f"command: '{word}': a macro is a word of its own, so write '${{{name}}}' apart")
    if "${program}" in command and program is None:
        raise ConfigError("command holds ${program}, and no program is given: add 'program: train.py'")
    if not any(f"${{{name}}}" in command for name in ARGS):
        raise ConfigError("command gives no parameter to the program: add '${args}' to its words")


def check_program(command: Sequence[str], program: str | None) -> None:
    """Refuse a command that cannot be started.

    Args:
        command: Words of the command, with its macros.
        program: Value of ``program`` in the file.

    Raises:
        ConfigError: The first word is no program, or a variable of the environment is not set.
    """
    for name in (name for word in command for name in VARIABLE.findall(word)):
        if name not in os.environ:
            raise ConfigError(f"command: the variable {name} of ${{envvar:{name}}} is not set")
    words = [program or "" if word == "${program}" else word for word in command if word != "${env}"]
    if not words or words[0].startswith("-") or (MACRO.fullmatch(words[0]) and words[0] != "${interpreter}"):
        raise ConfigError(f"command={list(command)} names no program: begin with ${{interpreter}} and a program")
    if words[0] == "${interpreter}":
        if len(words) == 1 or words[1] in [f"${{{name}}}" for name in MACROS]:
            raise ConfigError(f"command={list(command)} names no program: write one behind ${{interpreter}}")
        if words[1] == SUITE:
            raise ConfigError(
                f"{SUITE} is a program of its own, no file of Python: leave ${{interpreter}} out of command"
            )
        if words[1].endswith(".py") and not Path(words[1]).is_file():
            raise ConfigError(f"{words[1]}: no such file: name the program relative to {os.getcwd()}")
        return
    if words[0] == SUITE:
        return
    if words[0].endswith(".py") and not os.access(words[0], os.X_OK):
        raise ConfigError(f"command runs {words[0]} without an interpreter: write ${{interpreter}} before it")
    if shutil.which(words[0]) is None:
        raise ConfigError(f"command: no program '{words[0]}'{did_you_mean(words[0], (SUITE, 'python', 'bash'))}")


def expand(
    command: Sequence[str],
    args: Mapping[str, Any],
    *,
    program: str | None = None,
    interpreter: str = sys.executable,
    json_file: Path | str = "args.json",
) -> list[str]:
    """The words of a trial's command.

    Args:
        command: Words with macros, checked by `check_macros`.
        args: Arguments of the trial by name.
        program: Value of ``${program}``.
        interpreter: Value of ``${interpreter}``.
        json_file: Value of ``${args_json_file}``; the file is not written here.
    """
    pairs = [f"{name}={value}" for name, value in args.items()]
    words = {
        "env": [ENV],
        "interpreter": [interpreter],
        "program": [program or ""],
        "args": [f"--{pair}" for pair in pairs],
        "args_no_hyphens": pairs,
        "args_no_equals": [word for name, value in args.items() for word in (f"--{name}", str(value))],
        "args_no_boolean_flags": [
            f"--{name}" if value is True else f"--{name}={value}" for name, value in args.items() if value is not False
        ],
        "args_json": [json.dumps(dict(args))],
        "args_json_file": [str(json_file)],
        "args_append_hydra": [f"+{pair}" for pair in pairs],
        "args_override_hydra": [f"++{pair}" for pair in pairs],
    }
    found: list[str] = []
    for raw in command:
        word = VARIABLE.sub(lambda match: os.environ.get(match[1], match[1]), raw)
        macro = MACRO.fullmatch(word)
        found += [word] if macro is None else words[macro[1]]
    return found


def here(words: Sequence[str]) -> list[str]:
    """The command with ``vision-suite`` as the one that is running, whatever the search path has."""
    bare = list(words[1:] if words and words[0] == ENV else words)
    return [sys.executable, "-m", "vision_suite", *bare[1:]] if bare and bare[0] == SUITE else list(words)


def trainer_options(words: Sequence[str]) -> list[str] | None:
    """The options of ``vision-suite fit`` where a command is one, None for another program."""
    for index, word in enumerate(words[:-1]):
        suite = Path(word).name == SUITE or (word == "vision_suite" and words[index - 1] == "-m")
        if suite and words[index + 1] == "fit":
            return list(words[index + 2 :])
    return None
