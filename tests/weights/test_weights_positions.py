"""Position embeddings: the grid of a file by what it tells, by squares and by shape; no guess between equal choices."""

import pytest
import timm
import torch
from timm.layers.pos_embed import resample_abs_pos_embed

from vision_suite.layers.layouts import timm_rows, with_registers
from vision_suite.weights.positions import fitted_positions, known_grid, likely_grid


def vit(size, **settings):
    torch.manual_seed(0)
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=size, num_classes=0, depth=1, embed_dim=16, num_heads=1, **settings
    )


@pytest.mark.parametrize(
    ("count", "like", "grid"),
    [
        (196, (16, 8), (14, 14)),
        (128, (24, 8), (16, 8)),
        (128, (16, 8), (16, 8)),
        (210, (16, 8), (21, 10)),  # 256 x 128 pixels with overlapping patches
        (310, (16, 8), (31, 10)),
        (256, (32, 8), (32, 8)),  # the network's own number is the network's grid
    ],
)
def test_the_likely_grid(count, like, grid):
    assert likely_grid(count, like) == grid


def test_two_equally_likely_grids_are_not_guessed():
    with pytest.raises(ValueError, match="192 positions can be a grid of 16x12 or 24x8"):
        likely_grid(192, (16, 8))


def test_a_checkpoint_tells_its_grid():
    kernel = torch.zeros(16, 3, 16, 16)
    assert known_grid(kernel, {"image_size": [384, 128]}) == (24, 8)
    assert known_grid(kernel, {"image_size": (256, 128), "patch_stride": 12}) == (21, 10)
    assert known_grid(kernel, {}) is None
    table = torch.randn(1, 193, 16)
    theirs = {"cls_token": torch.zeros(1, 1, 16), "pos_embed": table, "patch_embed.proj.weight": kernel}
    fitted, note = fitted_positions(theirs, vit((256, 128)), {"image_size": [384, 128]})
    assert note == "resized from 24x8 to 16x8"
    expected = resample_abs_pos_embed(table, [16, 8], [24, 8], num_prefix_tokens=1)
    assert torch.equal(fitted, expected)


def test_a_turned_grid_of_the_same_number_is_resized():
    kernel = torch.zeros(16, 3, 16, 16)
    theirs = {
        "cls_token": torch.zeros(1, 1, 16),
        "pos_embed": torch.randn(1, 9, 16),
        "patch_embed.proj.weight": kernel,
    }
    fitted, note = fitted_positions(theirs, vit((32, 64)), {"image_size": [64, 32]})
    assert note == "resized from 4x2 to 2x4"
    assert not torch.equal(fitted, theirs["pos_embed"])


@pytest.mark.parametrize(
    ("theirs", "reason"),
    [
        (torch.zeros(1, 17, 8), "1x17x8, here 1x9x16"),
        (torch.zeros(17, 16), "17x16, here 1x9x16"),
        (torch.zeros(1, 0, 16), "1x0x16 has no patches, here 1x9x16"),
        (torch.zeros(1, 8, 16), "its class token has no position, here it has one"),
    ],
)
def test_positions_that_do_not_fit_have_a_reason(theirs, reason):
    # The network's grid is 4 x 2.
    with pytest.raises(ValueError, match=reason):
        fitted_positions({"cls_token": torch.zeros(1, 1, 16), "pos_embed": theirs}, vit((64, 32)), {})


def test_odd_registers_are_left_alone():
    file = {"cls_token": torch.zeros(4), "register_tokens": torch.zeros(1, 2, 4), "pos_embed": torch.zeros(1, 5, 4)}
    assert with_registers(file) is file


def test_the_table_names_each_part_once():
    theirs = [row[0] for row in timm_rows("vit")]
    assert len(theirs) == len(set(theirs))
