"""Checkpoints made of entries, for ``--ckpt_path hub:NAME`` of ``test`` and ``predict``."""

from __future__ import annotations

import atexit
import importlib.metadata
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vision_suite.checkpoints.contents import VERSION
from vision_suite.checkpoints.files import write
from vision_suite.cli.trainer.classes import import_named
from vision_suite.cli.trainer.modules import REPLACED, find_module
from vision_suite.cli.trainer.plugins import import_plugins
from vision_suite.cli.trainer.vocabulary import check_types, find_class
from vision_suite.datasets.base import BaseData
from vision_suite.errors import CheckpointError, SuiteError, printable
from vision_suite.hub.building import bounded, bounds_of
from vision_suite.hub.evaluation import read_evaluation
from vision_suite.hub.files import EVALUATION
from vision_suite.hub.loading import Opened, loaded, open_entry
from vision_suite.hub.method import ENTRY
from vision_suite.hub.text import one_line


def checkpoint_of(name: str, notes: list[str]) -> Path:
    """A checkpoint of an entry, in a temporary folder that the process removes at its end.

    Args:
        name: Name of the entry with its scheme.
        notes: Takes lines to tell the user.

    Raises:
        CheckpointError: There is no such entry, something in it is wrong, or it does not tell how it is evaluated.
    """
    opened = open_entry(name)
    notes += opened.notes
    folder = Path(tempfile.mkdtemp(prefix="vision-suite-hub-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / f"{opened.config['name']}.ckpt"
    try:
        write(contents_of(opened), path)
    except SuiteError as error:
        raise CheckpointError(printable(f"--ckpt_path {name}: {error}")) from error
    return path


def contents_of(opened: Opened) -> dict[str, Any]:
    """Contents of a checkpoint of an entry: whole but for the state of training.

    Raises:
        CheckpointError: The entry does not tell how it is evaluated, or its settings are refused.
    """
    found = read_evaluation(opened)
    data = found["data"]
    _check_data(data["class"])
    module_class = find_module(found["module"])
    settings = {**found["settings"], **{name: value for name, value in REPLACED.items() if name in found["settings"]}}
    if "pretrained" in opened.method.fixed:
        settings["pretrained"] = False
    decoder = settings.get("decoder")
    if isinstance(decoder, Mapping) and decoder.get("structure"):
        settings["decoder"] = {**decoder, "source": ENTRY}
    weights = loaded(opened).network.state_dict()
    try:
        check_types(module_class, settings)
        with bounded(bounds_of(weights)):
            module = module_class(**settings)
        opened.method.put_into(module, weights)
    except Exception as error:  # settings of an unknown origin make a constructor fail in any way
        kind = "" if isinstance(error, SuiteError) else f"{type(error).__name__}: "
        raise CheckpointError(
            f"{EVALUATION} does not fit {module_class.__name__}: {kind}{one_line(error, 300)}"
        ) from error
    contents = {
        "state_dict": module.state_dict(),
        "hyper_parameters": {**settings, "_class_path": f"{module_class.__module__}.{module_class.__qualname__}"},
        VERSION: importlib.metadata.version("pytorch-lightning"),
        "epoch": 0,
        "global_step": found["step"],
        "callbacks": {},
        "operating_point": found["operating_point"],
        "image_token_id": opened.config["model"]["init_args"].get("image_token_id", -1),
    }
    state = {name: data[name] for name in ("preprocessing", "facts")}
    return {**contents, data["class"]: {**state, "class_names": opened.labels, "order": {}}}


def _check_data(name: str) -> None:
    """Refuse a name that is no datamodule of the suite or of an installed plug-in.

    Raises:
        CheckpointError: It is none.
    """
    import_plugins()
    import_named([name])
    if find_class(name, BaseData) is None:  # type: ignore[type-abstract]
        raise CheckpointError(f"{EVALUATION}: {name!r:.60} is no class of data: install the package that has it")
