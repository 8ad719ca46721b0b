"""The DCAL network: self-attention, global-local and pair-wise branches over one plain ViT."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_suite.errors import ConfigError
from vision_suite.layers.vit import (
    attend_full,
    attention_of,
    blocks_of,
    create_vit,
    embed_tokens,
    finish_block,
    first_rows,
    project_qkv,
)
from vision_suite.models.dcal.glca import GLCA, Candidates, Readout, Rounding, num_local_queries, select_queries
from vision_suite.models.dcal.heads import BranchHead, Classifier
from vision_suite.models.dcal.outputs import Branch, DCALOutput
from vision_suite.models.dcal.pwca import pair_view, partner_stream
from vision_suite.models.dcal.side import SideEmbedding, SideInformation
from vision_suite.ops.attention import compiled
from vision_suite.ops.pairing import Partner, draw_pairs, draw_share, random_partner
from vision_suite.ops.rollout import HeadFusion, attention_rollout, rollout_from_maps

Task = Literal["reid", "fgvc"]


class _Trace(NamedTuple):
    """What a pass through the backbone leaves for the other branches; lists of what nobody reads are shorter or empty.

    ``inputs``: tokens (B, N, C) before each block and after the last. ``queries``, ``keys``, ``values``: (B, H, N, D).
    ``lses``: (B, H, N) log-sum-exps. ``maps``: (B, N, N) probabilities averaged over heads.
    """

    inputs: list[Tensor]
    queries: list[Tensor]
    keys: list[Tensor]
    values: list[Tensor]
    lses: list[Tensor]
    maps: list[Tensor]


class DCAL(nn.Module):
    """Dual cross-attention learning (Zhu et al., CVPR 2022).

    The paper leaves fourteen points open; each is an argument here, named D1 to D14 in `docs/dcal.md`, and the default
    is the reading that its reported costs and ablations support.

    Args:
        num_classes: Number of training classes or identities C.
        task: ``reid`` (BNNeck, features fused by concatenation) or ``fgvc`` (class probabilities fused).
        backbone: timm name of a plain ViT or DeiT, or one of the suite's own (``vit_micro_conv8_64``).
        image_size: Picture height and width in pixels.
        pretrained: Start from timm's weights.
        backbone_args: Further arguments of the timm constructor, such as ``depth`` or ``embed_dim``.
        drop_path: Stochastic depth rate of the last block.
        patch_stride: Stride of the patch embedding; below the patch size, patches overlap.
        glca: Switch the global-local branch on.
        glca_ratio: Share of the patches taken as local queries (paper: 0.1 fine-grained, 0.3 re-ID).
        glca_rounding: How ratio times patches becomes a count (D4).
        glca_candidates: Whether the class token is added to the best R patches or is one of the best R tokens (D3).
        glca_input: Tokens the branch starts from: after the last block, or before it (D5).
        glca_all_rows: Feed-forward on all rows between global-local blocks instead of the selected ones (D6).
        glca_readout: What is read out of the 1 + R rows (D7); ``cls`` takes the fast path without rollout.
        glca_copy: Start the branch from the backbone's last block and norm (D8).
        glca_blocks: Number M of global-local blocks.
        rollout_heads: How heads are fused in the rollout (D1).
        rollout_depth: Number of newest blocks the rollout goes through; 0 means all (D2).
        pwca: Switch the pair-wise branch on (training only).
        pwca_partner: How partners are drawn (D9): ``any`` random perfect matching, ``inter`` or ``intra`` matching of
            different or equal labels, ``uniform`` any other image, each on its own.
        pwca_stream: Where the partner's keys come from: its pair-wise stream or its self-attention stream (D10).
        pwca_head: ``shared`` final norm and classifier with self-attention, or its ``own`` (D11).
        pwca_blocks: Number T of newest blocks that are pair-wise; 0 means all. Older blocks are shared with the
            self-attention stream and cost nothing.
        pwca_share: Share of the batch that is paired in a step, drawn anew each time: the same loss in expectation for
            that share of the branch's cost.
        fgvc_fusion: Fuse classes by adding probabilities, or logits (D12).
        reid_fusion: Concatenate raw features, or each normalised first (D13).
        glca_scale: Weight of the global-local half in the fused result (D14).
        neck_feature: Take the retrieval feature before or after the BNNeck.
        neck: Put a BNNeck in front of the re-ID classifier.
        classifier: ``linear`` or ``cosine``.
        cosine_scale: Factor on cosine logits.
        side_information: Learnt embedding of camera and view added to all tokens before the first block (TransReID);
            pictures of an unknown camera or view take the average embedding.
        side_scale: Factor on that embedding (TransReID: 3.0).
        num_cameras: Number of cameras, for side information.
        num_views: Number of views, for side information.

    Raises:
        ConfigError: If the backbone isn't a plain ViT with a class token, or switches contradict each other.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        task: Task = "reid",
        backbone: str = "deit_small_patch16_224",
        image_size: tuple[int, int] = (256, 128),
        pretrained: bool = False,
        backbone_args: dict[str, Any] | None = None,
        drop_path: float = 0.1,
        patch_stride: int | None = None,
        glca: bool = True,
        glca_ratio: float = 0.3,
        glca_rounding: Rounding = "floor",
        glca_candidates: Candidates = "patches",
        glca_input: Literal["last", "parallel"] = "last",
        glca_all_rows: bool = False,
        glca_readout: Readout = "mean",
        glca_copy: bool = True,
        glca_blocks: int = 1,
        rollout_heads: HeadFusion = "mean",
        rollout_depth: int = 0,
        pwca: bool = True,
        pwca_partner: Partner = "any",
        pwca_stream: Literal["pwca", "sa"] = "pwca",
        pwca_head: Literal["shared", "own"] = "shared",
        pwca_blocks: int = 0,
        pwca_share: float = 1.0,
        fgvc_fusion: Literal["probability", "logit"] = "probability",
        reid_fusion: Literal["concat", "normalized"] = "concat",
        glca_scale: float = 1.0,
        neck_feature: Literal["before", "after"] = "before",
        neck: bool = True,
        classifier: Classifier = "linear",
        cosine_scale: float = 16.0,
        side_information: SideInformation = "none",
        side_scale: float = 3.0,
        num_cameras: int = 0,
        num_views: int = 0,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ConfigError(f"num_classes={num_classes}: give the number of training classes, at least 1")
        if not 0 < glca_ratio <= 1:
            raise ConfigError(f"glca_ratio={glca_ratio} must lie in (0, 1]: it is the share of patches that ask again")
        if not 0 < pwca_share <= 1:
            raise ConfigError(f"pwca_share={pwca_share} must lie in (0, 1]: use pwca=false to switch the branch off")
        self.image_size: tuple[int, int] = (image_size[0], image_size[1])
        self.vit = create_vit(
            backbone, image_size=self.image_size, pretrained=pretrained, drop_path=drop_path, patch_stride=patch_stride,
            **(backbone_args or {}),
        )  # fmt: skip
        depth, width = len(self.vit.blocks), self.vit.embed_dim
        for name, value in (("rollout_depth", rollout_depth), ("pwca_blocks", pwca_blocks)):
            if not 0 <= value <= depth:
                raise ConfigError(f"{name}={value}: the backbone has {depth} blocks, give 1 to {depth}, or 0 for all")
        if glca_blocks < 1:
            raise ConfigError(f"glca_blocks={glca_blocks} must be at least 1: use glca=false to switch the branch off")
        self.task, self.num_classes = task, num_classes
        self.prefix: int = self.vit.num_prefix_tokens
        grid = self.vit.patch_embed.grid_size
        self.grid_size: tuple[int, int] = (grid[0], grid[1])
        self.feature_dim = 2 * width if glca else width
        self.num_queries = num_local_queries(glca_ratio, grid[0] * grid[1], glca_rounding)
        if glca and glca_readout == "cls+local" and glca_candidates == "tokens" and self.num_queries < 2:
            raise ConfigError(
                f"glca_ratio={glca_ratio} of {grid[0] * grid[1]} patches leaves the class token alone, and "
                "glca_readout='cls+local' nothing local to read: raise glca_ratio, or use glca_candidates='patches'"
            )
        self.glca_candidates, self.glca_input = glca_candidates, glca_input
        self.rollout_heads, self.rollout_depth = rollout_heads, rollout_depth or depth
        self.use_pwca, self.pwca_partner, self.pwca_stream = pwca, pwca_partner, pwca_stream
        self.pwca_blocks, self.pwca_share = pwca_blocks or depth, pwca_share
        self.fgvc_fusion, self.reid_fusion, self.glca_scale = fgvc_fusion, reid_fusion, glca_scale
        self.neck_feature = neck_feature

        def head() -> BranchHead:
            reid = task == "reid"
            return BranchHead(
                width, num_classes, neck=reid and neck, bias=not reid, classifier=classifier, cosine_scale=cosine_scale,
                std=0.001 if reid else 0.02,
            )  # fmt: skip

        self.head = head()
        self.glca = (
            GLCA(
                self.vit, blocks=glca_blocks, readout=glca_readout, all_rows=glca_all_rows, copy_weights=glca_copy
            )
            if glca
            else None
        )  # fmt: skip
        self.glca_head = head() if glca else None
        self.pwca_head = head() if pwca and pwca_head == "own" else None
        self.side = SideEmbedding(side_information, num_cameras, num_views, width, side_scale)

    def forward(
        self,
        image: Tensor,
        *,
        camera: Tensor | None = None,
        view: Tensor | None = None,
        label: Tensor | None = None,
        need_rollout: bool = False,
    ) -> DCALOutput:
        """All branches of a batch.

        Args:
            image: (B, 3, H, W) floating point, normalised.
            camera: (B,) int64 0-based cameras, with side information.
            view: (B,) int64 0-based views, with side information.
            label: (B,) int64 labels, for label-aware partners.
            need_rollout: Give the rollout even where the read-out doesn't need it.

        Returns:
            The branches; the pair-wise one only in training mode.
        """
        x = self.side(embed_tokens(self.vit, image), camera, view)
        select = self.glca is not None and self.glca.needs_selection
        pair = self.training and self.use_pwca
        trace = self._self_attention(x, rollout=select or need_rollout, picture=need_rollout, pair=pair)
        sa = self.head(self.vit.norm(trace.inputs[-1][:, 0]))
        rollout = selected = glca = pwca = pwca_rows = None
        depth = self.rollout_depth
        if trace.maps:
            rollout = rollout_from_maps(trace.maps[-depth:])
        elif trace.queries:
            rollout = attention_rollout(
                trace.queries[-depth:], trace.keys[-depth:], trace.lses[-depth:] or None, head_fusion=self.rollout_heads
            )
        if self.glca is not None and self.glca_head is not None:
            if select and rollout is not None:
                selected = select_queries(rollout, self.num_queries, self.prefix, self.glca_candidates)
            rows = first_rows(len(image), [0], image.device) if selected is None else selected
            source = trace.inputs[-1 if self.glca_input == "last" else -2]
            glca = self.glca_head(self.glca(source, rows))
        if pair:
            if self.pwca_share < 1:
                pwca_rows = draw_share(len(image), self.pwca_share, labels=label, device=image.device)
            pwca = self._pair_wise(trace, label, pwca_rows)
        rollout = None if rollout is None else rollout[:, self.prefix :]
        return DCALOutput(sa, glca, pwca, rollout, selected, pwca_rows)

    def _self_attention(self, x: Tensor, *, rollout: bool, pair: bool, picture: bool = False) -> _Trace:
        """Run the backbone's blocks and keep what the other branches read, not more: in evaluation it is the memory.

        ``picture``: the rollout will be looked at, so maps are taken in passing where that is nearly free.
        """
        trace = _Trace([x], [], [], [], [], [])
        for block in blocks_of(self.vit):
            hidden, attn = block.norm1(x), attention_of(block)
            query, key, value = project_qkv(attn, hidden)
            # Statistics of a pass come from the compiled kernels only, and never under dropout.
            free = (
                rollout
                and self.rollout_heads == "mean"
                and compiled(query)
                and not (attn.training and attn.attn_drop.p)
            )
            by_map = free and picture and not self.training
            result = attend_full(
                attn, query, key, value, ("out", "mean_map" if by_map else "lse") if free else ("out",)
            )
            assert result.out is not None
            x = finish_block(block, x, hidden, result.out)
            trace.inputs.append(x)
            if not pair:
                del trace.inputs[:-2]
            if rollout and not by_map:
                trace.queries.append(query)
            if (rollout and not by_map) or (pair and self.pwca_stream == "sa"):
                trace.keys.append(key)
            if pair and self.pwca_stream == "sa":
                trace.values.append(value)
            if result.lse is not None:
                trace.lses.append(result.lse)
            if result.mean_map is not None:
                trace.maps.append(result.mean_map)
        return trace

    def _pair_wise(self, trace: _Trace, label: Tensor | None, rows: Tensor | None) -> Branch:
        blocks, x = blocks_of(self.vit)[-self.pwca_blocks :], trace.inputs[-1 - self.pwca_blocks]
        if rows is not None:
            x, label = x[rows], None if label is None else label[rows]
        if self.pwca_partner == "uniform":
            order, inverse, partner = None, None, random_partner(len(x), x.device)
        else:
            order, inverse = draw_pairs(len(x), partner=self.pwca_partner, labels=label, device=x.device)
            partner = order.view(-1, 2).flip(1).flatten()[inverse]
        if order is not None and inverse is not None and self.pwca_stream == "pwca":
            cls = pair_view(blocks, x, order)[inverse]
        else:
            kept = None
            if self.pwca_stream == "sa":
                kept = list(zip(trace.keys, trace.values, strict=True))[-self.pwca_blocks :]
                if rows is not None:
                    kept = [(key[rows], value[rows]) for key, value in kept]
            cls = partner_stream(blocks, x, partner, kept)[:, 0]
        head = self.head if self.pwca_head is None else self.pwca_head
        branch: Branch = head(self.vit.norm(cls), update_statistics=self.pwca_head is not None)
        return branch

    def embeddings(self, output: DCALOutput) -> Tensor:
        """Retrieval features (B, D or 2 D) at least float32, self-attention half first, not normalised as a whole."""
        halves = []
        for branch in (output.sa, output.glca):
            if branch is not None:
                half = branch.feature if self.neck_feature == "before" else branch.neck
                half = half.to(torch.promote_types(half.dtype, torch.float32))
                halves.append(F.normalize(half) if self.reid_fusion == "normalized" else half)
        if len(halves) == 2:
            halves[1] = self.glca_scale * halves[1]
        return torch.cat(halves, dim=1)

    def probabilities(self, output: DCALOutput) -> Tensor:
        """Fused class probabilities (B, C), at least float32, each row summing to one."""
        logits = [b.logits.to(torch.promote_types(b.logits.dtype, torch.float32)) for b in output[:2] if b is not None]
        weights = [1.0, self.glca_scale][: len(logits)]
        if self.fgvc_fusion == "logit":
            return sum((w * z for w, z in zip(weights, logits, strict=True)), torch.zeros_like(logits[0])).softmax(1)
        summed = sum((w * z.softmax(1) for w, z in zip(weights, logits, strict=True)), torch.zeros_like(logits[0]))
        return summed / sum(weights)

    def inference(self, image: Tensor) -> dict[str, Tensor]:
        """What a user of the trained network wants, as plain tensors; the graph that export writes.

        Args:
            image: (B, 3, H, W), normalised.

        Returns:
            ``feature`` (B, D or 2 D) of unit length, ``rollout`` (B, h, w) attention over the patch grid, and, for
            classification, ``probability`` (B, C).
        """
        output = self(image, need_rollout=True)
        assert output.rollout is not None
        result = {
            "feature": F.normalize(self.embeddings(output)),
            "rollout": output.rollout.unflatten(1, self.grid_size),
        }
        if self.task == "fgvc":
            result["probability"] = self.probabilities(output)
        return result
