"""Positions of sentences: the oracle by hand, and sums that hold for any captions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_suite.metrics.hallucination.positions import carry_over, densities, later_made_up, sentence_positions

ORACLE = [
    [(2, 0), (1, 1), (0, 2)],
    [(3, 0), (2, 0)],
    [(1, 1), (0, 1), (1, 0)],
    [(2, 0), (1, 0), (1, 1), (0, 0)],
]
CAPTIONS = st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=5), max_size=5)


def test_the_oracle():
    found = sentence_positions(ORACLE)
    assert [position.captions for position in found] == [4, 4, 3, 1]
    assert [position.rate for position in found[:3]] == [1 / 9, 1 / 3, 3 / 5]
    assert [position.hazard for position in found[:3]] == [1 / 4, 1 / 3, 1 / 1]
    assert [position.clean_before for position in found] == [4, 3, 1, 0]
    assert math.isnan(found[3].rate)
    assert math.isnan(found[3].hazard)
    assert carry_over(ORACLE) == (2 / 4, 2 / 4, 1.0)


def test_made_up_objects_behind_a_sentence():
    assert later_made_up(ORACLE, 0) == (3 + 0 + 1 + 1) / 4
    assert later_made_up(ORACLE, 2) == 0.0
    assert math.isnan(later_made_up(ORACLE, 9))


@given(CAPTIONS, st.integers(1, 12))
def test_densities_keep_every_object(captions, bins):
    found = densities(captions, bins)
    assert found.shape == (2, bins)
    total = np.array([objects for caption in captions for objects in caption]).reshape(-1, 2).sum(0)
    assert found.sum(1) == pytest.approx(total)


@given(CAPTIONS)
def test_every_caption_starts_at_most_once(captions):
    starts = sum(round(each.hazard * each.clean_before) for each in sentence_positions(captions) if each.clean_before)
    assert starts == sum(any(made_up for _, made_up in caption) for caption in captions)
