"""The public annotations of the Amazon covers, where they are: $AMAZON_COVERS, or shared/data beside the checkout."""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from vision_suite.datasets.scanpath.data import ScanpathData
from vision_suite.datasets.scanpath.readers.amazon_covers import read_amazon_covers

HERE = Path(__file__).resolve().parents[4].parent / "shared" / "data" / "amazon_covers"
FOLDER = Path(os.environ.get("AMAZON_COVERS", HERE))
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not (FOLDER / "Amazon.json").is_file(), reason="AMAZON_COVERS names no folder with Amazon.json"),
]


@pytest.fixture(scope="module")
def data():
    return ScanpathData("amazon_covers", str(FOLDER), num_workers=0, seed=0)


def test_the_file_has_the_measured_numbers():
    found = read_amazon_covers(FOLDER)
    lengths = np.array([trial.length for trial in found.trials])
    assert (len(found.scenes), len(found.trials), lengths.sum()) == (100, 600, 8683)
    assert (lengths.min(), lengths.max()) == (2, 91)
    assert (lengths.mean(), lengths.std()) == (pytest.approx(14.472, abs=5e-4), pytest.approx(13.532, abs=5e-4))
    assert not found.problems["fixations_outside"]
    assert sorted({trial.task for trial in found.trials}) == [f"target_{n}" for n in range(5)]


def test_585_trials_not_594(data):
    trials = [trial for stage in ("fit", "validate", "test") for trial in data.trials(stage)]
    lengths = [trial.length for trial in trials]
    assert len(trials) == 585
    assert (np.mean(lengths), max(lengths)) == (pytest.approx(12.887, abs=5e-4), 54)
    assert data.protocol["problems"] == {"trials_of_unusual_length": 15}
    assert data.protocol["length_filter"]["high"] == pytest.approx(55.07, abs=5e-3)
    assert data.protocol["counts"]["test"]["scenes"] == 10


def test_human_behaviour_has_the_reference_values(data):
    rows = []
    for trial in (trial for stage in ("fit", "validate", "test") for trial in data.trials(stage)):
        path = trial.sequence.tolist()
        again = sum(a == b for a, b in pairwise(path))
        new = len(set(path))
        rows.append([path[-1] == trial.target, new / len(path), again / len(path), 1 - (new + again) / len(path)])
    np.testing.assert_allclose(np.mean(rows, axis=0), [0.8496, 0.7831, 0.1722, 0.0448], atol=5e-5)


def test_unseen_targets_are_five_folds_of_twenty_collages():
    for fold in range(5):
        data = ScanpathData("amazon_covers", str(FOLDER), split="target", fold=fold, num_workers=0, seed=0)
        assert len(data.scenes("test")) == 20
        assert {trial.task for trial in data.trials("test")} == {f"target_{fold}"}
        assert data.protocol["split"]["images_in_two_parts"] == 0
