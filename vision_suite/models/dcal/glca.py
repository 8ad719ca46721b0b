"""Global-local cross-attention: the most attended patches ask again, against all tokens (DCAL eq. 3)."""

from __future__ import annotations

import copy
import math
from typing import Literal, cast

import torch
from timm.layers.layer_scale import LayerScale
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from vision_suite.layers.vit import block_rows, blocks_of, first_rows

Readout = Literal["mean", "cls", "cls+local"]
Rounding = Literal["floor", "round", "ceil"]
Candidates = Literal["patches", "tokens"]


def num_local_queries(ratio: float, patches: int, rounding: Rounding = "floor") -> int:
    """Number R of local queries among the patches, at least 1 and at most all.

    The product is nudged before rounding because a float product can fall just short of a whole number (0.29 * 100).
    """
    exact = ratio * patches
    count = {
        "floor": math.floor(exact + 1e-6),
        "round": math.floor(exact + 0.5 + 1e-6),
        "ceil": math.ceil(exact - 1e-6),
    }[rounding]
    return min(max(count, 1), patches)


def select_queries(rollout: Tensor, count: int, prefix: int, candidates: Candidates = "patches") -> Tensor:
    """Token numbers of the global-local queries, class token first.

    Args:
        rollout: (B, N) accumulated weights of the class token over all tokens.
        count: Number R of local queries.
        prefix: Number of tokens before the first patch (class, distillation, registers).
        candidates: ``patches``: the class token and the best R patches; ``tokens``: the best R of all tokens, the class
            token always one of them.

    Returns:
        (B, 1 + R) int64 for ``patches``, (B, R) for ``tokens``.
    """
    batch = rollout.shape[0]
    cls = first_rows(batch, [0], rollout.device)
    first, best = (prefix, count) if candidates == "patches" else (1, count - 1)
    local = rollout[:, first:].topk(best, dim=1).indices + first
    return torch.cat([cls, local], dim=1)


class GLCA(nn.Module):
    """Global-local cross-attention branch, from the last block's input tokens to one feature per image.

    A full transformer block of its own: queries and feed-forward on the selected rows only, keys and values from all
    tokens, a final norm of its own. That reading alone gives the parameter and FLOP overheads the paper reports.

    Args:
        vit: The backbone whose last block and final norm are copied (weights not shared).
        blocks: Number M of blocks; before a further block the selected rows return among the others.
        readout: ``mean`` over the 1 + R rows, ``cls`` (the paper's words; with one block the selection then has no
            effect at all), or ``cls+local``: half the class row, half the mean of the local rows.
        all_rows: Let the feed-forward run on every row between blocks, not just on the selected ones. No effect on the
            result of the last block, whose read-out sees selected rows only.
        copy_weights: Start from the backbone's last block and norm; else from a fresh initialisation.
    """

    def __init__(
        self, vit: VisionTransformer, *, blocks: int = 1, readout: Readout = "mean", all_rows: bool = False,
        copy_weights: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.blocks = nn.ModuleList(copy.deepcopy(blocks_of(vit)[-1]) for _ in range(blocks))
        self.norm = copy.deepcopy(vit.norm)
        self.readout = readout
        self.all_rows = all_rows
        if not copy_weights:
            for module in self.modules():
                if isinstance(module, nn.LayerNorm | LayerScale):
                    module.reset_parameters()
                elif isinstance(module, nn.Linear):
                    nn.init.trunc_normal_(module.weight, std=0.02)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)

    @property
    def needs_selection(self) -> bool:
        """True if the selected rows can change the feature.

        In one block each row depends on its own query alone, so a class-token read-out makes the selection dead code.
        """
        return self.readout != "cls" or len(self.blocks) > 1

    def sources(self, last: int) -> dict[str, str]:
        """Name of the backbone's tensor that each of the branch's is a copy of, both as the network names them.

        Args:
            last: Number of the backbone's last block.
        """
        found = {}
        for name in self.state_dict():
            part, _, rest = name.partition(".")
            found[f"glca.{name}"] = (
                f"vit.norm.{rest}" if part == "norm" else f"vit.blocks.{last}.{rest.partition('.')[2]}"
            )
        return found

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        """Feature (B, D) of tokens (B, N, D) and query rows (B, 1 + R) int64, class token first."""
        for number, module in enumerate(self.blocks):
            block = cast(Block, module)
            rows = block_rows(block, x, index)
            if number + 1 < len(self.blocks):
                x = self._return_rows(block, x, rows, index)
        z: Tensor = self.norm(rows)
        if self.readout == "cls":
            return z[:, 0]
        if self.readout == "mean":
            return z.mean(1)
        return 0.5 * (z[:, 0] + z[:, 1:].mean(1))

    def _return_rows(self, block: Block, x: Tensor, rows: Tensor, index: Tensor) -> Tensor:
        if self.all_rows:
            x = x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
        return x.scatter(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]), rows.to(x.dtype))
