"""Modules of checkpoints, for the commands that run no trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from vision_suite.checkpoints.files import read
from vision_suite.cli.trainer.classes import PACKAGE, import_named
from vision_suite.cli.trainer.plugins import import_plugins
from vision_suite.cli.trainer.vocabulary import check_types, class_names, find_class, imported_classes
from vision_suite.datasets.base import BaseData
from vision_suite.datasets.saved import check_state, data_state
from vision_suite.errors import CheckpointError
from vision_suite.hints import did_you_mean
from vision_suite.lit_modules.base import LitBase
from vision_suite.renamed import with_new_names

# Settings of training alone: weights come from the checkpoint, and a compiled network cannot be traced.
REPLACED = {"pretrained": False, "compile": False}


class LoadedModule(NamedTuple):
    """Module with its weights, the settings that it was built of, and the contents of its checkpoint."""

    module: LitBase
    settings: dict[str, Any]
    contents: dict[str, Any]


def load_module(path: Path, model: str | None = None) -> LoadedModule:
    """Load the module of a checkpoint with its weights.

    Nothing in the file is executed: weights and settings are read as plain data, and the class they name must be one
    of the suite or of an installed plug-in.

    Args:
        path: Checkpoint file.
        model: Name of the class, for checkpoints that do not hold it.

    Raises:
        CheckpointError: The file is broken, names an unknown class, or does not fit its class.
    """
    contents = read(path)
    settings = dict(contents.get("hyper_parameters") or {})
    settings.pop("_instantiator", None)
    lit_class = _find_class(settings.pop("_class_path", None), model, path)
    settings = with_new_names(lit_class.__name__, settings)
    settings |= {name: value for name, value in REPLACED.items() if name in settings}
    try:
        check_types(lit_class, settings)
        module = lit_class(**settings)
        module.load_state_dict(contents["state_dict"])
    except (TypeError, ValueError, RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{path} does not fit {lit_class.__name__}: {reason}") from error
    return LoadedModule(module, settings, contents)


def stored_data(contents: dict[str, Any], path: Path) -> dict[str, Any]:
    """The data's part of a checkpoint, checked as by the commands that load the data; empty if there is none.

    Args:
        contents: Contents of the checkpoint.
        path: The file, for the message.

    Raises:
        CheckpointError: It is malformed.
    """
    state = data_state(contents)
    if state is None:
        return {}
    name = next(key for key, value in contents.items() if value is state)
    import_named([name])
    kind = find_class(name, BaseData)  # type: ignore[type-abstract]
    try:
        check_state(state)
        if kind is not None:
            kind.evaluation_settings(state["preprocessing"])
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return state


def find_module(name: str) -> type[LitBase]:
    """The Lightning module of a name, of the suite or of an installed plug-in.

    Raises:
        CheckpointError: There is none.
    """
    return _find_class(None, name, Path())


def _find_class(named: str | None, model: str | None, path: Path) -> type[LitBase]:
    """Find the class that a checkpoint names among the known ones; no module is imported because a file names it."""
    import_plugins()
    names = class_names(LitBase)
    if named is None and model is None:
        raise CheckpointError(f"{path} does not name its class: give --model, one of {', '.join(names)}")
    wanted = named if named is not None else str(model)
    package, _, name = wanted.rpartition(".")
    ours = package in ("", PACKAGE) or package.startswith(f"{PACKAGE}.")
    import_named([name] if ours else [])
    for each in imported_classes(LitBase):
        # A class of the suite is found by its name alone: modules move between versions.
        if wanted == f"{each.__module__}.{each.__qualname__}" or (ours and name == each.__name__):
            return each
    where = f"{path} was saved by" if named is not None else "--model"
    raise CheckpointError(
        f"{where} {wanted}, which is no model of the suite{did_you_mean(wanted if name in names else name, names)}"
    )
