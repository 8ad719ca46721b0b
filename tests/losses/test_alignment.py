"""The alignment loss against loops over pictures and tokens, and what it is at its ends."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vision_suite.losses.alignment import alignment_loss


def by_loops(token, word, own, scale, sharpness):
    """The same by plain arithmetic in Python."""
    centre = [sum(values) / len(word) for values in zip(*word.tolist(), strict=True)]

    def cosine(one, other):
        one, other = ([a - c for a, c in zip(each, centre, strict=True)] for each in (one, other))
        dot = sum(a * b for a, b in zip(one, other, strict=True))
        return dot / math.sqrt(sum(a * a for a in one)) / math.sqrt(sum(b * b for b in other))

    losses, squares = [], []
    for tokens, mine in zip(token.tolist(), own.tolist(), strict=True):
        for each in tokens:
            logits = [sharpness * cosine(each, other) for other in word.tolist()]
            losses.append(math.log(sum(math.exp(value) for value in logits)) - logits[mine])
            squares += [(a - b) ** 2 for a, b in zip(each, word[mine].tolist(), strict=True)]
    return sum(losses) / len(losses) + sum(squares) / len(squares) / scale**2


@given(st.integers(0, 1000), st.integers(2, 5), st.floats(0.5, 30.0), st.floats(0.1, 3.0))
def test_equals_loops(seed, count, sharpness, scale):
    generator = torch.Generator().manual_seed(seed)
    token = torch.randn(4, 3, 6, generator=generator, dtype=torch.float64)
    word = torch.randn(count, 6, generator=generator, dtype=torch.float64)
    own = torch.randint(count, (4,), generator=generator)
    found = alignment_loss(token, word, own, scale=scale, sharpness=sharpness)
    assert found.item() == pytest.approx(by_loops(token, word, own, scale, sharpness), rel=1e-9)


def test_one_word_leaves_the_distance():
    token, word = torch.ones(2, 1, 3), torch.zeros(1, 3)
    assert alignment_loss(token, word, torch.tensor([0, 0]), scale=2.0).item() == pytest.approx(0.25)


def test_half_precision_is_summed_in_single():
    token, word = torch.randn(3, 2, 8).bfloat16().requires_grad_(), torch.randn(4, 8)
    loss = alignment_loss(token, word, torch.tensor([0, 1, 3]), scale=1.0)
    loss.backward()
    assert loss.dtype == torch.float32
    assert token.grad.dtype == torch.bfloat16
