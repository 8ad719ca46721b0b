"""Structure of a checkpoint's contents, checked before anything is made of them.

`check_contents` is for every use; `check_resumable` and `check_optimizers` are for a training that goes on.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from vision_suite.errors import CheckpointError

FORMAT = 2
MARK = "vision_suite_checkpoint"  # key of the note that a checkpoint was written with a checksum
VERSION = "pytorch-lightning_version"
COUNTS = ("ready", "started", "processed", "completed")
LOOPS = {
    "fit_loop": ("state_dict", "epoch_loop.state_dict", "epoch_progress"),
    **dict.fromkeys(("validate_loop", "test_loop", "predict_loop"), ("state_dict",)),
}
KINDS: dict[object, str] = {Mapping: "a dict", list: "a list", str: "text"}
# Entries of an optimiser's state that have the shape of their parameter.
SHAPED = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer")


def check_contents(contents: object, path: Path) -> None:
    """Refuse contents that are no checkpoint of a run, or hold values of wrong types.

    Args:
        contents: What the file holds.
        path: The file, for the message.

    Raises:
        CheckpointError: One line says what is wrong and what to do.
    """
    if not isinstance(contents, dict):
        raise CheckpointError(f"{path}: not a checkpoint of a run (it holds a single {type(contents).__name__})")
    weights = f"start a training from its weights with fit --init_from {path}"
    if "state_dict" not in contents:
        if any(isinstance(value, Tensor) for _, value in _leaves(contents)):
            raise CheckpointError(f"{path}: plain weights, not a checkpoint of a run (it has no state_dict): {weights}")
        raise CheckpointError(f"{path}: not a checkpoint of a run (it has no state_dict): use another file")
    _check_mark(contents.get(MARK, {}), path)
    _expect(contents["state_dict"], Mapping, "state_dict", path)
    for name, value in contents["state_dict"].items():
        if not isinstance(name, str) or not (isinstance(value, Tensor) or name.endswith("_extra_state")):
            raise _wrong(f"state_dict[{name!r}]", value, "a tensor", path)
        if isinstance(value, Tensor) and not is_finite(value):
            raise CheckpointError(
                f"{path}: state_dict[{name!r}] holds values that are not finite, and every figure would be: use "
                "another checkpoint"
            )
    if VERSION not in contents:
        raise CheckpointError(f"{path}: not a checkpoint of a run (it has no {VERSION}): {weights}")
    if _version(contents[VERSION]) is None:
        raise _wrong(VERSION, contents[VERSION], "a version", path)
    if contents.get("hyper_parameters") is not None:
        settings = _expect(contents["hyper_parameters"], Mapping, "hyper_parameters", path)
        for name in settings:
            if not isinstance(name, str):
                raise _wrong("a name in hyper_parameters", name, "text", path)
        for name in ("_class_path", "_instantiator"):
            _expect(settings.get(name, ""), str, f"hyper_parameters[{name!r}]", path)
    for state in _expect(contents.get("callbacks", {}), Mapping, "callbacks", path).values():
        _expect(state, Mapping, "the state of a callback", path)
    if contents.get("loops") is not None:
        _check_loops(contents["loops"], contents[VERSION], path)


def is_finite(value: Tensor) -> bool:
    """True if a tensor holds finite values only; sparse and quantised ones, which no network here has, are passed over.

    Each stored value is looked at once, however often a view repeats it.
    """
    if value.layout is not torch.strided or value.is_quantized or not value.is_floating_point():
        return True
    for dimension, stride in enumerate(value.stride()):
        if stride == 0:
            value = value.narrow(dimension, 0, min(1, value.shape[dimension]))
    return bool(value.isfinite().all())


def check_resumable(contents: Mapping[str, Any], path: Path) -> None:
    """Refuse a checkpoint that a training cannot go on from.

    Args:
        contents: Contents that `check_contents` has passed.
        path: The file, for the message.

    Raises:
        CheckpointError: It holds no state of the optimiser or of the loops, or values of wrong types, or it was written
            by a newer Lightning.
    """
    if "optimizer_states" not in contents:
        raise CheckpointError(
            f"{path}: holds weights only, no state of the optimiser (save_weights_only), so no training can go on from "
            f"it: start one from its weights with fit --init_from {path}, or evaluate it with test"
        )
    installed = importlib.metadata.version("pytorch-lightning")
    saved = contents[VERSION]
    if (_version(saved) or ()) > (_version(installed) or ()):
        raise CheckpointError(
            f"{path}: written by Lightning {saved}, newer than the installed {installed}, which may not restore its "
            f"state: pip install 'pytorch-lightning>={saved}'"
        )
    for name in ("epoch", "global_step"):
        _expect_count(contents.get(name), name, path)
    for name in ("optimizer_states", "lr_schedulers"):
        for state in _expect(contents.get(name), list, name, path):
            _expect(state, Mapping, f"a member of {name}", path)
    for state in contents["optimizer_states"]:
        _expect(state.get("state"), Mapping, "optimizer_states: state", path)
        for group in _expect(state.get("param_groups"), list, "optimizer_states: param_groups", path):
            _expect(group, Mapping, "optimizer_states: a group of param_groups", path)
            _expect(group.get("params"), list, "optimizer_states: params of a group", path)
    _expect(contents.get("loops"), Mapping, "loops", path)


def check_optimizers(states: Sequence[Mapping[str, Any]], optimizers: Sequence[Optimizer], path: Path | str) -> None:
    """Refuse states that other optimisers left, or the same ones with other groups of parameters.

    Args:
        states: The ``optimizer_states`` of a checkpoint that `check_resumable` has passed.
        optimizers: The optimisers that are to go on.
        path: The checkpoint, for the message.

    Raises:
        CheckpointError: The states do not fit.
    """
    remedy = f"repeat the model.optim settings of its run, or start from its weights with fit --init_from {path}"
    if len(states) != len(optimizers):
        raise CheckpointError(
            f"{path}: holds the states of {len(states)} optimisers, not of {len(optimizers)}: {remedy}"
        )
    for state, optimizer in zip(states, optimizers, strict=True):
        name, groups = type(optimizer).__name__, optimizer.param_groups
        saved = state["param_groups"]
        sizes = [[len(group["params"]) for group in each] for each in (saved, groups)]
        if sizes[0] != sizes[1]:
            raise CheckpointError(
                f"{path}: its optimiser has groups of {sizes[0]} parameters, {name} has groups of {sizes[1]}: {remedy}"
            )
        for ours, theirs in zip(groups, saved, strict=True):
            missing = sorted(set(optimizer.defaults) & set(ours) - set(theirs))
            if missing:
                raise CheckpointError(f"{path}: its optimiser is no {name} (it has no {', '.join(missing)}): {remedy}")
            for parameter, index in zip(ours["params"], theirs["params"], strict=True):
                _check_shapes(state["state"].get(index, {}), parameter, path, remedy)


def _check_shapes(entries: object, parameter: Tensor, path: Path | str, remedy: str) -> None:
    """Refuse averages of another shape than their parameter's."""
    if not isinstance(entries, Mapping):
        raise _wrong("optimizer_states: the state of a parameter", entries, "a dict", path)
    for name in SHAPED:
        value = entries.get(name)
        if value is not None and getattr(value, "shape", None) != parameter.shape:
            raise CheckpointError(
                f"{path}: {name} of its optimiser has the shape {list(getattr(value, 'shape', []))}, its parameter "
                f"{list(parameter.shape)}: {remedy}"
            )


