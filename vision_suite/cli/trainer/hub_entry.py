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
from vision_suite.cli.trainer.modules import REPLACED, find_module
from vision_suite.cli.trainer.vocabulary import check_types
from vision_suite.errors import CheckpointError, SuiteError
from vision_suite.hub.files import EVALUATION
from vision_suite.hub.loading import Opened, loaded, open_entry
from vision_suite.hub.method import ENTRY
from vision_suite.hub.registry import network_paths
from vision_suite.hub.settings import faults_in
from vision_suite.hub.text import one_line, read_json

KINDS: dict[str, type] = {"module": str, "settings": dict, "data": dict, "operating_point": dict, "step": int}
DATA: dict[str, type] = {"class": str, "preprocessing": dict, "facts": dict}


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
        raise CheckpointError(f"--ckpt_path {name}: {error}") from error
    return path


def contents_of(opened: Opened) -> dict[str, Any]:
    """Contents of a checkpoint of an entry: whole but for the state of training.

    Raises:
        CheckpointError: The entry does not tell how it is evaluated, or its settings are refused.
    """
    found = _evaluation(opened)
    if found["module"] not in opened.method.modules:
        raise CheckpointError(f"{EVALUATION}: {found['module']!r:.60} is no module of {opened.method.name}")
    faults = faults_in(found["settings"], network_paths(), opened.method.words)
    if faults:
        raise CheckpointError(f"{EVALUATION}: {faults[0]}")
    module_class = find_module(found["module"])
    settings = {**found["settings"], **{name: value for name, value in REPLACED.items() if name in found["settings"]}}
    if "pretrained" in opened.method.fixed:
        settings["pretrained"] = False
    decoder = settings.get("decoder")
    if isinstance(decoder, Mapping) and decoder.get("structure"):
        settings["decoder"] = {**decoder, "source": ENTRY}
    try:
        check_types(module_class, settings)
        module = module_class(**settings)
        opened.method.put_into(module, loaded(opened).network.state_dict())
    except (TypeError, ValueError, RuntimeError, KeyError) as error:
        raise CheckpointError(f"{EVALUATION} does not fit {module_class.__name__}: {one_line(error, 300)}") from error
    data = found["data"]
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
    if data["class"] in contents or not data["class"].isidentifier():
        raise CheckpointError(f"{EVALUATION}: {data['class']!r:.60} is no class of data")
    state = {name: data[name] for name in ("preprocessing", "facts")}
    return {**contents, data["class"]: {**state, "class_names": opened.labels, "order": {}}}


def _evaluation(opened: Opened) -> dict[str, Any]:
    """Evaluation settings of the entry.

    Raises:
        CheckpointError: It tells nothing, or is malformed.
    """
    contents = opened.files.contents.get(EVALUATION)
    if contents is None:
        raise CheckpointError(f"it has no {EVALUATION}: load it in Python with vision_suite.hub.load")
    try:
        found = read_json(contents)
        for part, kinds in ((found, KINDS), (found["data"], DATA)):
            if set(part) != set(kinds) or any(type(part[name]) is not kind for name, kind in kinds.items()):
                raise ValueError(f"it must have {', '.join(kinds)}")
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{EVALUATION} is malformed ({one_line(error)}): push it again") from error
    known: dict[str, Any] = found
    return known
