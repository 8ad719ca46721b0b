"""Networks of an entry: built without memory for parameters, then filled with the bytes that were hashed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from vision_suite.checkpoints.contents import is_finite
from vision_suite.errors import CheckpointError, SuiteError
from vision_suite.hub.files import WEIGHTS
from vision_suite.hub.method import HubMethod
from vision_suite.hub.text import MIB, one_line, read_json

SHORT = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64", "int64": "I64", "bool": "BOOL"}
LARGEST_HEADER = 16 * MIB  # of a safetensors file
SPARE, SPARE_BASE = 100, 2000  # parameters that a constructor may make besides those that it keeps; those of a base
SPARE_VALUES, BASE_VALUES = 2**27, 2**32  # of one tensor: tables that a constructor computes; embeddings of a base


class Bounds(NamedTuple):
    """Bounds of what a constructor may make, so that no setting asks for more than the weights can fill.

    Attributes:
        parameters: Most parameters.
        values: Most values of one tensor.
    """

    parameters: int
    values: int


def bounds_of(tensors: Mapping[str, Tensor], *, base: bool = False) -> Bounds:
    """Bounds of a network by the tensors that will fill it.

    Args:
        tensors: Tensors of an entry.
        base: Leave room for a base model, whose tensors are not among them.
    """
    values = sum(value.numel() for value in tensors.values())
    return Bounds(SPARE + 4 * len(tensors) + SPARE_BASE * base, max(values, SPARE_VALUES, BASE_VALUES if base else 0))


class Bounded(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Mode in which no tensor of more values than a bound is made by its sizes.

    Args:
        most: The bound.
    """

    def __init__(self, most: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = most

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Compute, unless the sizes among the arguments are too large."""
        for each in args:
            sizes = isinstance(each, list | tuple) and all(type(size) is int for size in each)
            if sizes and math.prod(each) > self.most:
                raise CheckpointError(f"they ask for a tensor of {list(each)}, more than the weights can fill")
        return func(*args, **(kwargs or {}))


@contextmanager
def bounded(bounds: Bounds) -> Iterator[None]:
    """Context in which constructors make no more than the bounds allow.

    Raises:
        CheckpointError: They do.
    """
    count = 0

    def counted(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal count
        count += parameter is not None and not parameter.is_meta
        if count > bounds.parameters:
            raise CheckpointError(f"they ask for more than {bounds.parameters:,} parameters, which the weights lack")

    hook = register_module_parameter_registration_hook(counted)
    try:
        with Bounded(bounds.values):
            yield
    finally:
        hook.remove()


class FollowMeta(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Mode in which what meets a tensor of the meta device is of that device too: constructors measure networks."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Compute without memory, if an argument has none."""
        given = (args, kwargs or {})
        if any(isinstance(each, Tensor) and each.is_meta for each in tree_leaves(given)):
            given = tree_map_only(Tensor, lambda tensor: tensor if tensor.is_meta else tensor.to("meta"), given)
        return func(*given[0], **given[1])


@contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Context in which modules get their parameters on the meta device; buffers, which code computes, are real."""

    def moved(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        if parameter is None or parameter.is_meta:  # a shared parameter stays shared
            return None
        return nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)

    hook = register_module_parameter_registration_hook(cast("Any", moved))  # its annotation forgets the result
    try:
        with FollowMeta():  # type: ignore[no-untyped-call]
            yield
    finally:
        hook.remove()


def build(method: HubMethod, settings: Mapping[str, Any], bounds: Bounds | None = None) -> nn.Module:
    """Build a network without its parameters, in evaluation mode; random numbers go on as if nothing had happened.

    Args:
        method: Method of the network.
        settings: Arguments of its constructor.
        bounds: Bounds of what the constructor may make; None for settings that are trusted.

    Raises:
        CheckpointError: Its settings do not fit together, or ask for more than the bounds allow.
    """
    limits = nullcontext() if bounds is None else bounded(bounds)
    try:
        with torch.random.fork_rng(devices=[]), limits, parameters_on_meta():
            return method.make(settings).eval()
    except SuiteError as error:
        raise CheckpointError(f"config.json: {method.name} cannot be built of its settings: {error}") from error
    except Exception as error:  # settings of an unknown origin make a constructor fail in any way
        raise CheckpointError(
            f"config.json: {method.name} cannot be built of its settings ({type(error).__name__}: {one_line(error)})"
        ) from error


def read_tensors(contents: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors of a safetensors file in memory of their own, and its notes.

    Raises:
        CheckpointError: It is malformed, or a value is not finite.
    """
    try:
        if int.from_bytes(contents[:8], "little") > LARGEST_HEADER:
            raise ValueError(f"its header has more than {LARGEST_HEADER:,} bytes")
        tensors = {name: value.clone() for name, value in load_bytes(contents).items()}
        notes = _notes(contents)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{WEIGHTS}: no safetensors file ({one_line(error)}): pull the entry again") from error
    broken = next((name for name, value in tensors.items() if not is_finite(value)), None)
    if broken is not None:
        raise CheckpointError(f"{WEIGHTS}: {broken} holds values that are not finite: use another entry")
    return tensors, notes


def fill(network: nn.Module, tensors: Mapping[str, Tensor], more: Mapping[str, Tensor] | None = None) -> None:
    """Give a network its weights: every tensor has a place, and every place gets one, of its shape and type.

    Args:
        network: Network of `build`, changed in place.
        tensors: Tensors of the entry by name; of names that share a parameter one is there.
        more: Tensors of a base model, for places that the entry has none for.

    Raises:
        CheckpointError: Something is missing, too many or of another shape or type.
    """
    state = network.state_dict(keep_vars=True)
    groups: dict[int, list[str]] = {}
    for name, value in state.items():
        groups.setdefault(id(value), []).append(name)
    unknown = sorted(tensors.keys() - state.keys())
    if unknown:
        raise CheckpointError(f"{WEIGHTS}: {unknown[0]} has no place in the network ({len(unknown)} such tensors)")
    filled: dict[str, Tensor] = {}
    for names in groups.values():
        given = [name for name in names if name in tensors]
        source = tensors if given else (more or {})
        given = given or [name for name in names if name in source]
        if not given:
            raise CheckpointError(f"{WEIGHTS}: {names[0]} is missing: pull the entry again")
        if len(given) > 1 and source is tensors:
            raise CheckpointError(f"{WEIGHTS}: {given[0]} and {given[1]} are one tensor: one of them is enough")
        value, place = source[given[0]], state[names[0]]
        if value.shape != place.shape or value.dtype != place.dtype:
            raise CheckpointError(
                f"{WEIGHTS}: {given[0]} is {_words(value)}, the network has {_words(place)}: config.json is another's"
            )
        filled |= dict.fromkeys(names, value)
    network.load_state_dict(filled, strict=True, assign=True)
    for first, *others in groups.values():
        for name in others:  # loading made a parameter for each of the names
            module, _, leaf = name.rpartition(".")
            setattr(network.get_submodule(module), leaf, _at(network, first))
    empty = next((name for name, value in network.named_buffers() if value.is_meta), None)
    if empty is not None:
        raise CheckpointError(f"{empty} is computed of parameters and not stored, which an entry cannot hold")


def dtypes_of(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Number of values by type, under the names of safetensors."""
    found: dict[str, int] = {}
    for value in tensors.values():
        kind = str(value.dtype).removeprefix("torch.")
        found[SHORT.get(kind, kind.upper())] = found.get(SHORT.get(kind, kind.upper()), 0) + value.numel()
    return found


def _at(network: nn.Module, name: str) -> Tensor:
    module, _, leaf = name.rpartition(".")
    found: Tensor = getattr(network.get_submodule(module), leaf)
    return found


def _words(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"


def _notes(contents: bytes) -> dict[str, str]:
    """The texts in the header of a safetensors file, which its reader has accepted."""
    size = int.from_bytes(contents[:8], "little")
    found = read_json(contents[8 : 8 + size]).get("__metadata__", {})
    return dict(found)
