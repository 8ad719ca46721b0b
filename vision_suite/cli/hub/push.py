"""An entry of the hub, made of a checkpoint: the network's weights, settings, preprocessing, facts and a sample."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

import vision_suite
from vision_suite.cli.hub.facts import facts_of
from vision_suite.cli.trainer.modules import LoadedModule, load_module, stored_data
from vision_suite.errors import CheckpointError, ConfigError
from vision_suite.hub import registry
from vision_suite.hub.base import DECODER, hash_of, source_of
from vision_suite.hub.building import build, dtypes_of, fill
from vision_suite.hub.files import EVALUATION, LICENSE, RUN_CONFIG, WEIGHTS
from vision_suite.hub.method import HubMethod
from vision_suite.hub.sample import make_sample
from vision_suite.hub.settings import faults_in, without_files
from vision_suite.hub.sums import sha256
from vision_suite.hub.text import write_json
from vision_suite.hub.writing import (
    check_free,
    check_name,
    created,
    labels_of,
    once,
    signing_key,
    weights_bytes,
    write_entry,
)
from vision_suite.lit_modules.base import plain_containers
from vision_suite.runs.search import run_of

MERGED = 1e-5  # largest relative difference of outputs that merging LoRA may make
AVERAGES = ("ema", "averaging_state")  # keys of checkpoints whose state_dict is an average of training


@dataclass(frozen=True)
class Push:
    """Statements of a user about an entry.

    Attributes:
        name: Name of the entry.
        license: SPDX identifier of the licence of the weights.
        attribution: What is used, by whom, its licence and source.
        metrics: Section ``metrics`` of ``config.json``.
        merge_lora: Add LoRA to the weights.
        with_base: Write the weights of a frozen decoder too, instead of its name and hash.
        replace: Put the entry in the place of an earlier one.
        model: Class of the module, for checkpoints that do not name it.
        license_file: File with the words of the licence; None for the identifier alone.
    """

    name: str
    license: str
    attribution: Sequence[Mapping[str, str]]
    metrics: Sequence[Mapping[str, Any]] = field(default=())
    merge_lora: bool = False
    with_base: bool = False
    replace: bool = False
    model: str | None = None
    license_file: Path | None = None


def push(checkpoint: Path, hub: Path, asked: Push, key: Path | None = None) -> Path:
    """Write an entry and the hub's index; returns its folder.

    Before it is written, the entry's network is built and filled as `vision_suite.hub.load` does, and its outputs are
    compared bit for bit.

    Args:
        checkpoint: Checkpoint of a run.
        hub: Folder of the hub.
        asked: What the user says.
        key: File of the private key that signs the hub's index; None for no signature.

    Raises:
        CheckpointError: The checkpoint cannot be read, or cannot be an entry, or another entry of the hub is wrong.
        ConfigError: A licence or an attribution is missing, the name is wrong or taken, or the key is none or missing.
        StorageError: It cannot be written.
    """
    if not asked.license or not asked.attribution:
        raise ConfigError("an entry names its licence and whose work is in it: give --license and --attribution")
    signing_key(hub, key)
    read = load_module(checkpoint, asked.model)
    module = read.module
    method = registry.of_module(type(module).__name__)
    check_name(asked.name, method.name)
    check_free(hub / asked.name, replace=asked.replace)
    module.on_load_checkpoint(dict(read.contents))
    network = method.network_in(module.eval()).eval()
    settings = plain_containers(read.settings)
    state = stored_data(read.contents, checkpoint)
    if not state.get("preprocessing"):
        raise CheckpointError(
            f"{checkpoint}: it does not hold the preprocessing of its data: save it with this version"
        )
    if asked.merge_lora:
        settings = _merged(method, network, settings, state)
    arguments = _arguments(method, network, settings)
    evaluation = _evaluation(method, read, settings, state)
    faults = [
        fault
        for part in (arguments, evaluation["settings"])
        for fault in faults_in(part, registry.network_paths(), method.words)
    ]
    if faults:
        raise CheckpointError(f"{checkpoint}: {faults[0]}")
    task = str(settings.get("task") or method.tasks[0])
    preprocess = plain_containers(method.preprocess(task, state, settings))
    tensors, base = _weights(network, settings, asked)
    _compare(method, network, arguments, preprocess, tensors)
    weights = weights_bytes(tensors, asked.name)
    labels, label_files = labels_of([str(each) for each in state.get("class_names") or []])
    facts = facts_of(run_of(checkpoint.absolute()), settings)
    config = {
        "format": 1,
        "name": asked.name,
        "method": method.name,
        "task": task,
        "suite_version": vision_suite.__version__,
        "torch_version": str(torch.__version__).partition("+")[0],
        "created": created(),
        "model": {"class_path": method.network, "init_args": arguments},
        "preprocess": preprocess,
        "labels": labels,
        "metrics": [dict(each) for each in asked.metrics],
        "training": facts.training,
        "weights": {
            "file": WEIGHTS,
            "sha256": sha256(weights),
            "bytes": len(weights),
            "parameters": sum(value.numel() for name, value in network.named_parameters() if name in tensors),
            "dtypes": dtypes_of(tensors),
            "ema": any(name in read.contents for name in AVERAGES),
            "lora_merged": asked.merge_lora,
        },
        "base": base,
        "license": asked.license,
        "attribution": [dict(each) for each in asked.attribution],
    }
    files = {
        WEIGHTS: weights,
        RUN_CONFIG: facts.config.encode(),
        LICENSE: _license(asked),
        EVALUATION: write_json(evaluation).encode(),
        **label_files,
        **make_sample(method, network, preprocess, task),
    }
    return write_entry(hub, config, files, replace=asked.replace, key=key)


def _arguments(method: HubMethod, network: nn.Module, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the network's constructor, those at their defaults too: later versions may have others."""
    found = method.settings_of(settings, network)
    if method.build is None:
        taken = inspect.signature(method.network_class().__init__).parameters
        defaults = {name: each.default for name, each in taken.items() if each.default is not inspect.Parameter.empty}
        found = {**{name: value for name, value in defaults.items() if name not in method.fixed}, **found}
    backbone = found.get("backbone")
    if isinstance(backbone, str) and ":" in backbone:
        raise CheckpointError(f"the network's backbone is {backbone}, which is no name of an architecture: train again")
    arguments: dict[str, Any] = plain_containers(found)
    return arguments


