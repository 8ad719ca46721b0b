"""Memory that a network and its batches need, estimated before it is taken.

The network is first built on torch's meta device, where tensors have a size and no contents. An absurd setting is
refused there within seconds; the system would otherwise end the process, or swap for minutes.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Mapping
from typing import Any, get_args

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from vision_suite.datasets.base import BaseData
from vision_suite.errors import ConfigError
from vision_suite.faults import free_memory
from vision_suite.types.data import Stage

MOST_TENSORS = 10_000  # the largest networks have a few thousand
BYTES_OF_ORDER = 64  # of an item: its number in an array, and in the list of a batch


class TooLarge(Exception):
    """The network does not fit; carries the bytes that are needed at least, and the number of tensors."""

    def __init__(self, needed: int, count: int) -> None:
        super().__init__(needed, count)
        self.needed, self.count = needed, count


class _Sizes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the tensors that are made from nothing, and looks at the size of each result.

    Args:
        limit: Bytes that are free.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.limit, self.needed, self.count = limit, 0, 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator, unless its result does not fit."""
        kwargs = kwargs or {}
        made = not any(isinstance(each, torch.Tensor) for each in tree_iter((args, kwargs)))
        if made and kwargs.get("device", torch.device("cpu")) == torch.device("cpu"):
            kwargs = {**kwargs, "device": torch.device("meta")} if _is_factory(func) else kwargs
        result = func(*args, **kwargs)
        sizes = [each.untyped_storage().nbytes() for each in tree_iter(result) if isinstance(each, torch.Tensor)]
        if made:
            self.needed += sum(sizes)
            self.count += len(sizes)
        largest = max([self.needed, *sizes])
        if largest > self.limit or self.count > MOST_TENSORS:
            raise TooLarge(largest, self.count)
        return result


def _is_factory(func: Any) -> bool:
    """True for an operator that takes a device."""
    return any(argument.name == "device" for argument in func._schema.arguments)


def check_network(make: Callable[[], object], name: str, settings: Mapping[str, Any]) -> None:
    """Build a network without memory, and refuse it if it would not fit.

    A constructor that needs the contents of tensors fails on the way; it is then not estimated any further.

    Args:
        make: Builds the network.
        name: Name of its class.
        settings: Arguments of its constructor.

    Raises:
        ConfigError: It needs more than is free; the message names the bytes and the largest settings.
    """
    free = free_memory()
    # Drawing nothing, so that the network itself gets the same first weights.
    torch_state, python_state = torch.get_rng_state(), random.getstate()
    numpy_state = np.random.get_state()  # noqa: NPY002  (of code that uses it)
    try:
        with warnings.catch_warnings(), torch.device("meta"), _Sizes(free):
            warnings.simplefilter("ignore")  # the real constructor warns again
            make()
    except Exception as error:
        large = error if isinstance(error, TooLarge) else error.__cause__ or error.__context__
        if isinstance(large, TooLarge):
            more = f"more than {MOST_TENSORS:,} tensors and " if large.count > MOST_TENSORS else ""
            raise ConfigError(
                f"{name} needs {more}at least {large.needed:,} bytes of memory ({free:,} bytes are free): lower "
                f"{largest_settings('model', settings)}"
            ) from None
    finally:
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)


def check_batches(data: BaseData, settings: Mapping[str, Any], training: bool) -> None:
    """Refuse batches that would not fit into memory.

    Args:
        data: Datamodule before its setup.
        settings: Arguments of its constructor.
        training: True for ``fit``.

    Raises:
        ConfigError: A batch needs more than is free.
    """
    batch = data.batch_size if training else data.eval_batch_size
    items = data.size("fit") if training else max(data.size(stage) for stage in get_args(Stage))
    needed, free = items * BYTES_OF_ORDER, free_memory()
    if needed > free:
        raise ConfigError(
            f"the order of {items:,} {data.items} needs {needed:,} bytes of memory, and {free:,} bytes are free: lower "
            f"{largest_settings('data', settings)}"
        )
    needed = min(batch, max(items, 1)) * data.item_bytes
    if needed > free:
        which = "batch_size" if training else "eval_batch_size"
        raise ConfigError(
            f"a batch of --data.{which}={batch} needs {needed:,} bytes of memory, and {free:,} bytes are free: lower "
            f"{largest_settings('data', settings)}"
        )


def with_largest_settings(error: Exception, settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Let an error of memory name the largest settings of a run."""
    named = " and ".join(
        found for section, each in settings.items() if (found := largest_settings(section, each, count=2))
    )
    error.add_note(f"the largest settings are {named}")


def largest_settings(section: str, settings: Mapping[str, Any], count: int = 3) -> str:
    """The largest whole numbers among settings, as flags."""
    found = sorted(_whole(settings), key=lambda each: -each[1])[:count]
    small = found[0][1] / 1e4 if found else 0
    return ", ".join(f"--{section}.{key}={value}" for key, largest, value in found if largest >= small)


def _whole(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, int, Any]]:
    """Whole numbers with their dotted keys, the largest one of a list, and the value as it is."""
    found: list[tuple[str, int, Any]] = []
    for name, value in settings.items():
        inner = vars(value) if hasattr(value, "__dataclass_fields__") else value
        if isinstance(inner, Mapping):
            found += _whole(inner, f"{prefix}{name}.")
        numbers = [each for each in (value if isinstance(value, list | tuple) else [value]) if type(each) is int]
        shown = list(value) if isinstance(value, tuple) else value
        found += [(f"{prefix}{name}", max(numbers), shown)] if numbers and name != "seed" else []
    return found
