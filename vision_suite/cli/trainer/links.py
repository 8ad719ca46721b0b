"""Facts that the model takes from the data: a fact is linked to the model's constructor argument of the same name.

A datamodule declares its facts on its class (`BaseData.facts`); no name of a fact stands in the command line's code.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pytorch_lightning.cli import _InstantiatorFn

from vision_suite.cli.trainer.arguments import Setting, class_named
from vision_suite.cli.trainer.checkpoint import Saved
from vision_suite.cli.trainer.memory import check_batches, check_network
from vision_suite.cli.trainer.vocabulary import class_settings, find_class, imported_classes
from vision_suite.datasets.base import BaseData
from vision_suite.errors import CheckpointError, ConfigError
from vision_suite.faults import explained
from vision_suite.lit_modules.base import LitBase

Value = TypeVar("Value")
LARGE = 100_000


class Links:
    """Links from the chosen datamodule to the chosen model.

    Until a class is chosen, as in a help text, every class that has been imported counts as chosen.

    Args:
        given: Settings of flags and files.

    Attributes:
        names: Facts of the data that are arguments of the model, in the order of their declaration.
        classes: The chosen classes of ``model`` and ``data``, None where none is chosen.
    """

    def __init__(self, given: Sequence[Setting]) -> None:
        model, data = class_named(given, "model"), class_named(given, "data")
        self._model = None if model is None else find_class(model, LitBase)
        chosen = None if data is None else find_class(data, BaseData)  # type: ignore[type-abstract]
        self.classes: dict[str, Any] = {"model": self._model, "data": chosen}
        sources = [chosen] if chosen is not None else imported_classes(BaseData)  # type: ignore[type-abstract]
        facts = dict.fromkeys(name for source in sources for name in source.declared_facts())
        taken = facts if self._model is None else class_settings(self._model)
        self.names = [name for name in facts if name in taken]

    def value(self, name: str, from_data: Value, saved: Saved | None, training: bool) -> Value:
        """The value of a linked argument: the datamodule's, or the trained model's when it is only evaluated.

        Args:
            name: Name of the fact.
            from_data: Value of the datamodule.
            saved: Model of the checkpoint, if there is one.
            training: True for ``fit``.

        Raises:
            ConfigError: The model needs the fact, and the data does not tell it.
            CheckpointError: Training would go on with another value than the checkpoint's.
        """
        if saved is not None and name in saved.settings and saved.settings[name] != from_data:
            kept: Value = saved.settings[name]
            if training:
                raise CheckpointError(
                    f"{saved.path} was trained with {name}={kept}, but the data has {from_data}: "
                    "resume with the same data"
                )
            return kept
        unknown = from_data is None or (type(from_data) is int and from_data == 0)
        if unknown and self._needs(name):
            raise ConfigError(f"the data does not tell {name}: give --data.root, or the --ckpt_path of a trained model")
        return from_data

    def _needs(self, name: str) -> bool:
        """True for an argument of the model that has no default."""
        arguments = {} if self._model is None else inspect.signature(self._model).parameters
        return name in arguments and arguments[name].default is inspect.Parameter.empty


class OwnLinks(_InstantiatorFn):
    """Records as hyper-parameters only the linked values that the class takes."""

    def __call__(
        self, class_type: type[Value], *args: Any, applied_instantiation_links: dict[str, Any], **kwargs: Any
    ) -> Value:
        """Build the object, unless it would not fit into memory."""
        if issubclass(class_type, LitBase):
            check_network(lambda: class_type(*args, **kwargs), class_type.__name__, kwargs)
        taken = {key: value for key, value in applied_instantiation_links.items() if key.rsplit(".", 1)[-1] in kwargs}
        try:
            made: Value = super().__call__(class_type, *args, applied_instantiation_links=taken, **kwargs)
        except (ValueError, RuntimeError, ArithmeticError, AssertionError) as error:
            if explained(error) is not None or not (odd := odd_settings(kwargs)):
                raise
            given = ", ".join(f"--{self.key}.{name}={value}" for name, value in odd.items())
            reason = " ".join(str(error).split())
            raise ConfigError(f"{class_type.__name__} cannot be built with {given} ({reason}): change it") from error
        return made


class CheckedData(OwnLinks):
    """Refuses batches that would not fit into memory."""

    def __call__(
        self, class_type: type[Value], *args: Any, applied_instantiation_links: dict[str, Any], **kwargs: Any
    ) -> Value:
        """Build the datamodule."""
        made = super().__call__(class_type, *args, applied_instantiation_links=applied_instantiation_links, **kwargs)
        if isinstance(made, BaseData):
            check_batches(made, kwargs, training=self.cli.config.subcommand == "fit")
        return made


def odd_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers among settings that are negative, zero, or too large for a size."""
    return {
        name: value
        for name, value in settings.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and not 0 < value < LARGE
    }
