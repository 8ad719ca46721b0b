"""Wings of one decoder layer, which act through hooks on its attention and the norm before it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vision_suite.errors import ConfigError
from vision_suite.models.wings.cache import WingsCache
from vision_suite.models.wings.config import WingsConfig
from vision_suite.models.wings.learner import Learner, by_kind, low_rank_sum, residual, rotate
from vision_suite.models.wings.router import Router, mass_logits, position_columns, position_logits, weights
from vision_suite.models.wings.state import WingsState, wide
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
        dtype = wide(state.x)
        if self.config.stage == 2 and self.config.router == "position":
            columns.append(position_columns(self.router, state.positions, dtype))
        # One new token is a step of decoding: its shares are read by a router of kind ``mass`` alone.
        if state.x.shape[1] > 1 or (self.config.stage == 2 and self.config.router == "mass"):
            columns.append(state.columns)
        if columns:
            kwargs = {**kwargs, "readout": torch.cat(columns, -1)}
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
        cache: WingsCache | None = kwargs.get("wings_cache") if kwargs.get("past_key_values") is not None else None
        one, other = self.read(state.rows(query), state, cache)
        if other is None:
            if read is not None:
                state.masses[self.slot] = read.detach().mean(1)
            return self.added(out, state.back(one), self.visual.o.b), None
        factors = self.route(read, state).to(one.dtype)
        both = torch.cat([state.back(one) * factors[..., :1], state.back(other) * factors[..., 1:]], -1)
        return self.added(out, both, torch.cat([self.visual.o.b, self.textual.o.b])), None

    @staticmethod
    def added(out: Tensor, coefficients: Tensor, basis: Tensor) -> Tensor:
        """Output of the attention with that of the wings."""
        return low_rank_sum(out, coefficients, basis)

    def route(self, read: Tensor, state: WingsState) -> Tensor:
        """Factors (B, M, 2) on both wings; notes shares and weights in the state."""
        config = self.config
        with torch.autocast(read.device.type, enabled=False):
            if config.router == "position":
                logits = position_logits(self.router, read[..., :2])
                read = read[..., 2:]
            else:
                logits = mass_logits(self.router, read)
            masked = config.blend == "masked" or (config.blend == "reference" and not self.training)
            weight, factors = weights(logits, state.sees_image, config.router_act, config.router_scale, masked)
        state.routing[self.slot] = weight.detach()
        if read.shape[-1]:
            state.masses[self.slot] = read.detach().mean(1)
        return factors

    def read(self, query: Tensor, state: WingsState, cache: WingsCache | None) -> tuple[Tensor, Tensor | None]:
        """What each wing reads, (B, M, r) before its last matrix; the text wing's is None in stage 1."""
        textual = self.textual if self.config.stage == 2 else None
        x = state.x
        z, basis = by_kind(x, state.is_image, self.visual.k, None if textual is None else textual.k)
        key = low_rank_sum(x, z, basis)
        key = rotate(self.split(key), state.cos, state.sin).flatten(2)
        z, basis = by_kind(x, state.is_image, self.visual.v, None if textual is None else textual.v)
        value = low_rank_sum(x, z, basis)
        if cache is not None:
            key, value = cache.update(self.slot, key, value)
        key, value = self.split(key).transpose(1, 2), self.split(value).transpose(1, 2)
        one = self.attend(residual(query, self.visual.q), key, value, state, visual=True) @ self.visual.o.a
        if textual is None:
            return one, None
        return one, self.attend(residual(query, textual.q), key, value, state, visual=False) @ textual.o.a

    def split(self, x: Tensor) -> Tensor:
        """(B, M, d) to (B, M, H, D)."""
        return x.view(*x.shape[:2], self.heads, -1)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, state: WingsState, visual: bool) -> Tensor:
        """Attention (B, M, d) of a wing over its own keys; tokens that see none give zeros."""
        query = rotate(self.split(query), state.cos, state.sin).transpose(1, 2)
        if not visual and state.order is not None:
            index = state.order[:, None, :, None].expand_as(key)
            key, value = key.gather(2, index), value.gather(2, index)
        out = cross_attention(
            query, key, value, key_bias=state.visual_bias if visual else state.textual_bias,
            causal=not visual or self.config.visual_mask == "causal",
        ).out  # fmt: skip
        assert out is not None
        return out.transpose(1, 2).flatten(2)
