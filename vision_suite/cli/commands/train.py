"""``fit``, ``validate``, ``test`` and ``predict``: prepare the arguments, run Lightning, report mistakes in a line."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence

from vision_suite.callbacks.csv_log import LogKeeper
from vision_suite.callbacks.finite_loss import FiniteLoss
from vision_suite.callbacks.predict.base import AutoWriter
from vision_suite.callbacks.report.writer import ReportWriter
from vision_suite.cli.trainer import arguments
from vision_suite.cli.trainer.classes import check_modules, import_everything, import_named
from vision_suite.cli.trainer.lines import say, warn
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
        return SuiteCLI(start, argv, [ReportWriter(), AutoWriter(), FiniteLoss(), LogKeeper()])
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
    """Hide messages that the user can do nothing about."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(_is_no_advertisement)
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")  # Lightning's own use of torch
    if command != "fit":
        # Callbacks of training have nothing to restore when evaluating.
        warnings.filterwarnings("ignore", message=".*callbacks used to create the checkpoint need to be provided.*")


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    """True for Lightning's notes on the run, False for its tips to install further products."""
    return "Tip:" not in str(record.msg)
