"""Attention shift against the calculation by hand in three layers of four tokens, and against SciPy."""

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr

from vision_suite.errors import DataError
from vision_suite.layers.decoders import DecoderShape, new_decoder
from vision_suite.metrics.instruct.attention_shift import (
    attention_shift,
    correlation,
    mean_masses,
    query_masses,
    token_groups,
)
from vision_suite.models.wings.attach import attach, detach, row_masses
from vision_suite.models.wings.config import WingsConfig

GROUPS = torch.tensor([[0, 1, 1, 3]])
ROWS = [[1.0, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25, 0.25, 0.5, 0]]
LAST = [[0.1, 0.3, 0.2, 0.4], [0.3, 0.2, 0.2, 0.3], [0.2, 0.4, 0.3, 0.1]]
CORRELATION = -0.3273268353539887


def weights(layer):
    return torch.tensor([[[*ROWS, LAST[layer]]] * 2], dtype=torch.float64)  # two like heads


def shares(queries):
    masses = torch.stack([query_masses(weights(layer), GROUPS) for layer in range(3)], dim=1)
    return mean_masses(masses, GROUPS, queries)


def test_mean_over_queries():
    found = shares("all")[0].T
    assert found[0].tolist() == pytest.approx([0.4625, 0.5125, 0.4875])
    assert found[1].tolist() == pytest.approx([0.4375, 0.4125, 0.4875])
    assert found[3].tolist() == pytest.approx([0.1, 0.075, 0.025])
    assert float(correlation(shares("all"))) == pytest.approx(CORRELATION, abs=1e-12)
    assert attention_shift(shares("all")).value == pytest.approx(1.3273268353539887, abs=1e-12)


@pytest.mark.parametrize("queries", ["after_image", "last"])
def test_mean_over_the_last_query(queries):
    found = shares(queries)[0].T
    assert found[0].tolist() == pytest.approx([0.1, 0.3, 0.2])
    assert found[3].tolist() == pytest.approx([0.4, 0.3, 0.1])
    assert attention_shift(shares(queries)).value == pytest.approx(1 - CORRELATION, abs=1e-12)


def test_groups_with_several_pictures_padding_and_none():
    is_image = torch.tensor([[0, 0, 1, 1, 0, 1, 0, 0], [0, 0, 0, 0, 1, 0, 0, 0], [0] * 8]).bool()
    valid = torch.tensor([[1] * 8, [0, 0, 1, 1, 1, 1, 1, 0], [1] * 8]).bool()
    found = token_groups(is_image, valid).tolist()
    assert found == [[0, 0, 1, 1, 2, 1, 3, 3], [-1, -1, 0, 0, 1, 3, 3, -1], [0] * 8]


def test_padding_changes_nothing():
    generator = torch.Generator().manual_seed(0)
    groups = torch.tensor([[0, 0, 1, 3, 3]])
    whole = torch.rand(1, 2, 5, 5, generator=generator).tril().double()
    whole = whole / whole.sum(-1, keepdim=True)
    padded = torch.full((1, 2, 8, 8), float("nan"), dtype=torch.float64)
    padded[..., :5, 5:] = 0
    padded[..., :5, :5] = whole
    more = torch.cat([groups, torch.full((1, 3), -1)], dim=1)
    for queries in ("all", "after_image", "last"):
        one = mean_masses(query_masses(whole, groups), groups, queries)
        two = mean_masses(query_masses(padded, more), more, queries)
        torch.testing.assert_close(one, two)
        assert one.sum(-1).tolist() == pytest.approx([1.0])


def test_shares_that_do_not_sum_to_one_are_refused():
    masses = query_masses(weights(0), GROUPS)
    with pytest.raises(DataError, match="sum to 1"):
        mean_masses(masses * 0.9, GROUPS)


def test_correlation_equals_scipys_and_undefined_ones_are_skipped_and_counted():
    masses = torch.rand(5, 6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    masses[3, :, 3] = 0  # no text after the picture
    masses[4, :, 0] = 0.25  # a flat curve
    expected = [pearsonr(row[:, 0], row[:, 3])[0] for row in masses[:3].numpy()]
    assert correlation(masses)[:3].tolist() == pytest.approx(expected)
    found = attention_shift(masses)
    assert (found.samples, found.skipped) == (3, 2)
    assert found.value == pytest.approx(1 - np.mean(expected))
    short = attention_shift(masses[:, :2])
    assert (short.samples, short.skipped) == (0, 5)
    assert np.isnan(short.value)


def test_shares_that_wings_read_equal_those_of_whole_attention_matrices():
    torch.manual_seed(0)
    decoder = new_decoder(DecoderShape(width=32, depth=3, heads=4, key_heads=2, positions=32), 20)
    ids = torch.randint(0, 20, (2, 9))
    is_image = torch.zeros(2, 9, dtype=torch.bool)
    is_image[0, 2:4] = is_image[0, 6] = is_image[1, 1:3] = True
    kept = torch.ones(2, 9, dtype=torch.bool)
    kept[1, 7:] = False
    attach(decoder, WingsConfig(rank=4, s_max=32))  # zero at the start: the base's attention stays as it is
    with torch.no_grad():
        decoder(input_ids=ids, attention_mask=kept, is_image=is_image, use_cache=False)
    found = {queries: row_masses(decoder, queries) for queries in ("all", "last")}
    detach(decoder)
    decoder.set_attn_implementation("eager")
    with torch.no_grad():
        layers = decoder(input_ids=ids, attention_mask=kept, use_cache=False, output_attentions=True).attentions
    groups = token_groups(is_image, kept)
    masses = torch.stack([query_masses(weights, groups) for weights in layers], dim=1)
    for queries, own in found.items():
        torch.testing.assert_close(mean_masses(masses, groups, queries), own, atol=2e-6, rtol=1e-5)
