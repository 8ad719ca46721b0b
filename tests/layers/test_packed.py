"""Packed rows come apart and together again, and attention on them is that of separate rows."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vision_suite.errors import ConfigError
from vision_suite.layers.drop_in import transformers_attention
from vision_suite.layers.packed import find_packed


@given(st.lists(st.lists(st.integers(-1, 3), min_size=6, max_size=6), min_size=1, max_size=3))
def test_there_and_back(segments):
    segments = torch.tensor(segments)
    if (segments < 0).all():
        with pytest.raises(ConfigError, match="padding alone"):
            find_packed(segments)
        return
    packed = find_packed(segments)
    number = torch.arange(segments.numel()).view(segments.shape) + 1
    apart = packed.unpack(number)
    pairs = [(row, s) for row in range(len(segments)) for s in range(4) if (segments[row] == s).any()]
    assert len(apart) == len(pairs)
    for found, kept, (row, s) in zip(apart, packed.kept, pairs, strict=True):
        assert found[kept].tolist() == number[row][segments[row] == s].tolist()
    together = packed.repack(apart[..., None].double())[..., 0]
    assert torch.equal(together, torch.where(segments >= 0, number, 0).double())
    for row, s in pairs:
        inside = segments[row] == s
        assert packed.positions()[row][inside].tolist() == list(range(int(inside.sum())))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("columns", [0, 2])
def test_attention_of_packed_rows_as_separate(causal, columns):
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 4, 11, 8, dtype=torch.float64, generator=generator).requires_grad_()
    key, value = (torch.randn(2, 2, 11, 8, dtype=torch.float64, generator=generator) for _ in range(2))
    readout = torch.randn(2, 11, columns, dtype=torch.float64, generator=generator) if columns else None
    segments = torch.tensor([[0] * 5 + [1] * 6, [0] * 2 + [1] * 7 + [-1] * 2])
    layer = torch.nn.Identity()
    out, read = transformers_attention(
        layer, query, key, value, None, is_causal=causal, readout=readout, segments=segments
    )
    assert (read is None) == (not columns)
    for row, start, stop in ((0, 0, 5), (0, 5, 11), (1, 0, 2), (1, 2, 9)):
        part = (slice(row, row + 1), slice(None), slice(start, stop))
        column = None if readout is None else readout[row : row + 1, start:stop]
        alone, expected = transformers_attention(
            layer, query[part], key[part], value[part], None, is_causal=causal, readout=column
        )
        torch.testing.assert_close(out[row, start:stop], alone[0], atol=1e-14, rtol=0)
        if columns:
            torch.testing.assert_close(read[part], expected, atol=1e-14, rtol=0)
    assert out[1, 9:].abs().max() == 0
    (gradient,) = torch.autograd.grad(out[0, 7].sum(), query)
    assert gradient[0, :, 7].abs().max() > 0
    assert gradient[0, :, :7].abs().max() == gradient[1].abs().max() == 0


def test_read_outs_are_columns_of_the_whole_matrix():
    query, key = torch.randn(2, 4, 3, 8), torch.randn(2, 2, 5, 8)
    readout = torch.randn(2, 5, 3)
    kept = torch.tensor([[1, 1, 0, 1, 1], [0, 1, 1, 1, 1]], dtype=torch.bool)
    _, read = transformers_attention(torch.nn.Identity(), query, key, key, kept, readout=readout)
    scores = query @ key.repeat_interleave(2, 1).transpose(2, 3) * 8**-0.5
    seen = torch.ones(3, 5, dtype=torch.bool).tril(2) & kept[:, None, None]
    expected = scores.masked_fill(~seen, -torch.inf).softmax(-1) @ readout[:, None]
    torch.testing.assert_close(read, expected, atol=1e-5, rtol=1e-5)


def test_segments_that_do_not_fit():
    query, key = torch.randn(1, 4, 3, 8), torch.randn(1, 2, 5, 8)
    layer = torch.nn.Identity()
    with pytest.raises(ConfigError, match="3 queries and 5 keys in rows of segments"):
        transformers_attention(layer, query, key, key, None, is_causal=False, segments=torch.zeros(1, 5).long())
    with pytest.raises(ConfigError, match="whole numbers"):
        find_packed(torch.zeros(1, 5))


def test_a_language_model_takes_segments():
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).double().eval()
    from vision_suite.layers.drop_in import use_suite_attention

    use_suite_attention(model)
    ids, segments = torch.randint(3, 40, (1, 9)), torch.tensor([[0] * 4 + [1] * 5])
    places = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4]])
    with torch.no_grad():
        packed = model(ids, attention_mask=segments >= 0, position_ids=places, segments=segments, use_cache=False)
        apart = torch.cat([model(part).logits for part in ids.split([4, 5], 1)], 1)
    torch.testing.assert_close(packed.logits, apart, atol=1e-12, rtol=0)