def _check_loops(loops: object, version: str, path: Path) -> None:
    """Refuse states of the loops that Lightning would fail on; it brings those of versions before 2.0 up to date."""
    states = _expect(loops, Mapping, "loops", path)
    if (_version(version) or ()) < (2, 0):
        return
    for loop, parts in LOOPS.items():
        state = _expect(states.get(loop), Mapping, f"loops: {loop}", path)
        for part in parts:
            _expect(state.get(part), Mapping, f"loops: {loop}: {part}", path)
        for name, value in _leaves(state):
            if name.rpartition(".")[2] in COUNTS:
                _expect_count(value, f"loops: {loop}: {name}", path)


def _check_mark(mark: object, path: Path) -> None:
    """Refuse a format that this version does not know."""
    if mark == {}:
        return
    form = mark.get("format") if isinstance(mark, dict) else None
    if not isinstance(form, int):
        raise _wrong(MARK, mark, "a note of the format", path)
    if form > FORMAT:
        version = mark.get("version") if isinstance(mark, dict) else None
        raise CheckpointError(
            f"{path}: written by vision-suite {version} in format {form}, which is newer than this version's "
            f"{FORMAT}: pip install --upgrade vision-suite"
        )


def _expect(value: Any, kind: type, name: str, path: Path) -> Any:
    """The value, if it is of a kind."""
    if not isinstance(value, kind):
        raise _wrong(name, value, KINDS[kind], path)
    return value


def _expect_count(value: object, name: str, path: Path) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _wrong(name, value, "a count", path)


def _wrong(name: str, value: object, expected: str, path: Path | str) -> CheckpointError:
    given = "missing" if value is None else f"of type {type(value).__name__}"
    return CheckpointError(f"{path}: {name} is {given}, not {expected}: use another checkpoint")


def _leaves(contents: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in nested dictionaries, by its dotted name."""
    for name, value in contents.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _version(text: object) -> tuple[int, ...] | None:
    """Major and minor version as numbers; None if the text is no version."""
    match = re.match(r"(\d+)\.(\d+)", text) if isinstance(text, str) else None
    return None if match is None else (int(match[1]), int(match[2]))
