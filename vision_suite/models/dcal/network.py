"""The DCAL network: self-attention, global-local and pair-wise branches over one plain ViT."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_suite.errors import ConfigError
from vision_suite.layers.layouts import Layout
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
from vision_suite.models.dcal.foreign import LAYOUTS
from vision_suite.models.dcal.glca import GLCA, num_local_queries, select_queries
from vision_suite.models.dcal.heads import BranchHead
from vision_suite.models.dcal.outputs import Branch, DCALOutput, Trace
from vision_suite.models.dcal.pwca import pair_view, partner_stream
from vision_suite.models.dcal.settings import FusionConfig, GLCAConfig, HeadConfig, PWCAConfig, SideConfig
from vision_suite.models.dcal.side import SideEmbedding
from vision_suite.ops.attention import compiled
from vision_suite.ops.pairing import draw_pairs, draw_share, random_partner
from vision_suite.ops.rollout import attention_rollout, rollout_from_maps
from vision_suite.records import as_record
from vision_suite.renamed import takes_old_names

Task = Literal["reid", "fgvc"]


class DCAL(nn.Module):
    """Dual cross-attention learning (Zhu et al., CVPR 2022).

    The paper leaves fourteen points open; each is a setting of a record, named D1 to D14 in `docs/dcal.md`, and the
    default is the reading that its reported costs and ablations support. A record may be given as a mapping too.

    Args:
        num_classes: Number of training classes or identities C.
        task: ``reid`` (BNNeck, features fused by concatenation) or ``fgvc`` (class probabilities fused).
        backbone: timm name of a plain ViT or DeiT, or one of the suite's own (``vit_micro_conv8_64``). In training also
            an entry of the hub (``hub:NAME``, ``local-dir:PATH``, ``hf-hub:ORG/NAME``), whose weights it starts with.
        image_size: Picture height and width in pixels.
        pretrained: Start from timm's weights.
        backbone_args: Further arguments of the timm constructor, such as ``depth`` or ``embed_dim``.
        drop_path: Stochastic depth rate of the last block.
        patch_stride: Stride of the patch embedding; below the patch size, patches overlap.
        glca: Global-local branch and rollout.
        pwca: Pair-wise branch.
        head: Neck and classifier of each branch.
        fusion: Fusion of the branches at inference.
        side: Camera and view embedding.
        num_cameras: Number of cameras, for side information.
        num_views: Number of views, for side information.

    Raises:
        ConfigError: If the backbone isn't a plain ViT with a class token, or switches contradict each other.
    """

    layouts: ClassVar[tuple[Layout, ...]] = LAYOUTS

    @takes_old_names
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
        glca: GLCAConfig = GLCAConfig(),  # noqa: B008  (a plain record, never changed)
        pwca: PWCAConfig = PWCAConfig(),  # noqa: B008
        head: HeadConfig = HeadConfig(),  # noqa: B008
        fusion: FusionConfig = FusionConfig(),  # noqa: B008
        side: SideConfig = SideConfig(),  # noqa: B008
        num_cameras: int = 0,
        num_views: int = 0,
    ) -> None:
        super().__init__()
        glca, pwca = as_record(GLCAConfig, glca, "glca"), as_record(PWCAConfig, pwca, "pwca")
        head, side = as_record(HeadConfig, head, "head"), as_record(SideConfig, side, "side")
        if num_classes < 1:
            raise ConfigError(f"num_classes={num_classes}: give the number of training classes, at least 1")
        self.task, self.num_classes = task, num_classes
        self.image_size: tuple[int, int] = (image_size[0], image_size[1])
        self.vit = create_vit(
            backbone, image_size=self.image_size, pretrained=pretrained, drop_path=drop_path, patch_stride=patch_stride,
            **(backbone_args or {}),
        )  # fmt: skip
        depth, width = len(self.vit.blocks), self.vit.embed_dim
        for name, value in (("glca.rollout_depth", glca.rollout_depth), ("pwca.blocks", pwca.blocks)):
            if not 0 <= value <= depth:
                raise ConfigError(f"{name}={value}: the backbone has {depth} blocks, give 1 to {depth}, or 0 for all")
        self.prefix: int = self.vit.num_prefix_tokens
        grid = self.vit.patch_embed.grid_size
        self.grid_size: tuple[int, int] = (grid[0], grid[1])
        self.feature_dim = 2 * width if glca.enabled else width
        self.num_queries = num_local_queries(glca.ratio, grid[0] * grid[1], glca.rounding)
        if glca.enabled and glca.readout == "cls+local" and glca.candidates == "tokens" and self.num_queries < 2:
            raise ConfigError(
                f"glca.ratio={glca.ratio} of {grid[0] * grid[1]} patches leaves the class token alone, and "
                "glca.readout='cls+local' nothing local to read: raise glca.ratio, or use glca.candidates='patches'"
            )
        self.glca_candidates, self.glca_input = glca.candidates, glca.input
        self.rollout_heads, self.rollout_depth = glca.rollout_heads, glca.rollout_depth or depth
        self.use_pwca, self.pwca_partner, self.pwca_stream = pwca.enabled, pwca.partner, pwca.stream
        self.pwca_blocks, self.pwca_share = pwca.blocks or depth, pwca.share
        self.fusion = as_record(FusionConfig, fusion, "fusion")
        self.head = self._branch_head(width, head)
        self.glca = (
            GLCA(self.vit, blocks=glca.blocks, readout=glca.readout, all_rows=glca.all_rows, copy_weights=glca.copy)
            if glca.enabled
            else None
        )
        self.glca_head = self._branch_head(width, head) if glca.enabled else None
        # What starting from a file copies again where the file has no branch of its own (D8).
        self.copies: dict[str, str] = {} if self.glca is None or not glca.copy else self.glca.sources(depth - 1)
        self.pwca_head = self._branch_head(width, head) if pwca.enabled and pwca.head == "own" else None
        self.side = SideEmbedding(side.information, num_cameras, num_views, width, side.scale)

    def _branch_head(self, width: int, head: HeadConfig) -> BranchHead:
        reid = self.task == "reid"
        return BranchHead(
            width, self.num_classes, neck=reid and head.neck, bias=not reid, classifier=head.classifier,
            cosine_scale=head.cosine_scale, std=0.001 if reid else 0.02,
        )  # fmt: skip

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

    def _self_attention(self, x: Tensor, *, rollout: bool, pair: bool, picture: bool = False) -> Trace:
        """Run the backbone's blocks and keep what the other branches read, not more: in evaluation it is the memory.

        Args:
            x: Tokens (B, N, C) before the first block.
            rollout: Keep what the rollout reads.
            pair: Keep what the pair-wise branch reads.
            picture: The rollout is drawn, so maps are taken in passing where that is nearly free.
        """
        trace = Trace([x], [], [], [], [], [])
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

    def _pair_wise(self, trace: Trace, label: Tensor | None, rows: Tensor | None) -> Branch:
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
                half = branch.feature if self.fusion.neck_feature == "before" else branch.neck
                half = half.to(torch.promote_types(half.dtype, torch.float32))
                halves.append(F.normalize(half) if self.fusion.reid == "normalized" else half)
        if len(halves) == 2:
            halves[1] = self.fusion.glca_scale * halves[1]
        return torch.cat(halves, dim=1)

    def probabilities(self, output: DCALOutput) -> Tensor:
        """Fused class probabilities (B, C), at least float32, each row summing to one."""
        logits = [b.logits.to(torch.promote_types(b.logits.dtype, torch.float32)) for b in output[:2] if b is not None]
        weights = [1.0, self.fusion.glca_scale][: len(logits)]
        if self.fusion.fgvc == "logit":
            return sum((w * z for w, z in zip(weights, logits, strict=True)), torch.zeros_like(logits[0])).softmax(1)
        summed = sum((w * z.softmax(1) for w, z in zip(weights, logits, strict=True)), torch.zeros_like(logits[0]))
        return summed / sum(weights)

    def inference(self, image: Tensor, flip: bool = False) -> dict[str, Tensor]:
        """Outputs for a user of the trained network, as plain tensors; the graph that export writes.

        Args:
            image: (B, 3, H, W), normalised.
            flip: Average the feature with that of the mirror image, before both are normalised.

        Returns:
            ``feature`` (B, D or 2 D) of unit length, ``rollout`` (B, h, w) attention over the patch grid, and, for
            classification, ``probability`` (B, C).
        """
        output = self(image, need_rollout=True)
        assert output.rollout is not None
        feature = self.embeddings(output)
        if flip:
            feature = (feature + self.embeddings(self(image.flip(-1)))) / 2
        result = {
            "feature": F.normalize(feature),
            "rollout": output.rollout.unflatten(1, self.grid_size),
        }
        if self.task == "fgvc":
            result["probability"] = self.probabilities(output)
        return result
