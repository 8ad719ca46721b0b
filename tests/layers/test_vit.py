"""A timm ViT called in pieces: the same numbers as timm's own forward, for every part it may have; refusals."""

import pytest
import timm
import torch
from timm.layers.attention import Attention
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.vision_transformer import ResPostBlock

from vision_suite.errors import ConfigError
from vision_suite.layers.vit import (
    attend,
    attention_of,
    block_rows,
    blocks_of,
    create_vit,
    embed_tokens,
    finish_block,
    gather_rows,
    project_qkv,
    project_rows,
    run_block,
)

SMALL = {"depth": 2, "embed_dim": 32, "num_heads": 2}
VARIANTS = {
    "plain": ("vit_tiny_patch16_224", {}, 1),
    "distilled": ("deit_tiny_distilled_patch16_224", {}, 2),
    "registers": ("vit_tiny_patch16_224", {"reg_tokens": 4}, 5),
    "tokens without position": ("vit_tiny_patch16_224", {"no_embed_class": True, "reg_tokens": 1}, 2),
    "layer scale": ("vit_tiny_patch16_224", {"init_values": 0.3}, 1),
    "normed queries and keys": ("vit_tiny_patch16_224", {"qk_norm": True}, 1),
    "normed attention output": ("vit_tiny_patch16_224", {"scale_attn_norm": True}, 1),
    "norm before": ("vit_tiny_patch16_224", {"pre_norm": True}, 1),
    "no bias": ("vit_tiny_patch16_224", {"qkv_bias": False}, 1),
    "own": ("vit_micro_conv8_64", {}, 1),
}


def build(variant, image_size=(48, 32), **more):
    name, extra, prefix = VARIANTS[variant]
    torch.manual_seed(0)
    vit = create_vit(name, image_size=image_size, **SMALL, **extra, **more).double()
    for parameter in vit.parameters():  # away from zeros and ones, which hide mistakes
        parameter.data += 0.1 * torch.randn_like(parameter)
    assert vit.num_prefix_tokens == prefix
    return vit


def in_pieces(vit, image):
    x = embed_tokens(vit, image)
    for block in blocks_of(vit):
        hidden, attn = block.norm1(x), attention_of(block)
        x = finish_block(block, x, hidden, attend(attn, *project_qkv(attn, hidden)))
    return vit.norm(x)


@pytest.mark.parametrize("variant", VARIANTS)
def test_pieces_equal_timm(variant):
    vit = build(variant)
    image = torch.randn(2, 3, 48, 32, dtype=torch.float64)
    torch.testing.assert_close(in_pieces(vit, image), vit.forward_features(image), atol=1e-13, rtol=0)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("variant", ["plain", "layer scale", "normed queries and keys", "no bias"])
def test_some_rows_equal_those_of_the_whole_block(variant, gated):
    vit = build(variant)
    block = blocks_of(vit)[-1]
    if gated:
        block.attn = Attention(32, 2, qkv_bias=True, gated=True).double()
    x = torch.randn(3, 7, 32, dtype=torch.float64)
    index = torch.stack([torch.randperm(7)[:3] for _ in range(3)])
    torch.testing.assert_close(block_rows(block, x, index), gather_rows(block(x), index), atol=1e-13, rtol=0)
    everything = torch.arange(7).expand(3, -1)
    torch.testing.assert_close(block_rows(block, x, everything), block(x), atol=1e-13, rtol=0)


def test_gather_then_project_equals_project_then_gather():
    attn = attention_of(blocks_of(build("normed queries and keys"))[0])
    hidden = torch.randn(2, 6, 32, dtype=torch.float64)
    index = torch.tensor([[0, 5], [3, 1]])
    query, key, value = project_rows(attn, hidden, gather_rows(hidden, index))
    all_query, all_key, all_value = project_qkv(attn, hidden)
    wanted = all_query.gather(2, index[:, None, :, None].expand(-1, 2, -1, 16))
    for found, expected in ((query, wanted), (key, all_key), (value, all_value)):
        torch.testing.assert_close(found, expected, atol=1e-14, rtol=0)


@pytest.mark.parametrize(
    ("size", "stride", "grid"),
    [
        ((256, 128), 12, (21, 10)),
        ((256, 128), 14, (18, 9)),
        ((256, 256), 12, (21, 21)),
        ((384, 128), 12, (31, 10)),
        ((448, 448), 12, (37, 37)),
        ((256, 128), 16, (16, 8)),
        ((256, 128), None, (16, 8)),
    ],
)
def test_grids_of_overlapping_patches(size, stride, grid):
    vit = create_vit("deit_tiny_patch16_224", image_size=size, patch_stride=stride, depth=1, embed_dim=6, num_heads=1)
    assert vit.patch_embed.grid_size == grid
    assert vit.patch_embed.num_patches == grid[0] * grid[1]
    assert embed_tokens(vit, torch.zeros(1, 3, *size)).shape == (1, 1 + grid[0] * grid[1], 6)


