"""Command ``vision-suite``: light dispatch inside the net that turns every end into a line and a status.

Nothing heavy is imported before a command needs it: ``--help``, ``--version``, ``configs`` and ``data list`` load
neither torch nor Lightning.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from vision_suite import __version__
from vision_suite.cli.ends import run as run_to_the_end
from vision_suite.errors import ConfigError, SuiteError
from vision_suite.faults import DONE
from vision_suite.hints import did_you_mean

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
    "bootstrap": "mine preference pairs of a model's own sentences, derive them again, export them",
    "chat": "talk with a language model that reads pictures",
    "export": "write a checkpoint as torch.export or ONNX and compare the outputs",
    "report": "write one HTML page on runs: results, settings that differ, curves, pictures",
    "sweep": "check, run, resume or report a hyper-parameter search, without a server",
    "hub": "checkpoints with checksums: list, show, push, pull, verify, index",
    "doctor": "check this machine: versions, compiler, GPU, optional packages, data cache",
    "demo": "prepare data, train, test and predict on real pictures in about ten minutes",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Args:
        argv: Arguments after the program's name; those of the process if None.

    Returns:
        0 for success, 1 for a check that failed, 2 for a mistake of the user, 70 for an error that nobody foresaw
        (its traceback is in a log file), 128 and its number for a signal. All but the first two end with one line on
        stderr; set ``VISION_SUITE_DEBUG=1`` for the traceback.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_to_the_end(lambda: _dispatch(arguments), program=argv is None)


def _dispatch(arguments: list[str]) -> int:
    """Import the module of the command and call its ``main``."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return DONE
    command, rest = arguments[0], arguments[1:]
    if command in ("--version", "-V"):
        print(f"vision-suite {__version__}")
        return DONE
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
