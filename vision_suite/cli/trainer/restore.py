"""Settings of a checkpoint on their way into the configuration: they are checked, then written as a configuration."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from vision_suite import __version__
from vision_suite.cli.trainer.checkpoint import Saved
from vision_suite.cli.trainer.classes import present_path
from vision_suite.cli.trainer.vocabulary import class_settings, find_class
from vision_suite.errors import CheckpointError
from vision_suite.lit_modules.base import LitBase


def check_fits(saved: Saved, class_path: str) -> None:
    """Refuse a checkpoint of another class, or with settings that the class does not have.

    Args:
        saved: Model section of the checkpoint.
        class_path: Class of the configured model.

    Raises:
        CheckpointError: The checkpoint does not fit.
    """
    model = find_class(class_path, LitBase)
    if saved.class_path is not None and not same_class(saved.class_path, class_path):
        raise CheckpointError(
            f"{saved.path} was saved by {saved.class_path}, but the model is {class_path}: "
            "choose the configuration of that run, or another checkpoint"
        )
    known = {name.split(".", 1)[0] for name in class_settings(model)} if model is not None else set(saved.settings)
    unknown = [name for name in saved.settings if name not in known]
    if unknown:
        raise CheckpointError(
            f"{saved.path} holds the setting '{unknown[0]}', which {class_path} of vision-suite {__version__} does "
            "not have: use the version named in the run.json of its run"
        )


def same_class(first: str, second: str) -> bool:
    """True if two class paths mean one class: a class can have several paths, and modules move between versions.

    Only a class of the same name and package is imported, never any class that a checkpoint happens to name.
    """
    first, second = present_path(first), present_path(second)
    if first == second:
        return True
    if first.split(".")[0] != second.split(".")[0] or first.split(".")[-1] != second.split(".")[-1]:
        return False
    found = find_class(first, LitBase)
    return found is not None and found is find_class(second, LitBase)


def inline(config: dict[str, Any], path: Path) -> str:
    """A configuration as text for ``-c``.

    Args:
        config: Configuration in plain containers.
        path: Checkpoint that it comes from, for the message.

    Raises:
        CheckpointError: The checkpoint holds a setting that is no plain value.
    """
    try:
        return yaml.safe_dump(config, default_flow_style=True, width=sys.maxsize).strip()
    except yaml.representer.RepresenterError as error:
        raise CheckpointError(f"{path} holds a setting that is not a plain value ({error}): save it again") from error


def differences(saved: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """One phrase for every setting in which checkpoint, configuration and flags do not agree.

    Args:
        saved: Settings of the checkpoint by dotted name.
        before: Settings of files and flags alone.
        after: Settings that the command uses.
    """
    phrases = []
    for key, value in after.items():
        name = key.partition(".")[2]
        if key in saved and not same(saved[key], value):
            phrases.append(f"{name}={value} from your flag, {saved[key]} in the checkpoint")
        elif key in saved and key.startswith("data.") and before.get(key) is None:
            continue  # unset: the data set decides
        elif key in saved and not same(before.get(key), value):
            phrases.append(f"{name}={value} from the checkpoint, {before.get(key)} in the configuration")
    return phrases


def same(first: object, second: object) -> bool:
    """True for equal values; a tuple equals a list, as files hold one for the other."""
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))
    return first == second or (first != first and second != second)


def flat(section: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of a section by dotted name, without the words that only spell a class."""
    leaves: dict[str, Any] = {}
    for name, value in settings.items():
        key = section if name == "init_args" else f"{section}.{name}"
        leaves |= flat(key, value) if isinstance(value, Mapping) and value else {key: value}
    return leaves
