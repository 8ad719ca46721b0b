"""Command ``vision-suite``: light dispatch, and the one function that turns errors into a line.

Nothing heavy is imported before a command needs it: ``--help``, ``--version``, ``configs`` and ``data list`` load
neither torch nor Lightning.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from vision_suite import __version__
from vision_suite.cli.hints import did_you_mean
from vision_suite.errors import ConfigError, SuiteError

TRAINER_COMMANDS = {
    "fit": "train a model",
    "validate": "evaluate on the validation split",
    "test": "evaluate on the test split and write tables and pictures",
    "predict": "features and rank lists of your own pictures, actions in your own videos",
}
OTHER_COMMANDS = {
    "configs": "list the named configurations",
    "data": "list, prepare or verify data sets",
    "features": "turn video files, or sequences, into features with their times",
    "export": "write a checkpoint as torch.export or ONNX and compare the outputs",
    "doctor": "check this machine: versions, compiler, GPU, optional packages, data cache",
    "demo": "prepare data, train, test and predict on real pictures in a few minutes",
}
USER_ERROR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Args:
        argv: Arguments after the program's name; those of the process if None.

    Returns:
        0 for success, 1 for a check that failed, 2 for a mistake of the user (one line on stderr; set
        ``VISION_SUITE_DEBUG=1`` for the traceback).
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except SuiteError as error:
        if os.environ.get("VISION_SUITE_DEBUG", "0") not in ("", "0"):
            raise
        print(f"vision-suite: error: {' '.join(str(error).split())}", file=sys.stderr)
        return USER_ERROR


def _dispatch(arguments: list[str]) -> int:
    """Import the module of the command and call its ``main``."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    command, rest = arguments[0], arguments[1:]
    if command in ("--version", "-V"):
        print(f"vision-suite {__version__}")
        return 0
    if command in TRAINER_COMMANDS:
        module, rest = "train", arguments
    elif command in OTHER_COMMANDS:
        module = command
    else:
        names = [*TRAINER_COMMANDS, *OTHER_COMMANDS]
        raise ConfigError(
            f"unknown command '{command}'{did_you_mean(command, names)} ('vision-suite --help' lists all)"
        )
    try:
        commands = importlib.import_module(f"vision_suite.cli.commands.{module}")
    except (ImportError, RuntimeError) as error:  # torchvision of another build than torch raises RuntimeError
        raise SuiteError(f"'{command}' cannot start ({error}): 'vision-suite doctor' tells the remedy") from error
    status: int = commands.main(rest)
    return status


def _help() -> str:
    """The text of ``vision-suite --help``."""
    rows = [f"  {name:<10}{text}" for name, text in {**TRAINER_COMMANDS, **OTHER_COMMANDS}.items()]
    return "\n".join(
        [
            "usage: vision-suite COMMAND [options]",
            "",
            "commands:",
            *rows,
            "",
            "options:",
            "  --version   print the version",
            "  --help      print this text; 'vision-suite COMMAND --help' explains a command",
            "",
            "first steps:",
            "  vision-suite demo",
            "  vision-suite configs",
            "  vision-suite fit -c dcal/emoji_reid",
        ]
    )
