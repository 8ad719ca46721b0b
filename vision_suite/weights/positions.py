"""Position embeddings of a plain vision transformer, fitted to its picture size and its tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

Grid = tuple[int, int]
TOKENS = ("cls_token", "dist_token", "reg_token")  # in the order in which timm puts them before the patches


def vits_in(network: nn.Module) -> dict[str, VisionTransformer]:
    """The plain ViTs with position embeddings in a network, by prefix of their tensors' names."""
    return {
        f"{name}." if name else "": module
        for name, module in network.named_modules()
        if isinstance(module, VisionTransformer) and module.pos_embed is not None and module.cls_token is not None
    }


def fitted_positions(
    theirs: Mapping[str, Tensor], vit: VisionTransformer, settings: Mapping[str, Any]
) -> tuple[Tensor, str]:
    """Position embeddings for a ViT's own tokens and grid, and a note on what was changed.

    The embeddings of prefix tokens (class, distillation, registers) are kept by the kind of token; a kind that the file
    does not have keeps the ViT's own. The grid is resampled as timm does it: bicubic with antialiasing.

    Args:
        theirs: The file's tensors by their names in the ViT, ``pos_embed`` (1, P, D) among them.
        vit: The ViT.
        settings: Settings stored beside the weights, which may tell the picture size.

    Returns:
        (1, N, D) embeddings and the note, empty if the file's embeddings fit as they are.

    Raises:
        ValueError: The file's grid cannot be told, or its width is another; the message is the reason.
    """
    ours = vit.pos_embed
    assert ours is not None
    table = theirs["pos_embed"]
    if table.ndim != 3 or table.shape[-1] != ours.shape[-1]:
        raise ValueError(f"{shape_text(table)}, here {shape_text(ours)}")
    height, width = vit.patch_embed.grid_size
    grid: Grid = (height, width)
    kinds = _tokens({name: value.shape[1] for name, value in theirs.items() if name in TOKENS and value.ndim == 3})
    own_kinds = _tokens({name: value.shape[1] for name in TOKENS if (value := getattr(vit, name, None)) is not None})
    without = vit.no_embed_class
    old = known_grid(theirs.get("patch_embed.proj.weight"), settings)
    count = _patches(table.shape[1], len(kinds), without, [old] if old is not None else [grid])
    if count < 1:
        raise ValueError(f"{shape_text(table)} has no patches, here {shape_text(ours)}")
    if (count == table.shape[1]) != without:
        there, here = ("a position", "none") if without else ("no position", "one")
        raise ValueError(f"its class token has {there}, here it has {here}")
    if old is None or old[0] * old[1] != count:
        old = likely_grid(count, grid)
    patches = resample_abs_pos_embed(
        table[:, table.shape[1] - count :], list(grid), list(old), num_prefix_tokens=0, interpolation="bicubic"
    )
    note = "" if old == grid else f"resized from {old[0]}x{old[1]} to {grid[0]}x{grid[1]}"
    if without:
        return patches, note
    rows = dict(zip(kinds, table[0], strict=False))
    prefix = [rows.get(kind, ours.detach()[0, index]) for index, kind in enumerate(own_kinds)]
    return torch.cat([torch.stack([row.to(table) for row in prefix])[None], patches], dim=1), note


def _tokens(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Kind and number of every prefix token, in order."""
    return [(name, number) for name in TOKENS for number in range(counts.get(name, 0))]


def _patches(rows: int, tokens: int, without: bool, grids: Sequence[Grid]) -> int:
    """Number of patches among the rows of a table: a file may have positions for its prefix tokens or not.

    Args:
        rows: Rows of the table.
        tokens: Prefix tokens of the file.
        without: True if the ViT has no positions for its own, which makes that reading the likelier one.
        grids: Grids that the patches may have; a square is always possible.
    """
    choices = [rows, rows - tokens] if without else [rows - tokens, rows]
    sizes = {height * width for height, width in grids}
    fits = [count for count in choices if count > 0 and (count in sizes or math.isqrt(count) ** 2 == count)]
    return [*fits, *choices][0]


def known_grid(kernel: Tensor | None, settings: Mapping[str, Any]) -> Grid | None:
    """Grid of patches by the picture size and stride in the settings beside the weights, None if they do not tell."""
    size, stride = settings.get("image_size"), settings.get("patch_stride")
    if kernel is None or kernel.ndim != 4 or not isinstance(size, list | tuple) or len(size) != 2:
        return None
    if not all(isinstance(value, int) for value in (*size, stride or 0)):
        return None
    steps = [stride or side for side in kernel.shape[-2:]]
    height, width = ((pixels - side) // step + 1
                     for pixels, side, step in zip(size, kernel.shape[-2:], steps, strict=True))  # fmt: skip
    return height, width


def likely_grid(count: int, like: Grid) -> Grid:
    """Grid of a number of patches: that of the network, else a square, else the one most like the network's in shape.

    Raises:
        ValueError: Two grids are equally like it.
    """
    side = math.isqrt(count)
    if count == like[0] * like[1]:
        return like
    if side * side == count:
        return side, side
    grids = [(height, count // height) for height in range(1, count + 1) if count % height == 0]
    aspect = math.log(like[0] / like[1])
    ranked = sorted(grids, key=lambda grid: abs(math.log(grid[0] / grid[1]) - aspect))
    first, second = (abs(math.log(grid[0] / grid[1]) - aspect) for grid in ranked[:2])
    if math.isclose(first, second):
        one, two = (f"{height}x{width}" for height, width in ranked[:2])
        raise ValueError(f"its {count} positions can be a grid of {one} or {two}: train at the file's picture size")
    return ranked[0]


def shape_text(tensor: Tensor) -> str:
    """Sizes of a tensor, such as ``384x3x16x16``."""
    return "x".join(map(str, tensor.shape)) or "a number"