def test_an_overlapping_patch_is_the_projection_of_its_own_pixels():
    vit = create_vit("vit_tiny_patch16_224", image_size=(40, 56), patch_stride=8, **SMALL).double()
    image = torch.randn(1, 3, 40, 56, dtype=torch.float64)
    found = vit.patch_embed(image).view(4, 6, 32)
    pixels = image[0, :, 16:32, 24:40]  # row 2, column 3
    expected = (vit.patch_embed.proj.weight * pixels).sum((1, 2, 3)) + vit.patch_embed.proj.bias
    torch.testing.assert_close(found[2, 3], expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
def test_position_embeddings_are_resampled_once_from_the_native_grid(name):
    torch.manual_seed(0)
    native = timm.create_model(name, num_classes=0, **SMALL)
    torch.manual_seed(0)
    vit = create_vit(name, image_size=(256, 128), patch_stride=12, **SMALL)
    expected = resample_abs_pos_embed(native.pos_embed, [21, 10], [14, 14], num_prefix_tokens=native.num_prefix_tokens)
    torch.testing.assert_close(vit.pos_embed, expected)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("swin_tiny_patch4_window7_224", "SwinTransformer, not a plain vision transformer"),
        ("eva02_tiny_patch14_224", "Eva, not a plain"),
        ("vit_small_patch16_rope_224", "Eva, not a plain"),
        ("vit_relpos_small_patch16_224", "VisionTransformerRelPos, not a plain"),
        ("vit_base_patch16_siglip_224", "no class token"),
        ("resnet18", "can't be built"),
        ("deit_smal_patch16_224", "such as deit_small_patch16_224"),
    ],
)
def test_other_networks_are_refused_in_one_line(name, why):
    with torch.device("meta"), pytest.raises(ConfigError, match=why) as caught:
        create_vit(name, image_size=(224, 224))
    assert repr(name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_blocks_and_attention_are_refused():
    with pytest.raises(ConfigError, match=r"blocks of type ResPostBlock \(block 0\)"):
        create_vit("vit_tiny_patch16_224", image_size=(32, 32), block_fn=ResPostBlock, **SMALL)
    with pytest.raises(ConfigError, match=r"attention of type DiffAttention \(block 0\)"):
        create_vit("vit_tiny_patch16_224", image_size=(32, 32), attn_layer="diff", **SMALL)
    with pytest.raises(ConfigError, match="leaves the class token without a norm"):
        create_vit("vit_tiny_patch16_224", image_size=(32, 32), global_pool="avg", **SMALL)


def test_impossible_strides_and_missing_weights_are_refused():
    for stride in (0, 17):
        with pytest.raises(ConfigError, match="between 1 and the patch size 16"):
            create_vit("vit_tiny_patch16_224", image_size=(32, 32), patch_stride=stride, **SMALL)
    with pytest.raises(ConfigError, match="smaller than one patch"):
        create_vit("vit_tiny_patch16_224", image_size=(32, 8), patch_stride=8, **SMALL)
    with pytest.raises(ConfigError, match="leave patch_stride unset"):
        create_vit("vit_micro_conv8_64", image_size=(64, 64), patch_stride=4)
    with pytest.raises(ConfigError, match="no pretrained weights: leave pretrained off"):
        create_vit("vit_micro_conv8_64", image_size=(64, 64), pretrained=True)


def test_weights_that_cannot_be_fetched_give_one_line(monkeypatch):
    def offline(*args, **kwargs):
        raise FileNotFoundError("not in\nthe cache")

    monkeypatch.setattr("timm.create_model", offline)
    with pytest.raises(ConfigError, match=r"'deit_tiny_patch16_224' can't be had \(not in the cache\)"):
        create_vit("deit_tiny_patch16_224", image_size=(32, 32), pretrained=True)


def test_the_suites_own_backbone_is_as_small_as_it_says():
    vit = create_vit("vit_micro_conv8_64", image_size=(64, 64))
    count = sum(parameter.numel() for parameter in vit.parameters())
    assert 0.75e6 < count < 0.9e6
    assert vit.patch_embed.grid_size == (8, 8)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_whole_block_is_timms(variant):
    vit = build(variant)
    x = torch.randn(2, 7, vit.embed_dim, dtype=torch.float64)
    for block in blocks_of(vit):
        torch.testing.assert_close(run_block(block, x), block(x), atol=1e-12, rtol=0)


def test_half_precision_attention_on_the_cpu_is_as_exact_as_its_dtype():
    attn = attention_of(blocks_of(build("plain"))[0])
    query, key, value = torch.randn(3, 2, 2, 9, 16).bfloat16().unbind(0)
    with torch.autocast("cpu", torch.bfloat16):
        found = attend(attn, query, key, value)
    assert found.dtype == torch.bfloat16
    exact = torch.nn.functional.scaled_dot_product_attention(query.double(), key.double(), value.double())
    torch.testing.assert_close(found.double(), exact, atol=4e-3 * value.abs().max().item(), rtol=0)
