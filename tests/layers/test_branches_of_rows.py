"""Places of branches in rows with one prefix, and as sequences of their own."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_suite.errors import ConfigError, DataError
from vision_suite.layers.branches import find_branches


def kept(lengths, width):
    return torch.arange(width) < torch.tensor(lengths)[..., None]


def test_positions_of_two_branches():
    found = find_branches(kept([3, 2], 3), kept([[2, 1], [0, 2]], 2))
    assert found.shape == (2, 7)
    assert found.positions().tolist() == [[0, 1, 2, 3, 4, 3, 0], [0, 1, 0, 0, 0, 2, 3]]
    assert found.padding.tolist() == [[False, False, False], [False, False, True]]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_sequences_hold_prefix_and_branch(data):
    rows, count, steps, prefix = (data.draw(st.integers(low, 4)) for low in (1, 1, 0, 1))
    begun = [data.draw(st.integers(1, prefix)) for _ in range(rows)]
    lengths = [[data.draw(st.integers(0, steps)) for _ in range(count)] for _ in range(rows)]
    found = find_branches(kept(begun, prefix), kept(lengths, steps).view(rows, count, steps))
    assert (found.padding is None) == all(length == prefix for length in begun)
    tokens = torch.arange(rows * (prefix + count * steps)).view(rows, -1) + 100
    packed = found.packed()
    sequences = packed.unpack(tokens)
    for row in range(rows):
        for branch in range(count):
            expected = [int(tokens[row, place]) for place in range(begun[row])]
            start = prefix + branch * steps
            expected += [int(tokens[row, start + step]) for step in range(lengths[row][branch])]
            number = row * count + branch
            assert sequences[number][packed.kept[number]].tolist() == expected
    assert torch.equal(packed.repack(sequences), torch.where(found.inside, tokens, 0))
    assert torch.equal(packed.positions(), found.positions())


def test_masks_that_do_not_fit_are_refused():
    prefix, branch = kept([3, 2], 3), kept([[2, 1], [0, 2]], 2)
    with pytest.raises(ConfigError, match=r"give \(B, P\)"):
        find_branches(prefix[:1], branch)
    with pytest.raises(ConfigError, match="give booleans"):
        find_branches(prefix.long(), branch)
    with pytest.raises(DataError, match="a prefix is padded"):
        find_branches(prefix.flip(1), branch)
    with pytest.raises(DataError, match="a branch is padded"):
        find_branches(prefix, branch.flip(2))
    for odd in ((kept([3, 0], 3), branch), (prefix, branch[:, :0]), (prefix[:, :0], branch), (prefix[:0], branch[:0])):
        with pytest.raises(DataError, match="give each row"):
            find_branches(*odd)
