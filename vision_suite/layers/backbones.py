"""Small vision transformers of the suite's own, registered with timm so that they are built by name like any other."""

from __future__ import annotations

from typing import Any

from timm.layers.hybrid_embed import HybridEmbed
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_hybrid import ConvStem
from torch import nn


class _ConvEmbed(HybridEmbed):
    """Four convolutions of stride 8 in all, instead of the linear patch embedding (Xiao et al., NeurIPS 2021)."""

    def __init__(
        self,
        img_size: int | tuple[int, int] = 64,
        patch_size: object = 8,
        in_chans: int = 3,
        embed_dim: int = 128,
        **_: object,
    ) -> None:
        channels = (embed_dim // 4, embed_dim // 2, embed_dim, embed_dim)
        stem = ConvStem(in_chans, depth=4, channels=channels, stride=(2, 2, 2, 1), act_layer=nn.ReLU)
        super().__init__(stem, img_size=img_size, patch_size=1, in_chans=in_chans, embed_dim=embed_dim, proj=False)


@register_model
def vit_micro_conv8_64(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """A 0.8 M parameter ViT for 64-pixel pictures on a CPU: convolution stem of stride 8, 3 blocks of width 128."""
    if pretrained:
        raise RuntimeError("vit_micro_conv8_64 has no pretrained weights: leave pretrained off")
    kwargs.pop("pretrained_cfg", None)
    kwargs.pop("pretrained_cfg_overlay", None)
    kwargs.pop("cache_dir", None)
    kwargs.pop("features_only", None)
    settings: dict[str, Any] = {
        "img_size": 64, "patch_size": 8, "embed_dim": 128, "depth": 3, "num_heads": 4, "embed_layer": _ConvEmbed,
    }  # fmt: skip
    return VisionTransformer(**{**settings, **kwargs})
