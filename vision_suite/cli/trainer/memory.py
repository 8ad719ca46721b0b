"""Memory that a network and its batches need, estimated before it is taken.

The network is first built with its large tensors on torch's meta device, where they have a size and no contents. An
absurd setting is refused there within seconds; the system would otherwise end the process, or swap for minutes.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map_only

from vision_suite.datasets.base import BaseData
from vision_suite.errors import ConfigError
from vision_suite.faults import free_memory
from vision_suite.types.data import Stage

MOST_TENSORS = 50_000  # the largest networks have a few thousand, and tables may be made row by row
SMALL = 2**18  # bytes up to which a tensor is real: constructors read rates, masks and tables
SMALL_TABLE = 2**23  # the same of what is computed from real ones
FEW = 4096  # elements that no operator turns into a tensor too large
MOST_SMALL = 2**28  # bytes of all real tensors
META = torch.device("meta")
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
        self.limit, self.needed, self.count, self.small = limit, 0, 0, 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator, unless its result does not fit."""
        kwargs = kwargs or {}
        given = [each for each in tree_iter((args, kwargs)) if isinstance(each, torch.Tensor)]
        if given:
            result = self._computed(func, args, kwargs, given)
            largest = max([self.needed, *_bytes_of(result)])
        else:
            result = self._made(func, args, kwargs)
            largest = self.needed
        if largest > self.limit or self.count > MOST_TENSORS:
            raise TooLarge(largest, self.count)
        return result

    def _computed(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], given: list[torch.Tensor]
    ) -> Any:
        """Result of an operator on tensors; a large one gets no contents, as an outer product of small ones."""
        if func is torch.ops.aten.unbind.int:  # a loop over the rows of a tensor
            rows = given[0].shape[args[1] if len(args) > 1 else 0]
            if rows > MOST_TENSORS:
                raise TooLarge(self.needed, rows)
        without = any(each.is_meta for each in given)
        if not without and sum(each.numel() for each in given) <= FEW:
            return func(*args, **kwargs)
        try:
            bare_args, bare_kwargs = tree_map_only(torch.Tensor, _sizes_only, (args, kwargs))
            result = func(*bare_args, **bare_kwargs)
        except (NotImplementedError, RuntimeError):  # its size depends on contents
            if without:
                raise
            return func(*args, **kwargs)
        if without or not self._may_be_real(result, SMALL_TABLE):
            return result
        return func(*args, **kwargs)

    def _made(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Result of an operator that makes tensors from nothing; a large one on the CPU gets no contents."""
        on_cpu = torch.device(kwargs.get("device") or "cpu").type == "cpu"
        if not (on_cpu and _is_factory(func)):
            result = func(*args, **kwargs)
            self._add(_bytes_of(result))
            return result
        plain = {name: value for name, value in kwargs.items() if name != "pin_memory"}
        result = func(*args, **{**plain, "device": META})
        sizes = _bytes_of(result)
        self._add(sizes)
        return func(*args, **kwargs) if self._may_be_real(result, SMALL) else result

    def _may_be_real(self, result: object, most: int) -> bool:
        """True for results up to a size, while the sum of all real ones is small."""
        size = sum(_bytes_of(result))
        if size > most or self.small + size > MOST_SMALL:
            return False
        self.small += size
        return True

    def _add(self, sizes: list[int]) -> None:
        self.needed += sum(sizes)
        self.count += len(sizes)


def _bytes_of(result: object) -> list[int]:
    """Bytes of each dense tensor among results."""
    tensors = [each for each in tree_iter(result) if isinstance(each, torch.Tensor) and each.layout is torch.strided]
    return [each.untyped_storage().nbytes() for each in tensors]


def _sizes_only(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor without its contents, for an operator that also takes one of the meta device."""
    if tensor.is_meta:
        return tensor
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=META)


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
        with warnings.catch_warnings(), _Sizes(free):
            warnings.simplefilter("ignore")  # the real constructor warns again
            make()
    except Exception as error:
        large = next((each for each in _chain(error) if isinstance(each, TooLarge)), None)
        if large is not None:
            more = f"more than {MOST_TENSORS:,} tensors and " if large.count > MOST_TENSORS else ""
            raise ConfigError(
                f"{name} needs {more}at least {large.needed:,} bytes of memory ({free:,} bytes are free): lower "
                f"{largest_settings('model', settings)}"
            ) from None
    finally:
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


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
