"""Cache of the wings' keys and values, as further layers of transformers' own cache."""

from __future__ import annotations

import functools
from typing import Any, cast

import torch
from torch import Tensor

from vision_suite.errors import ConfigError


@functools.cache
def growing_layer() -> type[Any]:
    """A layer of a cache that grows in place, with room for more tokens than it holds.

    Keys and values are (B, 1, N, width) of any types and widths. Cropping, reordering and selecting rows are those of
    transformers' own layer, so beams and assisted decoding need nothing more.
    """
    from transformers.cache_utils import DynamicLayer

    class GrowingLayer(DynamicLayer):  # type: ignore[no-untyped-call]
        """Layer whose tensors are the front part of larger ones."""

        def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
            """Remember type and device."""
            self.dtype, self.device = key_states.dtype, key_states.device
            self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
            self.room: list[Tensor | None] = [None, None]
            self.is_initialized = True

        def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
            """Add new tokens, and give all of them."""
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
            keys, self.room[0] = _grow(cast(Tensor, self.keys), key_states, self.room[0])
            values, self.room[1] = _grow(cast(Tensor, self.values), value_states, self.room[1])
            self.keys, self.values = keys, values
            return keys, values

    return GrowingLayer


def _grow(held: Tensor, new: Tensor, room: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Tokens held and new ones, and the larger tensor that they are the front of."""
    before, after = held.shape[2], held.shape[2] + new.shape[2]
    if torch.is_grad_enabled() and (new.requires_grad or held.requires_grad):
        return torch.cat([held, new], 2), None
    fits = room is not None and room.shape[2] >= after and room.shape[0] == new.shape[0]
    if room is None or not fits or (before and held.data_ptr() != room.data_ptr()):
        # The first tokens of a prompt are held as they are: many rows are never continued.
        if not before:
            return new, None
        room = new.new_empty(*new.shape[:2], after + max(after // 4, 64), *new.shape[3:])
        room[:, :, :before] = held
    room[:, :, before:after] = new
    return room[:, :, :after], room


class WingsCache:
    """The wings' part of a cache: layer `first` holds positions and kinds of tokens, the next ones keys and values.

    Args:
        cache: Cache of the model.
        first: Number of the model's own layers.
        count: Number of further layers.

    Raises:
        ConfigError: If the cache does not grow, or was filled without wings.
    """

    def __init__(self, cache: object, first: int, count: int) -> None:
        from transformers import DynamicCache
        from transformers.cache_utils import DynamicLayer

        if not isinstance(cache, DynamicCache):
            raise ConfigError(
                f"wings do not serve a cache of type {type(cache).__name__}: use one that grows, "
                "cache_implementation='dynamic'"
            )
        layers: list[Any] = cache.layers
        past = cache.get_seq_length()
        while len(layers) < first:
            layers.append(cast(Any, DynamicLayer)())
        while len(layers) < first + 1 + count:
            layers.append(growing_layer()())
        if layers[first].get_seq_length() != past:
            raise ConfigError(
                f"the cache holds {past} tokens, of which {layers[first].get_seq_length()} were read with wings: start "
                "a new cache after attach, detach or wings_off"
            )
        self.tokens_held, *self.layers = layers[first : first + 1 + count]

    def tokens(self) -> tuple[Tensor, Tensor] | None:
        """Positions (B, N) int64 and kinds (B, N) boolean of the tokens held; None if there are none."""
        layer = self.tokens_held
        if not layer.get_seq_length():
            return None
        return layer.keys[:, 0, :, 0], layer.values[:, 0, :, 0]

    def add_tokens(self, positions: Tensor, is_image: Tensor) -> None:
        """Add positions (B, M) and kinds (B, M) of new tokens."""
        self.tokens_held.update(positions[:, None, :, None], is_image[:, None, :, None])

    def update(self, slot: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add (B, M, width) to the further layer `slot`, and give all its keys and values (B, N, width)."""
        held = self.layers[slot].update(keys[:, None], values[:, None])
        return held[0][:, 0], held[1][:, 0]
