"""Reading of results: equal to a reading by columns, for good and for broken dictionaries."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tad_tables_reference import read_columns

from vision_suite.errors import DataError
from vision_suite.metrics.tad.tables import PredictedSegments, read_found, read_truth

TRUTH = read_truth(
    {"database": {f"v_{name}": {"annotations": [{"segment": [0, 1], "label": name}]} for name in ("a", "b", "c")}}
)
SECONDS = st.sampled_from([0, 1, 2.5, "3", -0.0, 1e300, float("inf"), float("nan")])
SCORES = st.sampled_from([0.0, -0.0, 0.25, 0.5, 1, "0.75", float("nan"), float("-inf")])
LABELS = st.sampled_from(["a", "b", "c"])
GOOD = st.fixed_dictionaries({"segment": st.tuples(SECONDS, SECONDS), "score": SCORES, "label": LABELS})
NEAT = st.fixed_dictionaries(
    {
        "segment": st.tuples(st.integers(0, 3), st.integers(4, 6)),
        "score": st.sampled_from([0.0, -0.0, 0.25, 0.5, 1]),
        "label": LABELS,
    }
)
BROKEN = st.one_of(
    st.fixed_dictionaries({"segment": st.just("12"), "score": SCORES, "label": LABELS}),
    st.fixed_dictionaries({"segment": st.just([1, 2, 3]), "score": SCORES, "label": LABELS}),
    st.fixed_dictionaries({"segment": st.just([1, 2]), "label": LABELS}),
    st.fixed_dictionaries({"segment": st.just([1, 2]), "score": SCORES}),
    st.fixed_dictionaries({"segment": st.just([1, 2]), "score": st.just("high"), "label": st.just("stranger")}),
)
STRANGE = st.fixed_dictionaries(
    {"segment": st.just([1, 2]), "score": SCORES, "label": st.sampled_from(["stranger", "another"])}
)
NAMES = st.sampled_from(["a", "v_b", "c", "d", "v_e", "v_a"])
CHOICES = st.sampled_from(["error", "drop"])


def outcome(read, *arguments, **settings):
    """What a reading gives, or the error, and the warnings."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            found = read(*arguments, **settings)
        except DataError as error:
            return str(error), []
    if isinstance(found, PredictedSegments):
        found = (found.video, found.label, found.segment, found.score, found.counts)
    columns = [(column.dtype, column.shape, column.tobytes()) for column in found[:4]]
    return (columns, found[4]), [str(warning.message) for warning in told]


@settings(max_examples=400, deadline=None)
@given(
    results=st.one_of(
        st.dictionaries(NAMES, st.lists(entry, max_size=6), max_size=5)
        for entry in (NEAT, GOOD, st.one_of(NEAT, STRANGE), st.one_of(GOOD, STRANGE, BROKEN))
    ),
    labels=st.booleans(),
    blocked=st.sampled_from([(), ("a",), ("v_d", "b")]),
    invalid=CHOICES,
    unknown_labels=CHOICES,
)
def test_results_are_read_as_by_columns(results, labels, blocked, invalid, unknown_labels):
    options = {"labels": labels, "blocked": blocked, "invalid": invalid, "unknown_labels": unknown_labels}
    expected = outcome(read_columns, {"results": results}, TRUTH, **options)
    assert outcome(read_found, {"results": results}, TRUTH, **options) == expected


@pytest.mark.filterwarnings("ignore:none of the")
@settings(max_examples=100, deadline=None)
@given(st.dictionaries(NAMES.filter(lambda name: name != "v_a"), st.lists(NEAT, max_size=6), max_size=5), st.randoms())
def test_the_order_of_a_file_does_not_matter(results, random):
    shuffled = {
        name: random.sample(results[name], len(results[name])) for name in random.sample([*results], len(results))
    }
    one, other = (read_found({"results": entries}, TRUTH, labels=True) for entries in (results, shuffled))
    assert (np.diff(one.score) <= 0).all()
    for column in ("video", "label", "segment", "score"):
        np.testing.assert_array_equal(getattr(one, column), getattr(other, column))


@pytest.mark.parametrize("results", [{}, {"a": []}, {"unheard_of": []}])
def test_no_prediction_gives_empty_columns(results):
    found = read_found({"results": results}, TRUTH, labels=True)
    assert (found.video.shape, found.segment.shape, found.score.dtype) == ((0,), (0, 2), np.float64)
    assert set(found.counts.values()) == {0}
