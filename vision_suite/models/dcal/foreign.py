"""Files of other code that DCAL can start from, as tables of names.

SOLIDER's (tinyvision/SOLIDER) are those of DINO's training code: the teacher's network, timm's names behind
``backbone.``, beside a projection head that is left out. Its released files are of Swin networks, which have no class
token: DCAL reads its plain ViTs.

TransReID's names are facts of its public code (damo-cv/TransReID, ``model/make_model.py`` and
``model/backbones/vit_pytorch.py``).
"""

from __future__ import annotations

from vision_suite.layers.layouts import Layout, Tensors, timm_rows, with_registers

# The smaller ViT of TransReID scales its attention by the root of this width, not of a head's.
SCALED_BY, HEADS = 768, 8


def with_usual_scale(tensors: Tensors) -> Tensors:
    """TransReID's ``vit_small`` with the usual scale of attention: the difference goes into the queries' weights.

    It is TransReID's only ViT without biases of queries, keys and values; it has 8 heads.
    """
    if "base.blocks.0.attn.qkv.bias" in tensors:
        return tensors
    found = dict(tensors)
    for name, value in tensors.items():
        if name.endswith("attn.qkv.weight") and value.shape == (3 * SCALED_BY, SCALED_BY):
            scaled = value.clone()
            scaled[:SCALED_BY] *= (SCALED_BY / HEADS / SCALED_BY) ** 0.5
            found[name] = scaled
    return found


TRANSREID = Layout(
    "TransReID",
    anchor="base.cls_token",
    rows=(
        ("base.sie_embed", "side.table"),  # rows: cameras, views, or cameras times views
        ("b1.0.*", "vit.blocks.{last}.*"),  # with JPM, the global feature comes from this copy of the last block,
        ("b1.1.*", "vit.norm.*"),  # and of the norm; the base's own are not trained
        ("base.*", "vit.*"),
        ("bottleneck.*", "head.neck.*"),
        ("classifier.*", "head.classifier.*"),
        # Left out, having no counterpart: base.fc, and JPM's b2, bottleneck_1..4, classifier_1..4.
    ),
    prepare=with_usual_scale,
)
SOLIDER = Layout(
    "SOLIDER",
    anchor="backbone.cls_token",
    rows=tuple((f"backbone.{theirs}", ours) for theirs, ours in timm_rows("vit")),
)
TIMM = Layout(
    "timm",
    anchor="cls_token",
    rows=(*timm_rows("vit"), ("head.*", "head.classifier.*")),
    prepare=with_registers,
)
LAYOUTS = (TRANSREID, SOLIDER, TIMM)
