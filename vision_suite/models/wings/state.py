"""Tensors every layer's wings need of a forward pass: embeddings, kinds and positions of tokens, masks, angles."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from vision_suite.errors import ConfigError
from vision_suite.layers.packed import Packed
from vision_suite.models.wings.config import WingsConfig

GROUPS = ("before", "image", "between", "after")


@dataclass
class WingsNotes:
    """Notes of the last forward pass, without gradients.

    Attributes:
        kept: (B, M) boolean, false for padding.
        sees_image: (B, M) boolean, true for tokens that see a picture.
        is_image: (B, M) boolean, true for tokens of pictures.
        masses: (B, M, 4) share of attention on each group, by layer with wings.
        routing: (B, M, 2) weights of the wings, by layer with wings.
    """

    kept: Tensor
    sees_image: Tensor
    is_image: Tensor
    masses: dict[int, Tensor] = field(default_factory=dict)
    routing: dict[int, Tensor] = field(default_factory=dict)

    def queries(self, which: str) -> Tensor:
        """Tokens (B, M) that an average counts: ``all``, those ``after_image``, or the ``last`` of each row."""
        if which == "after_image":
            return self.kept & self.sees_image & ~self.is_image
        if which == "last":
            number = torch.arange(self.kept.shape[1], device=self.kept.device) * self.kept
            return self.kept & (number == number.amax(1, keepdim=True))
        return self.kept


@dataclass
class WingsState:
    """Tensors of one forward pass, shared by all layers.

    B rows, M new tokens, N keys with those of the cache. In packed rows all but `columns`, `positions`, `kept` and
    `sees_image` have a row per sequence instead.

    Attributes:
        x: (B, M, d) embeddings of the new tokens, the learners' keys and values.
        x_visual: (B, m, d) those of the tokens `new_images`, zero where they are of text; None if there are none.
        x_textual: (B, M, d) those of all new tokens, zero where they are of pictures.
        is_image: (B, M, 1) boolean, true for tokens of pictures.
        cos: (B, M, 1, D / 2) rotary angles of the new tokens.
        sin: As cos.
        visual_bias: (B, N) 0 for keys of the visual wing, -inf for others.
        textual_bias: The same of the text wing.
        order: (B, N) int64, keys of the text wing first, for the label leak of the released code; else None.
        positions: (B, N) int64, position of each key in its sequence.
        columns: (B, N, 4) indicators of the groups of keys.
        kept: (B, N) boolean, false for padding; None if there is none.
        sees_image: (B, M) boolean, true for tokens that see a picture.
        packed: Places of sequences of packed rows; else None.
        past: Number of tokens in the cache.
        images: Keys from the first to the last one of a picture, in any row; None if there is none. Where gradients
            are wanted there is always one, so that every parameter gets its gradient in every process.
        inv_freq: (D / 2,) rotary frequencies.
        notes: What layers note on the way.
    """

    x: Tensor
    x_visual: Tensor | None
    x_textual: Tensor
    is_image: Tensor
    cos: Tensor
    sin: Tensor
    visual_bias: Tensor
    textual_bias: Tensor
    order: Tensor | None
    positions: Tensor
    columns: Tensor
    kept: Tensor | None
    sees_image: Tensor
    packed: Packed | None
    past: int
    images: slice | None
    inv_freq: Tensor
    notes: WingsNotes
    _angles: tuple[Tensor, Tensor] | None = None

    def rows(self, x: Tensor) -> Tensor:
        """(B, M, ...) with a row per sequence."""
        return x if self.packed is None else self.packed.unpack(x)

    @property
    def new_images(self) -> slice | None:
        """The new tokens of `images`, counted from the first new one."""
        return new_part(self.images, self.past)

    def all_angles(self) -> tuple[Tensor, Tensor]:
        """Rotary angles (B, N, 1, D / 2) of all keys."""
        if self._angles is None:
            self._angles = angles(self.positions, self.inv_freq, self.x.dtype)
        return self._angles

    def back(self, x: Tensor) -> Tensor:
        """The inverse of `rows`; padding of packed rows is zero."""
        return x if self.packed is None else self.packed.repack(x)


def wide(x: Tensor) -> torch.dtype:
    """Type of routers, masks and statistics: float32, float64 for float64."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def new_positions(
    new: int, past: int, kept: Tensor | None, position_ids: Tensor | None, packed: Packed | None, like: Tensor
) -> Tensor:
    """Positions (B, M) of the new tokens in their sequences: as given, else counted over tokens that are no padding."""
    if position_ids is not None:
        if position_ids.dim() != 2:
            raise ConfigError(
                f"wings need one position per token, the model gives {list(position_ids.shape)}: positions of several "
                "axes are not served"
            )
        return position_ids.expand(like.shape[0], -1)
    if packed is not None:
        return packed.positions()
    if kept is not None:
        return (kept.long().cumsum(-1) - 1).clamp(min=0)[:, -new:]
    return torch.arange(past, past + new, device=like.device).expand(like.shape[0], -1)


def group_columns(image: Tensor, kept: Tensor | None) -> Tensor:
    """Indicators (B, N, 4) of `GROUPS`: text before pictures, pictures, text between and after them."""
    text = ~image if kept is None else ~image & kept
    count = image.cumsum(-1)
    first, last = count == 0, count == count[:, -1:]
    return torch.stack([text & first, image, text & ~first & ~last, text & ~first & last], -1)


