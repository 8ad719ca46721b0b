"""The names that a parser knows, for hints: flags, classes that fit a key, settings of a class."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator

from jsonargparse import ArgumentParser, Namespace
from pytorch_lightning import Callback
from pytorch_lightning.loggers import Logger

from vision_suite.datasets.base import BaseData
from vision_suite.lit_modules.base import LitBase

BASES: dict[str, type] = {
    "model": LitBase,
    "data": BaseData,
    "trainer.logger": Logger,
    "trainer.callbacks": Callback,
}


class ParserNames:
    """Names to suggest in messages about one command.

    Args:
        parser: The parser of the command.
    """

    def __init__(self, parser: ArgumentParser) -> None:
        self._parser = parser

    def flags(self) -> list[str]:
        """Every dotted key of the command, such as ``trainer.max_epochs``."""
        return flat_keys(self._parser.get_defaults(skip_validation=True))

    def classes(self, key: str) -> list[str]:
        """Names of the classes that fit a key; none for a key that takes no class."""
        return sorted({found.__name__ for found in _subclasses(BASES[key])}) if key in BASES else []

    def settings(self, class_path: str) -> list[str]:
        """The settings of a class, dotted where nested."""
        return class_settings(class_path)


def class_settings(class_path: str) -> list[str]:
    """The settings of a class, dotted where nested, inherited ones included."""
    module, name = class_path.rsplit(".", 1)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(getattr(importlib.import_module(module), name), "it", fail_untyped=False)
    return [key.removeprefix("it.") for key in flat_keys(parser.get_defaults(skip_validation=True))]


def flat_keys(section: Namespace) -> list[str]:
    """The dotted keys of a section's leaves, without the words that only spell a class."""
    return [key.replace(".init_args", "") for key in vars(section.as_flat()) if not key.endswith("class_path")]


def _subclasses(base: type) -> Iterator[type]:
    """Concrete public classes below a base class that have been imported."""
    below: list[type] = base.__subclasses__()
    for found in below:
        if not inspect.isabstract(found) and not found.__name__.startswith("_"):
            yield found
        yield from _subclasses(found)
