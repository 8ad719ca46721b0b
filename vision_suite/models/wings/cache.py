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

    Keys and values are (B, layers, N, width) of any types and widths, without gradients. Cropping and selecting rows
    are those of transformers' own layer, so beams and assisted decoding need nothing more.
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

        def reserve(self, new: int, keys: Tensor, values: Tensor) -> None:
            """Add `new` tokens that are yet to be written, like `keys` and `values` (B, layers, 0, width)."""
            if not self.is_initialized:
                self.lazy_initialization(keys, values)
            self.keys, self.room[0] = _grow(cast(Tensor, self.keys), new, self.room[0])
            self.values, self.room[1] = _grow(cast(Tensor, self.values), new, self.room[1])

        def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
            """Add new tokens, and give all of them."""
            new = key_states.shape[2]
            self.reserve(new, key_states[:, :, :0], value_states[:, :, :0])
            keys, values = cast(Tensor, self.keys), cast(Tensor, self.values)
            keys[:, :, -new:], values[:, :, -new:] = key_states, value_states
            return keys, values

        def reorder_cache(self, beam_idx: Tensor) -> None:
            """Reorder rows, and keep the room."""
            if self.get_seq_length():
                held = self.get_seq_length()
                for number, name in enumerate(("keys", "values")):
                    room = self.room[number]
                    room = getattr(self, name) if room is None else room
                    self.room[number] = room.index_select(0, beam_idx.to(room.device))
                    setattr(self, name, cast(Tensor, self.room[number])[:, :, :held])

    return GrowingLayer


def _grow(held: Tensor, new: int, room: Tensor | None) -> tuple[Tensor, Tensor]:
    """Tokens held with `new` ones after them, and the larger tensor that they are the front of."""
    before, after = held.shape[2], held.shape[2] + new
    fits = room is not None and room.shape[2] >= after and room.shape[0] == held.shape[0]
    if room is None or not fits or (before and held.data_ptr() != room.data_ptr()):
        # The room of a prompt is its own length: many rows are never continued.
        more = max(after // 4, 64) if before else 0
        room = held.new_empty(*held.shape[:2], after + more, *held.shape[3:])
        room[:, :, :before] = held
    return room[:, :, :after], room


class WingsCache:
    """The wings' part of a cache, three layers behind the model's own.

    The first holds positions and kinds of tokens; the second keys and values of all layers with wings, or, of low
    rank, the embeddings and their rotated copy; the third, of low rank, coefficients of keys and values.

    Args:
        cache: Cache of the model.
        first: Number of the model's own layers.
        slots: Number of layers with wings.
        low_rank: True keeps coefficients in place of keys and values.

    Raises:
        ConfigError: If the cache does not grow, or was filled without wings.
    """

    def __init__(self, cache: object, first: int, slots: int, low_rank: bool) -> None:
        from transformers import DynamicCache
        from transformers.cache_utils import DynamicLayer

        if not isinstance(cache, DynamicCache):
            raise ConfigError(
                f"wings do not serve a cache of type {type(cache).__name__}: use one that grows, "
                "cache_implementation='dynamic'"
            )
        layers: list[Any] = cache.layers
        self.past = cache.get_seq_length()
        while len(layers) < first:
            layers.append(cast(Any, DynamicLayer)())
        while len(layers) < first + 3:
            layers.append(growing_layer()())
        if layers[first].get_seq_length() != self.past:
            raise ConfigError(
                f"the cache holds {self.past} tokens, of which {layers[first].get_seq_length()} were read with wings: "
                "start a new cache after attach, detach or wings_off"
            )
        self.kinds, self.main, self.low = layers[first : first + 3]
        self.slots, self.low_rank = slots, low_rank

    @property
    def weights(self) -> Any:
        """Weights that steps of decoding share, None before the first one."""
        return getattr(self.kinds, "weights", None)

    @weights.setter
    def weights(self, value: Any) -> None:
        self.kinds.weights = value

    def tokens(self) -> tuple[Tensor, Tensor] | None:
        """Positions (B, N) int64 and kinds (B, N) boolean of the tokens held; None if there are none."""
        if not self.past:
            return None
        return self.kinds.keys[:, 0, :, 0], self.kinds.values[:, 0, :, 0]

    def add_tokens(self, positions: Tensor, is_image: Tensor) -> None:
        """Add positions (B, M) and kinds (B, M) of new tokens."""
        self.kinds.update(positions[:, None, :, None], is_image[:, None, :, None])

    def write(self, slot: int, keys: Tensor, values: Tensor, low: bool = False) -> tuple[Tensor, Tensor]:
        """Write the new tokens' (B, M, width) of a layer with wings, and give those of all tokens (B, N, width).

        Raises:
            ConfigError: If gradients are to flow into earlier calls.
        """
        layer, new = self.low if low else self.main, keys.shape[1]
        wants = torch.is_grad_enabled() and (keys.requires_grad or values.requires_grad)
        if wants and self.past:
            raise ConfigError("wings keep no gradients in a cache: use torch.no_grad(), or one pass")
        if layer.get_seq_length() < self.past + new:
            slots = 1 if self.low_rank and not low else self.slots
            like = [x.new_empty(x.shape[0], slots, 0, x.shape[2]) for x in (keys, values)]
            layer.reserve(new, *like)
        held = layer.keys[:, slot], layer.values[:, slot]
        with torch.no_grad():
            held[0][:, self.past :], held[1][:, self.past :] = keys, values
        return (keys, values) if wants else held
