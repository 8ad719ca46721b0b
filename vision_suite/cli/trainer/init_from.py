"""``--init_from``: training that starts from the weights of a file."""

from __future__ import annotations

from argparse import SUPPRESS
from collections.abc import Mapping

from jsonargparse import Namespace
from pytorch_lightning.cli import LightningArgumentParser

from vision_suite.errors import ConfigError
from vision_suite.lit_modules.base import LitBase

KEY = "init_from"
FLAG = f"--{KEY}"
HELP = (
    "File of weights to start training from: a checkpoint of this suite, a state dict, or a file of timm or TransReID. "
    "A run that is resumed with --ckpt_path does not read it again."
)


def add_argument(parser: LightningArgumentParser, command: str) -> None:
    """Add the option to ``fit``, and to the other commands, which take the configuration that ``fit`` saved."""
    parser.add_argument(FLAG, type=str | None, default=None, help=HELP if command == "fit" else SUPPRESS)


def check(section: Namespace, command: str, given: Mapping[str, str], model: type[LitBase] | None = None) -> None:
    """Refuse the flag where it would have no effect.

    Args:
        section: Configuration of the command.
        command: The command.
        given: Flag or file that gives each setting.
        model: Class of the model, which may be evaluated as it starts.

    Raises:
        ConfigError: Another command than ``fit``, a checkpoint to resume from beside it, or no file.
    """
    if section.get(KEY) is not None and not section[KEY].strip() and command == "fit":
        raise ConfigError(f"{KEY} is empty (given in {given.get(KEY, FLAG)}): name a file of weights, or leave it out")
    if given.get(KEY) != FLAG or section.get(KEY) is None:
        return
    if command != "fit" and not (model is not None and model.evaluated_at_start):
        raise ConfigError(f"{FLAG} starts training: give {command} the trained weights with --ckpt_path")
    # A run that SLURM starts again has a checkpoint that nobody gave.
    if section.get("ckpt_path") and "ckpt_path" in given:
        where = "" if given["ckpt_path"] == "--ckpt_path" else f" (from {given['ckpt_path']})"
        raise ConfigError(
            f"{FLAG} {section[KEY]} and --ckpt_path {section.ckpt_path}{where}: the first starts a run from "
            "weights, the second goes on with a run: give one of them"
        )


def start(model: LitBase, section: Namespace, given: Mapping[str, str]) -> str | None:
    """Start from the weights of the file, unless a checkpoint brings the run's own.

    Args:
        model: Module that will be trained.
        section: Configuration of ``fit``.
        given: Flag or file that gives each setting.

    Returns:
        A line on what was taken, or that a flag was not followed; None if there is nothing to tell.

    Raises:
        CheckpointError: The file cannot be read, or nothing in it fits.
    """
    if section.get(KEY) is None:
        return None
    if section.get("ckpt_path"):
        skipped = f"{KEY} {section[KEY]}: not read, the run goes on from {section.ckpt_path}"
        return skipped if given.get(KEY) == FLAG else None
    return model.start_from(section[KEY]).line
