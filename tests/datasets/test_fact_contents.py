"""Contents of facts: what is stored, and phrases for what differs."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_suite.datasets.facts import LONGEST, differences, is_plain, labels, listed, other_values, uncounted

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("name", "stored", "own", "phrase"),
    [
        ("num_cameras", ["c1", "c4"], ["c1", "c5"], "camera 1 is 'c4' in the checkpoint and 'c5' in the data"),
        (
            "num_classes",
            ["a", "b", "c"],
            ["a", "c", "b"],
            "the 3 classes stand in another order: class 1 is 'b' in the checkpoint and 'c' in the data",
        ),
        (
            "num_classes",
            ["a", "b", "c", "d"],
            ["a", "x", "y", "d"],
            "2 of 4 classes differ: class 1 is 'b' in the checkpoint and 'x' in the data",
        ),
        (
            "num_views",
            ["0", "1"],
            ["0", "1", "2"],
            "the number of views is 2 in the checkpoint and 3 in the data",
        ),
        ("num_cells", 100, 50, "num_cells is 100 in the checkpoint and 50 in the data"),
        (
            "in_channels",
            {"width": 8, "features": ["rgb"]},
            {"width": 8, "features": ["flow"]},
            "in_channels.features is ['rgb'] in the checkpoint and ['flow'] in the data",
        ),
        (
            "in_channels",
            {"sampling": {"fps": 25, "clip": 8}, "features": list("abcdefgh")},
            {"sampling": {"fps": 30, "clip": 8}, "features": list("abcdefgx")},
            "in_channels.sampling.fps is 25 in the checkpoint and 30 in the data; "
            "in_channels.features[7] is 'h' in the checkpoint and 'x' in the data",
        ),
        (
            "num_classes",
            listed([str(n) for n in range(751)]),
            listed([str(n) for n in range(702)]),
            "the number of classes is 751 in the checkpoint and 702 in the data",
        ),
        (
            "num_classes",
            listed([str(n) for n in range(200)]),
            listed([str(n) for n in range(1, 201)]),
            "the classes of the checkpoint are others than those of the data (200)",
        ),
        (
            "num_classes",
            listed([str(n) for n in range(200)]),
            ["0", "1"],
            "the number of classes is 200 in the checkpoint and 2 in the data",
        ),
    ],
)
def test_a_phrase_for_each_kind_of_difference(name, stored, own, phrase):
    assert differences({name: stored}, {name: own}) == [phrase]


def test_a_number_that_is_told_elsewhere_is_left_out():
    assert uncounted(["c1", "c2"], ["c1", "c3", "c4"], 3) == (["c1", "c2"], ["c1", "c3"])
    assert uncounted({"width": 4, "noise": 1}, {"width": 8, "noise": 2}, 8) == ({"width": 4, "noise": 1}, {"noise": 2})
    assert differences(*({"num_x": each} for each in uncounted(listed(list("ab")), {"count": 200}, 200))) == []


def test_unknown_differs_from_nothing():
    stored = {"num_cameras": ["c1", None, "c3"], "num_views": 0, "num_classes": [], "gone": 3}
    assert differences(stored, {"num_cameras": ["c1", "c2", None], "num_views": ["0"], "num_classes": ["a"]}) == []


@given(PLAIN, PLAIN)
def test_anything_stored_gives_one_line_at_most(stored, own):
    """A checkpoint is untrusted: its facts may be anything."""
    found = differences({"num_x": stored}, {"num_x": own})
    assert len(found) <= 1
    assert not any("\n" in phrase for phrase in found)
    assert differences({"num_x": own}, {"num_x": own}) == []
    assert other_values({"x": own}, {"x": own}) == []


def test_long_lists_are_stored_as_a_checksum():
    names = [f"id {n}" for n in range(LONGEST + 1)]
    digest = hashlib.sha256("".join(f"{name}\0" for name in names).encode()).hexdigest()
    assert listed(names) == {"count": LONGEST + 1, "sha256": digest}
    assert listed(names[1:]) == names[1:]


def test_labels_by_index():
    assert labels(4, {0: "c001", 3: "c020"}, {0, 2, 3}) == ["c001", None, "2", "c020"]


@given(PLAIN)
def test_plain_values_are_plain(value):
    assert is_plain(value)
    assert not is_plain([value, object()])
    assert not is_plain({"a": (value,)})
