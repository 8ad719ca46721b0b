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

    Keys and values are (B, 1, N, width) of any types and widths, without gradients. Cropping and selecting rows are
    those of transformers' own layer, so beams and assisted decoding need nothing more.
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

        def reorder_cache(self, beam_idx: Tensor) -> None:
            """Reorder rows, and keep the room."""
            held = self.get_seq_length()
            if held:
                for number, name in enumerate(("keys", "values")):
                    room = self.room[number]
                    room = getattr(self, name) if room is None else room
                    room = room.index_select(0, beam_idx.to(room.device))
                    self.room[number] = room
                    setattr(self, name, room[:, :, :held])

    return GrowingLayer


def _grow(held: Tensor, new: Tensor, room: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Tokens held and new ones, and the larger tensor that they are the front of; no room for a prompt alone."""
    before, after = held.shape[2], held.shape[2] + new.shape[2]
    if not before:
        # Many prompts are never continued, so the first tokens are not copied.
        return new, None
    fits = room is not None and room.shape[2] >= after and room.shape[0] == new.shape[0]
    if room is None or not fits or held.data_ptr() != room.data_ptr():
        room = new.new_empty(*new.shape[:2], after + max(after // 4, 64), new.shape[3])
        room[:, :, :before] = held
    room[:, :, before:after] = new
    return room[:, :, :after], room


class WingsCache:
    """The wings' part of a cache, in layers behind the model's own.

    The first holds positions and kinds of tokens; the second, of low rank, the embeddings and their rotated copy; the
    others keys and values of each layer with wings, or, of low rank, their coefficients.

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
        while len(layers) < first + 2 + slots:
            layers.append(growing_layer()())
        if layers[first].get_seq_length() != self.past:
            raise ConfigError(
                f"the cache holds {self.past} tokens, of which {layers[first].get_seq_length()} were read with wings: "
                "start a new cache after attach, detach or wings_off"
            )
        self.kinds, self.shared, *self.layers = layers[first : first + 2 + slots]
        self.low_rank = low_rank

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

    def add_embeddings(self, x: Tensor, rotated: Tensor) -> None:
        """Add embeddings (B, M, d) of new tokens and their rotated copy, which a cache of low rank needs."""
        self.shared.update(x.detach()[:, None], rotated.detach()[:, None])

    def embeddings(self) -> tuple[Tensor, Tensor]:
        """Embeddings (B, N, d) of all tokens and their rotated copy."""
        return self.shared.keys[:, 0], self.shared.values[:, 0]

    def write(self, slot: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add the new tokens' (B, M, width) of a layer with wings, and give those of all tokens (B, N, width).

        Raises:
            ConfigError: If gradients are to flow into earlier calls.
        """
        wants = torch.is_grad_enabled() and (keys.requires_grad or values.requires_grad)
        if wants and self.past:
            raise ConfigError("wings keep no gradients in a cache: use torch.no_grad(), or one pass")
        held = self.layers[slot].update(keys.detach()[:, None], values.detach()[:, None])
        return (keys, values) if wants else (held[0][:, 0], held[1][:, 0])
