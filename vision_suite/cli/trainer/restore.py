"""Settings of a checkpoint on their way into the configuration: they are checked, then written as a configuration."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from vision_suite import __version__
from vision_suite.cli.trainer.checkpoint import Saved
from vision_suite.cli.trainer.classes import present_path
from vision_suite.cli.trainer.vocabulary import class_settings, find_class
from vision_suite.datasets.facts import same
from vision_suite.errors import CheckpointError, ConfigError
from vision_suite.lit_modules.base import LitBase

RECORDED = {"structure"}  # what a checkpoint knows of files; no user's setting


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


def refuse_other_fact(name: str, value: object, saved: Saved, given: Mapping[str, str]) -> None:
    """Refuse a setting of the data that the trained network was built for with another value.

    Args:
        name: Name of the setting, which is a fact that the model takes.
        value: Its value.
        saved: Model section of the checkpoint.
        given: Flag or file that gives each setting.

    Raises:
        ConfigError: The network has another one.
    """
    built = saved.settings.get(name, value)
    if not same(built, value):
        source = given.get(f"data.{name}")
        where = "" if source is None else f" (given in {source})"
        raise ConfigError(
            f"data.{name}={value}{where}, but the network of {saved.path} was trained with {name}={built}: "
            f"use --data.{name}={built}"
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


def differences(
    saved: Mapping[str, Mapping[str, Any]],
    before: Mapping[str, Mapping[str, Any]],
    after: Mapping[str, Mapping[str, Any]],
    given: Collection[str],
) -> list[str]:
    """One phrase for every setting in which checkpoint, configuration and flags do not agree.

    Records are compared setting by setting, or as a whole where one side has none.

    Args:
        saved: Settings of the checkpoint by section.
        before: Settings of files and flags alone, in the same form.
        after: Settings that the command uses.
        given: Dotted keys that the user's files and flags give. Settings of the data that are unset, and those of a
            record of which only others are given, are not compared: the data set decides them.
    """
    keys = [(section, name) for section, settings in saved.items() for name in settings if name in after[section]]
    return [
        phrase
        for section, name in keys
        for phrase in _unlike(
            f"{section}.{name}", saved[section][name], before[section].get(name), after[section][name], given
        )
    ]


def _unlike(key: str, saved: Any, before: Any, after: Any, given: Collection[str]) -> Iterator[str]:
    """Phrases for a record or one setting.

    Args:
        key: Dotted name, which begins with that of the section.
        saved: Value of the checkpoint.
        before: Value of files and flags alone.
        after: Value that the command uses.
        given: Dotted keys that the user's files and flags give.
    """
    name = key.partition(".")[2]
    before, after = (asdict(each) if is_dataclass(each) and not isinstance(each, type) else each
                     for each in (before, after))  # fmt: skip
    if isinstance(saved, Mapping) and isinstance(after, Mapping) and saved and saved.keys() <= after.keys():
        inner = before if isinstance(before, Mapping) else None
        for each in (name for name in saved if name not in RECORDED):
            # A record that the configuration lacks is told as a whole.
            other = after[each] if inner is None else inner.get(each)
            yield from _unlike(key if each == "init_args" else f"{key}.{each}", saved[each], other, after[each], given)
        if inner is not None:
            return
    elif not same(saved, after):
        yield f"{name}={_told(after)} from your flag, {_told(saved)} in the checkpoint"
        return
    if same(before, after):
        return
    if key in given or not key.startswith("data."):
        yield f"{name}={_told(after)} from the checkpoint, {_told(before)} in the configuration"
    elif "." not in name and before is not None:
        yield f"{name}={_told(after)} from the checkpoint, {_told(before)} by default"


def _told(value: Any) -> Any:
    """A value in a line, where an empty text is to be seen."""
    return "''" if value == "" else _shown(value)


def _shown(value: Any) -> Any:
    """A value as files hold it: lists for tuples."""
    if isinstance(value, Mapping):
        return {name: _shown(each) for name, each in value.items()}
    return [_shown(each) for each in value] if isinstance(value, list | tuple) else value
