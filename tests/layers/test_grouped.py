"""Padding of features to a width that grouped convolutions can divide."""

import numpy as np
import pytest

from vision_suite.layers.grouped import pad_channels, padded_width


@pytest.mark.parametrize("channels", range(1, 13))
def test_columns_of_zeros_are_added_behind(channels):
    rows = np.asfortranarray(np.random.default_rng(channels).normal(size=(5, channels)).astype(np.float32))
    padded = pad_channels(rows)
    np.testing.assert_array_equal(padded, np.pad(rows, ((0, 0), (0, -channels % 4))))
    assert (padded.shape[1], padded.dtype) == (padded_width(channels), np.float32)
    assert padded.flags.c_contiguous
