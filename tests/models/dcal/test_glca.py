"""Global-local cross-attention: counts, selection, and what the read-out can and cannot see."""

from fractions import Fraction

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st

from vision_suite.layers import vit as layers
from vision_suite.layers.vit import create_vit, gather_rows
from vision_suite.models.dcal.glca import GLCA, num_local_queries, select_queries

SCORES = torch.tensor([[0.2, 0.10, 0.40, 0.30, 0.40, 0.05]], dtype=torch.float64)  # class token, then patches 1..5


def backbone(**extra):
    torch.manual_seed(0)
    vit = create_vit("vit_tiny_patch16_224", image_size=(48, 32), depth=2, embed_dim=32, num_heads=2, **extra).double()
    for parameter in vit.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return vit


def tokens(count=7):
    return torch.randn(3, count, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


ONE, OTHER = torch.tensor([[0, 1, 2]] * 3), torch.tensor([[0, 5, 6]] * 3)


@pytest.mark.parametrize(
    ("ratio", "patches", "floor", "near", "ceil"),
    [(0.1, 784, 78, 78, 79), (0.3, 128, 38, 38, 39), (0.3, 256, 76, 77, 77), (0.29, 100, 29, 29, 29)],
)
def test_number_of_local_queries(ratio, patches, floor, near, ceil):
    assert num_local_queries(ratio, patches) == floor
    assert num_local_queries(ratio, patches, "round") == near
    assert num_local_queries(ratio, patches, "ceil") == ceil


@given(st.integers(1, 1000), st.integers(1, 2000))
def test_the_count_is_that_of_exact_arithmetic(thousandths, patches):
    exact = Fraction(thousandths, 1000) * patches
    whole = exact.numerator // exact.denominator
    assert num_local_queries(thousandths / 1000, patches) == max(1, whole)
    assert num_local_queries(thousandths / 1000, patches, "ceil") == max(1, -(-exact.numerator // exact.denominator))
    assert 1 <= num_local_queries(thousandths / 1000, patches, "round") <= patches


def test_the_most_attended_patches_are_selected():
    assert select_queries(SCORES, 2, 1)[0, 0] == 0
    assert set(select_queries(SCORES, 2, 1)[0].tolist()) == {0, 2, 4}
    assert set(select_queries(SCORES, 3, 1)[0].tolist()) == {0, 2, 3, 4}
    assert set(select_queries(SCORES, 5, 1)[0].tolist()) == set(range(6))


def test_prefix_tokens_are_never_local_queries_unless_all_tokens_are_candidates():
    scores = SCORES.clone()
    scores[0, 1] = 0.99  # now a distillation token
    assert set(select_queries(scores, 2, 2)[0].tolist()) == {0, 2, 4}
    assert set(select_queries(scores, 3, 2, "tokens")[0].tolist()) in ({0, 1, 2}, {0, 1, 4})  # a tie
    assert select_queries(scores, 3, 2, "tokens").shape == (1, 3)
    assert select_queries(scores, 1, 2, "tokens").tolist() == [[0]]


def test_all_queries_give_the_timm_block():
    vit = backbone()
    block = timm.models.vision_transformer.Block(32, 2, qkv_bias=True).double()
    block.load_state_dict(vit.blocks[-1].state_dict())
    glca, x = GLCA(vit), tokens()
    everything = torch.arange(7).expand(3, -1)
    torch.testing.assert_close(glca(x, everything), vit.norm(block(x)).mean(1), atol=1e-14, rtol=0)
    some = vit.norm(gather_rows(block(x), ONE)).mean(1)
    torch.testing.assert_close(glca(x, ONE), some, atol=1e-14, rtol=0)


def test_readouts():
    vit, x = backbone(), tokens()
    rows = vit.norm(gather_rows(vit.blocks[-1](x), ONE))
    expected = {"mean": rows.mean(1), "cls": rows[:, 0], "cls+local": 0.5 * (rows[:, 0] + rows[:, 1:].mean(1))}
    for readout, wanted in expected.items():
        torch.testing.assert_close(GLCA(vit, readout=readout)(x, ONE), wanted, atol=1e-13, rtol=0)


def test_with_one_block_the_class_row_cannot_see_the_selection():
    vit, x = backbone(), tokens()
    cls, mean = GLCA(vit, readout="cls"), GLCA(vit)
    assert torch.equal(cls(x, ONE), cls(x, OTHER))
    assert not cls.needs_selection
    assert (mean(x, ONE) - mean(x, OTHER)).abs().max() > 1e-3
    assert mean.needs_selection


@pytest.mark.parametrize(("readout", "local_learns"), [("cls", False), ("mean", True), ("cls+local", True)])
def test_gradient_of_the_local_queries(readout, local_learns, monkeypatch):
    asked = []
    attend = layers.attend
    monkeypatch.setattr(
        layers, "attend", lambda attn, query, key, value: attend(attn, asked.append(query) or query, key, value)
    )
    feature = GLCA(backbone(), readout=readout)(tokens(), ONE)
    (grad,) = torch.autograd.grad(feature.square().sum(), asked[0])
    assert grad[:, :, 0].abs().max() > 1e-6
    assert bool((grad[:, :, 1:] == 0).all()) is not local_learns


def test_with_two_blocks_the_selection_returns():
    vit, x = backbone(), tokens()
    two = GLCA(vit, blocks=2, readout="cls")
    assert two.needs_selection
    assert (two(x, ONE) - two(x, OTHER)).abs().max() > 1e-6
    rows = layers.block_rows(two.blocks[0], x, ONE)
    mixed = x.clone()
    mixed[:, :3] = rows
    expected = vit.norm(two.blocks[1](mixed))[:, 0]
    torch.testing.assert_close(two(x, ONE), expected, atol=1e-13, rtol=0)


def test_feed_forward_on_all_rows_shows_only_between_blocks():
    vit, x = backbone(), tokens()
    assert torch.equal(GLCA(vit)(x, ONE), GLCA(vit, all_rows=True)(x, ONE))
    every = GLCA(vit, blocks=2, all_rows=True)
    first = every.blocks[0]
    mixed = x + first.mlp(first.norm2(x))
    mixed[:, :3] = layers.block_rows(first, x, ONE)
    expected = vit.norm(gather_rows(every.blocks[1](mixed), ONE)).mean(1)
    torch.testing.assert_close(every(x, ONE), expected, atol=1e-13, rtol=0)
    assert (GLCA(vit, blocks=2)(x, ONE) - expected).abs().max() > 1e-3


def test_weights_are_copied_not_shared():
    vit = backbone(init_values=0.1)
    glca = GLCA(vit)
    for name, value in vit.blocks[-1].state_dict().items():
        assert torch.equal(glca.blocks[0].state_dict()[name], value)
    assert torch.equal(glca.norm.weight, vit.norm.weight)
    assert not {p.data_ptr() for p in glca.parameters()} & {p.data_ptr() for p in vit.parameters()}


def test_weights_can_start_afresh():
    vit = backbone(init_values=0.1)
    glca = GLCA(vit, copy_weights=False)
    fresh = glca.blocks[0]
    assert (fresh.mlp.fc1.weight - vit.blocks[-1].mlp.fc1.weight).abs().max() > 1e-3
    assert fresh.mlp.fc1.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert (fresh.mlp.fc1.bias == 0).all()
    for weight in (glca.norm.weight, fresh.norm1.weight):
        assert (weight == 1).all()
    assert torch.allclose(fresh.ls1.gamma, torch.tensor(0.1, dtype=torch.float64))