def _merged(
    method: HubMethod, network: nn.Module, settings: Mapping[str, Any], state: Mapping[str, Any]
) -> dict[str, Any]:
    """Add LoRA to the weights of a network, in place, and compare its outputs; its settings without LoRA.

    Raises:
        ConfigError: The network has no LoRA.
        CheckpointError: The outputs are others.
    """
    from vision_suite.models.mllm.lora import lora_parameters, merge_lora

    if not lora_parameters(network):
        raise ConfigError(f"--merge_lora: this network of {method.name} has no LoRA: leave it out")
    batch = method.example(network, {})
    with torch.no_grad():
        before = method.outputs(network, batch)
        merge_lora(cast("Any", network).decoder)
        after = method.outputs(network, batch)
    for name, value in before.items():
        if value.shape != after[name].shape:
            raise CheckpointError(f"--merge_lora: {name} has another shape after it: push without")
        distance = float((value - after[name]).abs().max() / value.abs().max().clamp(min=1e-12))
        if value.is_floating_point() and not distance <= MERGED:
            raise CheckpointError(f"--merge_lora: {name} differs by {distance:.1e}, more than {MERGED:g}: push without")
    return {**settings, "lora": None}


def _weights(
    network: nn.Module, settings: Mapping[str, Any], asked: Push
) -> tuple[dict[str, Tensor], dict[str, str] | None]:
    """Tensors that the entry holds, and the base that has the others."""
    state = network.state_dict()
    source = str((settings.get("decoder") or {}).get("source") or "")
    if not source or asked.with_base or asked.merge_lora:
        return once(state), None
    from vision_suite.models.wings.build import left_out_names

    if cast("Any", network).tower is not None and cast("Any", network).tower.config is None:
        raise CheckpointError(f"{source} brings its own tower: push it with its weights (--with_base)")
    frozen = {name for name in left_out_names(cast("Any", network), True) if name.startswith(DECODER)}
    if not frozen:
        return once(state), None
    base = {"source": source_of(source), "sha256": hash_of({name: state[name] for name in frozen})}
    return once({name: value for name, value in state.items() if name not in frozen}), base


def _compare(
    method: HubMethod,
    network: nn.Module,
    arguments: Mapping[str, Any],
    preprocess: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
) -> None:
    """Build the network of its settings, fill it, and refuse it if its outputs are not those of the checkpoint's."""
    made = build(method, arguments)
    state = network.state_dict()
    left_out = {name: value for name, value in state.items() if name not in tensors}
    fill(made, {name: value.clone() for name, value in tensors.items()}, left_out)
    batch = method.example(network, preprocess)
    with torch.no_grad():
        own, other = method.outputs(network, batch), method.outputs(made, batch)
    for name, value in own.items():
        if not torch.equal(value.nan_to_num(), other[name].nan_to_num()):
            raise CheckpointError(
                f"the network that is built of the entry's settings gives another {name}: something of it stands in no "
                "setting and no weight"
            )


def _evaluation(
    method: HubMethod, read: LoadedModule, settings: Mapping[str, Any], state: Mapping[str, Any]
) -> dict[str, Any]:
    """Settings of ``test`` and ``predict`` besides the network: the module's settings and the state of the data."""
    preprocessing = {name: value for name, value in state["preprocessing"].items() if name != "tokenizer"}
    kind = next(name for name, value in read.contents.items() if value is state)
    point = read.contents.get("operating_point")
    step = read.contents.get("global_step")
    return {
        "module": type(read.module).__name__,
        "settings": without_files(settings, method.words),
        "data": {
            "class": kind.rpartition(".")[2],
            "preprocessing": plain_containers(preprocessing),
            "facts": plain_containers(state.get("facts") or {}),
        },
        "operating_point": plain_containers(point) if isinstance(point, Mapping) else {},
        "step": step if type(step) is int else 0,
    }


def _license(asked: Push) -> bytes:
    if asked.license_file is None:
        return (
            f"SPDX-License-Identifier: {asked.license}\n\n\nThe weights in this folder are under the licence "
            f"{asked.license}, whose text stands at https://spdx.org/licenses/ under this identifier.\n"
        ).encode()
    try:
        return asked.license_file.read_bytes()
    except OSError as error:
        raise ConfigError(f"--license_file {asked.license_file}: it cannot be read ({error.strerror})") from error
