"""Attention in pieces against one softmax over concatenated keys, and pairings of a batch."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_suite.ops.attention import cross_attention, merge_attention
from vision_suite.ops.pairing import draw_pairs, random_partner


def attention_with_lse(query, key, value, scale=None):
    result = cross_attention(query, key, value, scale=scale, need=("out", "lse"))
    return result.out, result.lse


LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=20)


def one_softmax(query, key, value, scale):
    return (scale * query @ key.transpose(-2, -1)).softmax(-1) @ value


def test_paper_example_of_pair_wise_attention():
    # d=1, q=1, K1=[0, ln2], K2=[ln3, 0]: weights [1, 2, 3, 1] / 7.
    query = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    keys = [torch.tensor([0, math.log(2)]), torch.tensor([math.log(3), 0])]
    values = [torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])]
    parts = [
        attention_with_lse(query, k.double().view(1, 1, 2, 1), v.double().view(1, 1, 2, 1), scale=1.0)
        for k, v in zip(keys, values, strict=True)
    ]
    merged, lse = merge_attention(*parts[0], *parts[1])
    assert merged.item() == pytest.approx(18 / 7, abs=1e-7)
    assert lse.item() == pytest.approx(math.log(7), abs=1e-7)
    assert parts[0][0].item() == pytest.approx(5 / 3, abs=1e-7)
    assert 0.5 * (parts[0][0] + parts[1][0]).item() == pytest.approx(2.458333, abs=1e-6)  # what it must not be


@pytest.mark.parametrize("scale", [None, 0.3])
def test_merge_equals_one_softmax_with_gradients(scale):
    torch.manual_seed(0)
    tensors = [torch.randn(2, 3, n, 4, dtype=torch.float64, requires_grad=True) for n in (5, 6, 6, 7, 7)]
    query, key1, value1, key2, value2 = tensors
    reference = one_softmax(query, torch.cat([key1, key2], 2), torch.cat([value1, value2], 2), scale or 0.5)
    merged, lse = merge_attention(
        *attention_with_lse(query, key1, value1, scale), *attention_with_lse(query, key2, value2, scale)
    )
    scores = (scale or 0.5) * query @ torch.cat([key1, key2], 2).transpose(-2, -1)
    torch.testing.assert_close(merged, reference, atol=1e-14, rtol=0)
    torch.testing.assert_close(lse, scores.logsumexp(-1), atol=1e-14, rtol=0)
    upstream = torch.randn_like(reference)
    expected = torch.autograd.grad(reference, tensors, upstream)
    for found, wanted in zip(torch.autograd.grad(merged, tensors, upstream), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-13, rtol=0)


def test_merge_survives_scores_that_overflow_exp():
    query = torch.full((1, 1, 1, 1), 1000.0)
    key, value = torch.tensor([1.0, 0.999]).view(1, 1, 2, 1), torch.tensor([3.0, 5.0]).view(1, 1, 2, 1)
    parts = [attention_with_lse(query, key[:, :, i : i + 1], value[:, :, i : i + 1]) for i in range(2)]
    merged, _ = merge_attention(*parts[0], *parts[1])
    torch.testing.assert_close(merged, one_softmax(query, key, value, 1.0))


def test_autocast_narrows_query_key_and_value_alone():
    torch.manual_seed(0)
    query, key, value = (8 * torch.randn(1, 2, 5, 16) for _ in range(3))
    half, lse = attention_with_lse(query.bfloat16(), key.bfloat16(), value.bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = attention_with_lse(query, key, value)
    assert (half.dtype, lse.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(half, under[0])
    assert torch.equal(lse, under[1])
    wide = [x.bfloat16().double() for x in (query, key, value)]
    scores = wide[0] @ wide[1].transpose(-2, -1) / 4
    torch.testing.assert_close(lse.double(), scores.logsumexp(-1), atol=1e-4, rtol=1e-6)
    torch.testing.assert_close(half.double(), scores.softmax(-1) @ wide[2], atol=0.1, rtol=0)


def partners(order, inverse):
    return order.view(-1, 2).flip(1).flatten()[inverse]


@settings(max_examples=80, deadline=None)
@given(LABELS, st.sampled_from(["any", "inter", "intra"]), st.integers(0, 2**31))
def test_a_pairing_is_a_perfect_matching(labels, partner, seed):
    torch.manual_seed(seed)
    count = len(labels)
    order, inverse = draw_pairs(count, partner=partner, labels=torch.tensor(labels))
    assert len(order) == count + count % 2
    assert sorted(order[:count].tolist()) == list(range(count))
    assert torch.equal(order[inverse], torch.arange(count))
    mate = partners(order, inverse)
    assert torch.equal(mate[mate], torch.arange(count))  # symmetric
    assert int((mate == torch.arange(count)).sum()) == count % 2  # alone only where the batch is odd


@settings(max_examples=80, deadline=None)
@given(LABELS, st.integers(0, 2**31))
def test_inter_and_intra_pair_as_many_as_the_labels_allow(labels, seed):
    torch.manual_seed(seed)
    label = torch.tensor(labels)
    counts = label.bincount()
    for partner in ("inter", "intra"):
        order, _ = draw_pairs(len(labels), partner=partner, labels=label)
        pairs = label[order].view(-1, 2)[: len(labels) // 2]  # the last pair of an odd batch is one image twice
        equal = int((pairs[:, 0] == pairs[:, 1]).sum())
        if partner == "intra":
            assert equal == int((counts // 2).sum())
        else:
            assert equal == max(0, int(counts.max()) - (len(labels) + 1) // 2)


def test_any_pairs_uniformly():
    torch.manual_seed(0)
    seen = torch.zeros(6, 6)
    for _ in range(3000):
        seen[torch.arange(6), partners(*draw_pairs(6))] += 1
    assert (seen.diagonal() == 0).all()
    torch.testing.assert_close(seen / 3000, (1 - torch.eye(6)) / 5, atol=0.03, rtol=0)


def test_inter_meets_every_other_label():
    torch.manual_seed(0)
    label = torch.arange(4).repeat_interleave(2)
    seen = torch.zeros(4, 4)
    for _ in range(600):
        mates = label[partners(*draw_pairs(8, partner="inter", labels=label))]
        for one, other in zip(label.tolist(), mates.tolist(), strict=True):
            seen[one, other] += 1
    torch.testing.assert_close(seen / 1200, (1 - torch.eye(4)) / 3, atol=0.06, rtol=0)


def test_labels_are_asked_for():
    with pytest.raises(ValueError, match="partner='inter' needs labels"):
        draw_pairs(4, partner="inter")


def test_uniform_partner_is_never_the_image_itself():
    torch.manual_seed(0)
    drawn = torch.stack([random_partner(5) for _ in range(2000)])
    assert not (drawn == torch.arange(5)).any()
    shares = torch.stack([(drawn == i).double().mean(0) for i in range(5)])
    torch.testing.assert_close(shares, (1 - torch.eye(5, dtype=torch.float64)) / 4, atol=0.04, rtol=0)
    assert random_partner(1).tolist() == [0]
    assert random_partner(2).tolist() == [1, 0]