def build_state(
    x: Tensor,
    is_image: Tensor,
    config: WingsConfig,
    inv_freq: Tensor,
    *,
    attention_mask: Tensor | None,
    position_ids: Tensor | None,
    packed: Packed | None,
    past_positions: Tensor | None,
    past_image: Tensor | None,
) -> WingsState:
    """State of one forward pass.

    Args:
        x: (B, M, d) embeddings of the new tokens.
        is_image: (B, M) boolean, true for tokens of pictures.
        config: Settings.
        inv_freq: (D / 2,) rotary frequencies.
        attention_mask: (B, N) true where kept; None if nothing is padded.
        position_ids: (B, M) positions of the new tokens; None counts them.
        packed: Sequences of packed rows.
        past_positions: (B, N - M) positions of the cached tokens.
        past_image: (B, N - M) their kinds.

    Raises:
        ConfigError: Shapes do not fit, or a row is longer than the router's positions.
    """
    batch, new = x.shape[:2]
    past = 0 if past_positions is None else past_positions.shape[1]
    if is_image.shape != (batch, new) or is_image.dtype != torch.bool:
        raise ConfigError(
            f"is_image is {list(is_image.shape)} of {is_image.dtype}: give one boolean for each of the {batch} rows' "
            f"{new} new tokens"
        )
    kept = None
    if attention_mask is not None:
        if attention_mask.shape != (batch, past + new):
            raise ConfigError(
                f"attention_mask is {list(attention_mask.shape)}, wings need one value per row and key, "
                f"[{batch}, {past + new}]: 4-D masks are not served"
            )
        kept = attention_mask.bool()
    positions = new_positions(new, past, kept, position_ids, packed, x)
    if past_positions is not None and past_image is not None:
        all_positions = torch.cat([past_positions, positions], 1)
        image = torch.cat([past_image, is_image], 1)
    else:
        all_positions, image = positions, is_image
    if config.router == "position" and past + new > config.s_max and int(all_positions.max()) >= config.s_max:
        raise ConfigError(
            f"a row has {int(all_positions.max()) + 1} tokens, wings.s_max is {config.s_max}: raise wings.s_max, or "
            "use wings.router=mass"
        )
    real = torch.ones_like(is_image) if kept is None else kept[:, past:]
    kinds, key_positions, row_kept = is_image, all_positions, kept
    if packed is not None:
        x, image, positions = packed.unpack(x), packed.unpack(image), packed.unpack(positions)
        is_image, key_positions = image, positions
        row_kept = packed.kept if kept is None else packed.kept & packed.unpack(kept)
    if row_kept is not None:
        image = image & row_kept
    columns = group_columns(image, row_kept)
    text = ~image if row_kept is None else ~image & row_kept
    if config.text_key_start:
        late = key_positions >= config.text_key_start
        text = text & (late if config.text_key_rows == "all" else late | ~image.any(1, keepdim=True))
    sees = image.cumsum(1)[:, past:] > 0
    if config.visual_mask == "full":
        sees = image.any(1, keepdim=True).expand_as(sees)
    sees_image = sees if packed is None else packed.repack(sees.long()).bool()
    real = real if packed is None else real & packed.inside
    order = None
    if config.leak and new > 1:
        # The released code gathers the text keys and masks them by their number, not by their position.
        order = (~text).to(torch.int8).argsort(dim=1, stable=True)
        text = text.gather(1, order)
    dtype = wide(x)
    zero = torch.zeros((), dtype=dtype, device=x.device)
    cos, sin = angles(positions, inv_freq, x.dtype)
    columns = columns.to(dtype)
    images = image_range(image)
    new_images, of_picture = new_part(images, past), is_image.unsqueeze(-1)
    x_visual, x_textual = None, x
    if new_images is not None:
        x_visual = torch.where(of_picture[:, new_images], x[:, new_images], 0.0)
        x_textual = torch.where(of_picture, 0.0, x)
    return WingsState(
        x=x, x_visual=x_visual, x_textual=x_textual, is_image=of_picture, cos=cos, sin=sin,
        visual_bias=torch.where(image, zero, -torch.inf), textual_bias=torch.where(text, zero, -torch.inf),
        order=order, positions=all_positions, columns=columns if packed is None else packed.repack(columns), kept=kept,
        sees_image=sees_image, packed=packed, past=past,
        images=images, inv_freq=inv_freq, notes=WingsNotes(real, sees_image, kinds & real),
    )  # fmt: skip


def image_range(image: Tensor) -> slice | None:
    """Keys from the first to the last one that is of a picture in any row of (B, N); see `WingsState.images`."""
    found = image.any(0).nonzero().flatten()
    if len(found):
        first, last = found[[0, -1]].tolist()
        return slice(first, last + 1)
    return slice(image.shape[1] - 1, image.shape[1]) if torch.is_grad_enabled() else None


def new_part(images: slice | None, past: int) -> slice | None:
    """Part of a range of keys behind the `past` cached ones, counted from there; None if there is none."""
    if images is None or images.stop <= past:
        return None
    return slice(max(images.start - past, 0), images.stop - past)


def angles(positions: Tensor, inv_freq: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines (B, N, 1, D / 2) of rotary codes at positions (B, N)."""
    angle = (positions.to(inv_freq.dtype)[..., None] * inv_freq).unsqueeze(2)
    return angle.cos().to(dtype), angle.sin().to(dtype)
