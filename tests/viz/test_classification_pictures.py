"""Most confused classes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import confusion_matrix

from vision_suite.viz.fgvc import Confusion, ConfusionRow, confusion_sheet, most_confused, readable


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60), st.integers(1, 30))
def test_pairs_are_those_of_the_confusion_matrix(answers, limit):
    label, prediction = np.array(answers, dtype=np.int64).T
    matrix = confusion_matrix(label, prediction, labels=range(5))
    found = most_confused(label, prediction, limit)
    wrong = sorted((int(matrix[a, b]) for a in range(5) for b in range(5) if a != b and matrix[a, b]), reverse=True)
    assert [c.count for c in found] == wrong[:limit]
    for c in found:
        assert c.count == matrix[c.label, c.prediction]
        assert c.total == matrix[c.label].sum()
        assert c.label != c.prediction
    assert len({(c.label, c.prediction) for c in found}) == len(found)


def test_equal_counts_are_ordered():
    label, prediction = np.array([0, 0, 0, 2, 1, 1]), np.array([1, 2, 0, 1, 0, 1])
    found = [(c.label, c.prediction) for c in most_confused(label, prediction, 9)]
    assert found == [(2, 1), (1, 0), (0, 1), (0, 2)]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("001.Black_footed_Albatross", "Black footed Albatross"),
        ("F/A-18", "F/A-18"),
        ("707-320", "707-320"),
        ("12", "12"),
        ("3.", "3."),
    ],
)
def test_names_are_readable(name, shown):
    assert readable(name) == shown


def test_sheet_holds_every_picture_once_and_leaves_its_margin_free():
    def picture(level):
        return Image.new("RGB", (120, 90), (level, level, 100))

    rows = [
        ConfusionRow(Confusion(0, 1, 2, 3), "A" * 90, "a very long name " * 9, [picture(1), picture(2)], [picture(3)]),
        ConfusionRow(Confusion(2, 1, 1, 1), "Short", "", [picture(4)], []),
    ]
    sheet = np.asarray(confusion_sheet(rows, title="t" * 300, subtitle="s" * 300))
    for level in (1, 2, 3, 4):
        rows_hit = (sheet == (level, level, 100)).all(axis=2)
        assert rows_hit.sum() > 5000
    assert (sheet[:, -8:] == 255).all()
    assert (sheet[:, :8] == 255).all()
    with pytest.raises(ValueError, match="at least one row"):
        confusion_sheet([])
