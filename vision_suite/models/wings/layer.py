"""Wings of one decoder layer, which act through hooks on its attention and the norm before it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vision_suite.errors import ConfigError
from vision_suite.models.wings.cache import WingsCache
from vision_suite.models.wings.config import WingsConfig
from vision_suite.models.wings.learner import (
    Factors,
    Learner,
    coefficients,
    keys_of,
    low_rank_sum,
    residual,
    rotate,
    side_by_side,
)
from vision_suite.models.wings.router import Router, mass_logits, position_columns, position_logits, weights
from vision_suite.models.wings.state import WingsState, wide
from vision_suite.models.wings.step import Step
from vision_suite.ops.attention import cross_attention


class Wings(nn.Module):
    """Both learners and the router of one layer (WINGS eqs. 4, 5).

    Args:
        config: Settings.
        width: Width d of the decoder.
        heads: Number of query heads H; learners have as many key heads.
        slot: Index among the layers with wings.
    """

    def __init__(self, config: WingsConfig, width: int, heads: int, slot: int) -> None:
        super().__init__()
        self.visual, self.textual = Learner(width, config.rank), Learner(width, config.rank)
        self.router = Router(config.router, config.s_max)
        self.config = config
        self.heads, self.slot = heads, slot
        self._stream: Tensor | None = None

    def before_norm(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Hook before the layer's first norm: keep the residual stream."""
        self._stream = args[0] if args else next(iter(kwargs.values()))

    def before_attention(
        self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Hook before the attention: ask for read-outs."""
        state: WingsState | None = kwargs.get("wings")
        if state is None:
            return None
        columns = []
        step: Step | None = kwargs.get("wings_step")
        if self.config.stage == 2 and self.config.router == "position":
            given = None if step is None else step.columns[self.slot]
            columns.append(position_columns(self.router, state.positions, wide(state.x)) if given is None else given)
        # One new token is a step of decoding: its shares are read by a router of kind ``mass`` alone.
        if state.x.shape[1] > 1 or (self.config.stage == 2 and self.config.router == "mass"):
            columns.append(state.columns)
        if columns:
            kwargs = {**kwargs, "readout": columns[0] if len(columns) == 1 else torch.cat(columns, -1)}
        return args, kwargs

    def after_attention(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: tuple[Any, ...]
    ) -> tuple[Any, ...] | None:
        """Hook after the attention: add what the wings read."""
        state: WingsState | None = kwargs.get("wings")
        stream, self._stream = self._stream, None
        if state is None:
            return None
        out, read = output[0], output[1]
        if "readout" in kwargs and (read is None or read.shape[-1] != kwargs["readout"].shape[-1]):
            raise ConfigError(
                f"{type(module).__name__} gives no read-outs: its attention implementation was changed after attach; "
                "call detach and attach again, and change that of a picture encoder by its own name"
            )
        if self.config.query == "attn_input":
            query = args[0] if args else kwargs["hidden_states"]
        else:
            if stream is None:
                raise ConfigError(f"{type(module).__name__} was called without its layer: wings need the whole model")
            query = stream + out
        step: Step | None = kwargs.get("wings_step")
        if step is not None:
            one, other = step.read(self.slot, query)
        else:
            # Under gradient checkpointing a layer drops the cache.
            cache: WingsCache | None = kwargs.get("wings_cache") if kwargs.get("past_key_values") is not None else None
            one, other = self.read(state.rows(query), state, cache)
        if other is None:
            if read is not None:
                state.notes.masses[self.slot] = read.detach().mean(1)
            return low_rank_sum(out, state.back(one), self.visual.o.b), None
        factors = self.route(read, state).to(one.dtype)
        both = torch.cat([state.back(one) * factors[..., :1], state.back(other) * factors[..., 1:]], -1)
        basis = torch.cat([self.visual.o.b, self.textual.o.b]) if step is None else step.out_b[self.slot]
        return low_rank_sum(out, both, basis), None

    def route(self, read: Tensor, state: WingsState) -> Tensor:
        """Factors (B, M, 2) on both wings; notes shares and weights."""
        config = self.config
        with torch.autocast(read.device.type, enabled=False):
            total, share = read.sum(1), None
            if config.router == "position":
                logits = position_logits(self.router, total[..., :2])
                if total.shape[-1] > 2:
                    share = total[..., 2:].detach() / self.heads
            else:
                mean = total / self.heads
                logits, share = mass_logits(self.router, mean), mean.detach()
            masked = config.blend == "masked" or (config.blend == "reference" and not self.training)
            weight, factors = weights(logits, state.sees_image, config.router_act, config.router_scale, masked)
        state.notes.routing[self.slot] = weight.detach()
        if share is not None:
            state.notes.masses[self.slot] = share
        return factors

    def read(self, query: Tensor, state: WingsState, cache: WingsCache | None) -> tuple[Tensor, Tensor | None]:
        """Read-out of each wing, (B, M, r) before its last matrix; the text wing's is None in stage 1."""
        key, value = self.keys(state, cache)
        key, value = self.split(key).transpose(1, 2), self.split(value).transpose(1, 2)
        one = self.read_images(query, key, value, state)
        if self.config.stage == 1:
            return one, None
        query = rotate(self.split(residual(query, self.textual.q)), state.cos, state.sin).transpose(1, 2)
        if state.order is not None:
            index = state.order[:, None, :, None].expand_as(key)
            key, value = key.gather(2, index), value.gather(2, index)
        out = cross_attention(query, key, value, key_bias=state.textual_bias, causal=True).out
        assert out is not None
        return one, out.transpose(1, 2).flatten(2) @ self.textual.o.a

    def read_images(self, query: Tensor, key: Tensor, value: Tensor, state: WingsState) -> Tensor:
        """Read-out of the visual wing, (B, M, r); tokens that see no picture get zeros."""
        new, images = query.shape[1], state.images
        if images is None:
            return query.new_zeros(*query.shape[:2], self.config.rank)
        key, value, bias = key[:, :, images], value[:, :, images], state.visual_bias[:, images]
        # Tokens before the first picture see none, those after the last one see them all.
        start, stop = max(images.start - state.past, 0), max(images.stop - state.past, 0)
        if self.config.visual_mask == "full":
            start = stop = 0
        query = rotate(
            self.split(residual(query[:, start:], self.visual.q)), state.cos[:, start:], state.sin[:, start:]
        )
        parts = []
        for first, last, causal in ((start, stop, True), (stop, new, False)):
            if first < last:
                part = query[:, first - start : last - start].transpose(1, 2)
                out = cross_attention(part, key, value, key_bias=bias, causal=causal).out
                assert out is not None
                parts.append(out.transpose(1, 2).flatten(2) @ self.visual.o.a)
        if start:
            parts.insert(0, query.new_zeros(query.shape[0], start, self.config.rank))
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def keys(self, state: WingsState, cache: WingsCache | None) -> tuple[Tensor, Tensor]:
        """Rotated keys and values (B, N, d) of both wings, each token's of its own."""
        textual = self.textual if self.config.stage == 2 else None
        x, images = state.x, state.new_images
        parts: list[tuple[Factors, Factors | None]] = [(self.visual.k, None), (self.visual.v, None)]
        if textual is not None:
            parts = [(self.visual.k, textual.k), (self.visual.v, textual.v)]
        found = [coefficients(state.x_visual, state.x_textual, v, t) for v, t in parts]
        if cache is not None and cache.low_rank:
            one, other = (side_by_side(z, x, images, self.config.rank) for z in found)
            held = cache.write(self.slot, one, other)
            if state.past:
                x = cache.embeddings()[0]
                key, value = (
                    low_rank_sum(x, z, v.b if t is None else torch.cat([v.b, t.b]))
                    for z, (v, t) in zip(held, parts, strict=True)
                )
                return rotate(self.split(key), *state.all_angles()).flatten(2), value
        key, value = (
            keys_of(x, z, images, v.b, None if t is None else t.b) for z, (v, t) in zip(found, parts, strict=True)
        )
        key = rotate(self.split(key), state.cos, state.sin).flatten(2)
        return (key, value) if cache is None or cache.low_rank else cache.write(self.slot, key, value)

    def split(self, x: Tensor) -> Tensor:
        """(B, M, d) to (B, M, H, D)."""
        return x.view(*x.shape[:2], self.heads, -1)
