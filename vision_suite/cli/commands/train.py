"""``fit``, ``validate``, ``test`` and ``predict``: prepare the arguments, run Lightning, report mistakes in a line."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Sequence

from vision_suite.callbacks.csv_log import LogKeeper
from vision_suite.callbacks.finite_loss import FiniteLoss
from vision_suite.callbacks.predict.base import AutoWriter
from vision_suite.callbacks.progress import RunLines
from vision_suite.callbacks.report.writer import ReportWriter
from vision_suite.cli.trainer import arguments
from vision_suite.cli.trainer.classes import check_modules, import_everything, import_named
from vision_suite.cli.trainer.lines import plain_warnings, say, warn
from vision_suite.cli.trainer.plugins import import_plugins
from vision_suite.cli.trainer.processes import join
from vision_suite.cli.trainer.progress import NothingLeft
from vision_suite.cli.trainer.resume import prepare
from vision_suite.cli.trainer.slurm import requeue
from vision_suite.cli.trainer.suite_cli import SuiteCLI
from vision_suite.cli.trainer.tasks import of_other_task
from vision_suite.cli.trainer.vocabulary import BASES
from vision_suite.errors import Stopped
from vision_suite.faults import of_library

# Parts of Lightning's notes.
SMALL_TALK = (
    "Tip:",
    "Seed set to",
    "GPU available: False",
    "TPU available: False",
    "to estimate number of stepping batches",
    "Automatic Mixed Precision",
    "Restoring states from the checkpoint",
    "Loaded model weights from",
    "Restored all states from the checkpoint",
    "`Trainer.fit` stopped:",
)
# Parts of warnings.
NOISE = (
    "isinstance(treespec, LeafSpec)",  # Lightning's own use of torch
    "is smaller than the logging interval",  # every epoch is logged
    "exists and is not empty",  # a run that goes on in its own folder
    "The dirpath has changed from",  # a run that goes on in another folder
    "across ranks is zero",  # a training without validation
    "module(s) in eval mode at the start of training",  # frozen parts stay as in evaluation on purpose
)


def main(argv: Sequence[str]) -> int:
    """Run a trainer command and return 0; see `run`."""
    try:
        join(run(argv).trainer)
    except NothingLeft as end:
        say(str(end))
    return 0


def run(argv: Sequence[str]) -> SuiteCLI:
    """Run a trainer command and return the object that holds its trainer, model and data.

    Args:
        argv: Command, then its options.

    Raises:
        SuiteError: A mistake that the user can correct, in one line.
        NothingLeft: The run that would be continued has come to its end.
    """
    import_plugins()
    start = prepare(arguments.resolve_names(argv))
    resolved = start.argv
    if arguments.asks_for_help(resolved):
        import_everything()
    else:
        given = list(arguments.settings(resolved))
        import_named(setting.value for setting in given if isinstance(setting.value, str))
        check_modules(each.value for each in given if each.key in BASES or each.key.endswith(".class_path"))
    _warn_of_early_flags(resolved)
    _calm(argv[0])
    try:
        return SuiteCLI(start, argv, [RunLines(), ReportWriter(), AutoWriter(), FiniteLoss(), LogKeeper()])
    except Stopped as stopped:
        if argv[0] == "fit":
            requeue(stopped)
        raise
    except Exception as error:
        known = of_library(error) or of_other_task(error)
        if known is None:
            raise
        raise known from error


def _warn_of_early_flags(argv: Sequence[str]) -> None:
    """Warn of flags that a later file overrides."""
    early = [flag for flag in arguments.flags_before_config(argv) if flag not in ("--help", "-h")]
    if early:
        names = ", ".join(early)
        warn(f"{names} before -c: where the file sets the same value, the file wins; put flags after -c")


def _calm(command: str) -> None:
    """Hide messages that the user can do nothing about, or that the suite's own lines tell."""
    for name in ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.seed"):
        logging.getLogger(name).addFilter(_is_worth_telling)
    plain_warnings()
    hidden = [*NOISE]
    if command != "fit":
        # Callbacks of training have nothing to restore when evaluating.
        hidden.append("callbacks used to create the checkpoint need to be provided")
    for text in hidden:
        warnings.filterwarnings("ignore", message=f".*{re.escape(text)}")


def _is_worth_telling(record: logging.LogRecord) -> bool:
    """True for Lightning's notes on the run, False for its tips and for what every run has."""
    return not any(text in str(record.msg) for text in SMALL_TALK)
