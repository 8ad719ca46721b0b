"""Attention of branches behind one prefix against a dense mask between all tokens, in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_suite.ops.attention import portable_attention
from vision_suite.ops.branches import branch_attention


def tensors(batch=2, heads=4, key_heads=2, prefix=7, branches=3, length=4, width=8, seed=0, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    tokens = prefix + branches * length
    sizes = ((heads, width), (key_heads, width), (key_heads, width))
    return [
        torch.randn(batch, count, tokens, each, generator=draw, dtype=dtype).requires_grad_() for count, each in sizes
    ]


def allowed(lengths, prefix, branches, length):
    """(B, 1, S, S), true where a query sees a key, token by token."""
    tokens = prefix + branches * length
    mask = torch.zeros(len(lengths), 1, tokens, tokens, dtype=torch.bool)
    for row, kept in enumerate(lengths):
        for query in range(tokens):
            for key in range(query + 1):
                own = key >= prefix and (key - prefix) // length == (query - prefix) // length
                mask[row, 0, query, key] = (key < prefix and (key < kept or query < prefix)) or own
    return mask


def dense(q, k, v, mask, readout=None, scale=None):
    scale = q.shape[3] ** -0.5 if scale is None else scale
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    share = (q @ k.transpose(2, 3) * scale).masked_fill(~mask, -torch.inf).softmax(-1)
    return share @ v, None if readout is None else share @ readout[:, None]


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 6), st.integers(1, 4), st.integers(1, 5), st.sampled_from([(4, 4), (4, 2), (3, 1)]),
    st.booleans(), st.integers(0, 99),
)  # fmt: skip
def test_equal_to_a_dense_mask(prefix, branches, length, heads, padded, seed):
    q, k, v = tensors(2, *heads, prefix, branches, length, seed=seed)
    lengths = [prefix, max(1, prefix - 2) if padded else prefix]
    padding = torch.arange(prefix) >= torch.tensor(lengths)[:, None]
    mask = allowed(lengths, prefix, branches, length)
    # What queries of padding see does not matter.
    counted = torch.cat([~padding, torch.ones(2, branches * length, dtype=torch.bool)], 1)[:, None, :, None]
    found = branch_attention(
        q, k, v, prefix=prefix, branches=branches, prefix_padding=padding if padded else None, scale=0.7
    )[0]
    expected = dense(q, k, v, mask, scale=0.7)[0]
    weight = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * counted
    torch.testing.assert_close(found * counted, expected * counted, rtol=0, atol=1e-12)
    ours, theirs = (torch.autograd.grad((out * weight).sum(), (q, k, v)) for out in (found, expected))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rows", [True, False])
def test_read_outs(rows):
    q, k, v = tensors()
    draw = torch.Generator().manual_seed(3)
    readout = torch.randn(2, 19, 5, generator=draw, dtype=torch.float64)
    readout = (readout if rows else readout[0]).requires_grad_()
    mask = allowed([7, 7], 7, 3, 4)
    found, extra = branch_attention(q, k, v, prefix=7, branches=3, readout=readout)
    expected, shares = dense(q, k, v, mask, readout.expand(2, -1, -1))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(extra, shares, rtol=0, atol=1e-12)
    inputs = (q, k, v, readout)
    ours, theirs = (torch.autograd.grad((a.sin().sum() + b.cos().sum()), inputs) for a, b in
                    ((found, extra), (expected, shares)))  # fmt: skip
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-12)


def test_other_implementations_agree():
    q, k, v = (x.detach() for x in tensors(dtype=torch.float32))
    padding = torch.zeros(2, 7, dtype=torch.bool)
    padding[1, 4:] = True
    with torch.no_grad():
        compiled = branch_attention(q, k, v, prefix=7, branches=3, prefix_padding=padding)[0]
        with portable_attention():
            plain = branch_attention(q, k, v, prefix=7, branches=3, prefix_padding=padding)[0]
    torch.testing.assert_close(compiled[0], plain[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(compiled[1, :, 7:], plain[1, :, 7:], atol=1e-5, rtol=1e-5)


def test_branches_of_nothing_leave_the_prefix():
    q, k, v = tensors(length=0)
    found, extra = branch_attention(q, k, v, prefix=7, branches=3)
    expected, _ = dense(q, k, v, torch.ones(7, 7, dtype=torch.bool).tril())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert extra is None


@pytest.mark.parametrize(("prefix", "branches"), [(0, 1), (7, 0), (7, 5), (20, 1)])
def test_rows_that_are_no_branches_are_refused(prefix, branches):
    q, k, v = tensors()
    with pytest.raises(ValueError, match="no prefix of"):
        branch_attention(q, k, v, prefix=prefix, branches=branches)
