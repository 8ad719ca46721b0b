"""Names that a parser knows: flags, classes that fit a key, settings of a class."""

from __future__ import annotations

import importlib
import inspect
from argparse import ArgumentError
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, TypeVar

from jsonargparse import ArgumentParser, Namespace
from pytorch_lightning import Callback
from pytorch_lightning.loggers import Logger

from vision_suite.cli.configs import part_names
from vision_suite.cli.trainer import classes
from vision_suite.cli.trainer.messages import explain
from vision_suite.datasets.base import BaseData
from vision_suite.errors import ConfigError
from vision_suite.lit_modules.base import LitBase

BASES: dict[str, type] = {
    "model": LitBase,
    "data": BaseData,
    "trainer.logger": Logger,
    "trainer.callbacks": Callback,
}
Base = TypeVar("Base")


class ParserNames:
    """Names to suggest in messages about one command.

    Args:
        parser: Parser of the command.
    """

    def __init__(self, parser: ArgumentParser) -> None:
        self._parser = parser

    def flags(self) -> list[str]:
        """Every dotted key of the command, such as ``trainer.max_epochs``."""
        return flat_keys(self._parser.get_defaults(skip_validation=True))

    def classes(self, key: str) -> list[str]:
        """Names of the classes that fit a key; none for a key that takes no class."""
        return class_names(BASES[key]) if key in BASES else []

    def parts(self, key: str) -> list[str]:
        """Names of the parts in ``configs/_base`` that a key takes."""
        return part_names(key.rpartition(".")[2]) if key in ("trainer", "model", "data", "trainer.logger") else []

    def settings(self, class_path: str) -> list[str]:
        """The settings of a class, dotted where nested."""
        module, name = class_path.rsplit(".", 1)
        return class_settings(getattr(importlib.import_module(module), name))


def class_names(base: type) -> list[str]:
    """Names of the concrete public classes below a base class: imported ones and those of the suite's own rooms."""
    below: list[type] = list(_subclasses(base))
    indexed = classes.names_below({base.__name__, *(found.__name__ for found in below)})
    return sorted({*indexed, *(found.__name__ for found in below if _public(found))})


def imported_classes(base: type[Base]) -> list[type[Base]]:
    """Concrete public classes below a base class that have been imported."""
    return [found for found in _subclasses(base) if _public(found)]


def find_class(name: str, base: type[Base]) -> type[Base] | None:
    """The class that a name or a class path means, None if there is none below the base class.

    Args:
        name: Name of an imported class, or the path of any class.
        base: Base class that it must have.

    Raises:
        ConfigError: The module of the path exists and cannot be imported.
    """
    if "." not in name:
        return next((found for found in _subclasses(base) if found.__name__ == name), None)
    if not all(part.isidentifier() for part in name.split(".")):
        return None
    module, _, attribute = classes.present_path(name).rpartition(".")
    found = getattr(classes.imported(module), attribute, None)  # the parser reports a missing one
    return found if isinstance(found, type) and issubclass(found, base) else None


def class_settings(owner: type) -> list[str]:
    """The settings of a class, dotted where nested, inherited ones included."""
    return list(class_defaults(owner))


@cache
def class_defaults(owner: type) -> dict[str, Any]:
    """Defaults of the settings of a class by name, dotted where nested, inherited ones included."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(owner, "it", fail_untyped=False)
    found = vars(parser.get_defaults(skip_validation=True).as_flat())
    return {
        key.replace(".init_args", "").removeprefix("it."): value
        for key, value in found.items()
        if not key.endswith("class_path")
    }


def check_types(owner: type, settings: Mapping[str, Any]) -> None:
    """Refuse settings of wrong types.

    Args:
        owner: Class that takes them.
        settings: Arguments of its constructor in plain containers; those that it does not have are passed over.

    Raises:
        ConfigError: One line names the setting, its value and what it must be.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(owner, "model", fail_untyped=False)
    known = {key.split(".")[0] for key in class_settings(owner)}
    try:
        parser.parse_object({"model": {name: value for name, value in settings.items() if name in known}})
    except ArgumentError as error:
        raise ConfigError(explain(str(error), ParserNames(parser)).removeprefix("--")) from error


def flat_keys(section: Namespace) -> list[str]:
    """The dotted keys of a section's leaves, without the words that only spell a class."""
    return [key.replace(".init_args", "") for key in vars(section.as_flat()) if not key.endswith("class_path")]


def _subclasses(base: type[Base]) -> Iterator[type[Base]]:
    """Every class below a base class that has been imported."""
    found: type[Base]
    for found in base.__subclasses__():
        yield found
        yield from _subclasses(found)


def _public(found: type) -> bool:
    # Lightning's classes are not of Python's kind that knows its abstract methods.
    left = any(getattr(inspect.getattr_static(found, name), "__isabstractmethod__", False) for name in dir(found))
    return not left and not found.__name__.startswith("_")
