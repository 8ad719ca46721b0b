"""Mean-shift clusters against the oracle, scikit-learn's own labels, and the round trip of the file."""

import json

import numpy as np
import pytest

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.scanpath import (
    FACTORS,
    ClusterFile,
    build_clusters,
    cluster_stimulus,
    edit_distance,
    sequence_score,
    sequence_scores,
)

HUMANS = [
    [(245.8, 166.7), (78.5, 65.4), (441.5, 90.9), (420.0, 259.7)],
    [(250.4, 160.0), (434.3, 97.3), (417.1, 259.6), (414.9, 279.8)],
    [(249.1, 158.9), (100.3, 248.6), (82.4, 70.8), (423.5, 91.2), (429.8, 261.2)],
]
PREDICTION = [(256, 160), (84, 66), (425, 95), (100, 250), (415, 268)]


def renamed(strings):
    """Labels by order of appearance, so that their arbitrary numbers do not matter."""
    names = {}
    return [[names.setdefault(symbol, len(names)) for symbol in string] for string in strings]


def test_oracle():
    clusters = cluster_stimulus(HUMANS, FACTORS["current"])
    np.testing.assert_allclose(clusters.rates, [1.4286, 1.6, 1.6, 1.6, 1.6, 1.6, 1.6], atol=5e-5)
    assert (clusters.factor, len(clusters.centers), clusters.people, clusters.fixations) == (0.5, 5, 3, 13)
    assert clusters.bandwidth == pytest.approx(25.640890, abs=1e-6)
    strings = [clusters.string(path) for path in HUMANS]
    assert renamed(strings) == renamed([[2, 3, 1, 0], [2, 1, 0, 0], [2, 4, 3, 1, 0]])
    prediction = clusters.string(PREDICTION)
    scores = [sequence_score(prediction, string) for string in strings]
    np.testing.assert_allclose(scores, [0.8, 0.6, 0.8])
    assert np.mean(scores) == pytest.approx(0.733333, abs=1e-6)
    assert [edit_distance(prediction, string) for string in strings] == [1, 2, 2]
    cut = [sequence_score(prediction[:2], string[:2]) for string in strings]
    assert np.mean(cut) == pytest.approx(0.666667, abs=1e-6)
    every = sequence_scores(strings, [(i, j) for i in range(3) for j in range(3)]).reshape(3, 3)
    assert every[~np.eye(3, dtype=bool)].mean() == pytest.approx(0.716667, abs=1e-6)
    assert every.mean() == pytest.approx(0.811111, abs=1e-6)  # with self pairs: the classic error


def test_older_factors_give_other_clusters():
    clusters = cluster_stimulus(HUMANS, FACTORS["older"])
    assert (clusters.factor, len(clusters.centers)) == (0.25, 6)
    prediction = clusters.string(PREDICTION)
    assert [edit_distance(prediction, clusters.string(path)) for path in HUMANS] == [1, 3, 2]


def test_labels_are_those_of_scikit_learn():
    from sklearn.cluster import MeanShift

    points = np.random.default_rng(0).uniform(0, 500, (60, 2))
    clusters = cluster_stimulus([points[:20], points[20:45], points[45:]], FACTORS["current"])
    fitted = MeanShift(bandwidth=clusters.bandwidth).fit(points)
    np.testing.assert_allclose(fitted.cluster_centers_, clusters.centers)
    far = np.array([(-4000.0, 9000.0), (250.0, 250.0)])
    assert clusters.string(points) == fitted.labels_.tolist()
    assert clusters.string(far) == fitted.predict(far).tolist()


def test_file_round_trip(tmp_path):
    built = build_clusters({"a.jpg/cup": HUMANS, "b.jpg/cup": HUMANS[:1]}, note="training part")
    built.save(tmp_path / "made" / "clusters.json")
    read = ClusterFile.load(tmp_path / "made" / "clusters.json")
    assert (read.factors, read.quantile, read.note) == ("current", 0.3, "training part")
    np.testing.assert_array_equal(read["a.jpg/cup"].centers, built["a.jpg/cup"].centers)
    assert read["a.jpg/cup"].string(PREDICTION) == built["a.jpg/cup"].string(PREDICTION)
    data = json.loads((tmp_path / "made" / "clusters.json").read_text())
    assert data["version"] == 1
    assert data["factor_list"] == list(FACTORS["current"])
    with pytest.raises(DataError, match="stimulus 'c' is not among the 2"):
        read["c"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version 2"),
        ({"format": "other"}, "format 'other'"),
        ({"factor_list": [1.0]}, "factor_list is not that"),
        ({"factors": "newest"}, "no readable cluster file"),
        ({"stimuli": {"a": {"centers": [[0, "x"]]}}}, "no readable cluster file"),
        ({"stimuli": {"a": {"centers": []}}}, "not \\[K, 2\\]"),
        ({"stimuli": [1]}, "no readable cluster file"),
    ],
)
def test_wrong_files_are_refused(tmp_path, change, message):
    path = tmp_path / "clusters.json"
    build_clusters({"a": HUMANS}).save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=message):
        ClusterFile.load(path)


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(DataError, match="no readable cluster file"):
        ClusterFile.load(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(DataError, match="build it with build_clusters"):
        ClusterFile.load(tmp_path / "broken.json")


def test_degenerate_stimuli():
    same = cluster_stimulus([[(5, 5), (5, 5)], [(5, 5)]], FACTORS["current"])
    assert (same.bandwidth, same.centers.tolist()) == (0, [[5, 5]])
    one = cluster_stimulus([[(5, 5)]], FACTORS["current"])
    assert one.string([(9, 9), (0, 0)]) == [0, 0]
    with pytest.raises(DataError, match="has no fixation"):
        build_clusters({"a": [[], []]})
    with pytest.raises(ConfigError, match="factors='new'"):
        build_clusters({"a": HUMANS}, "new")
    with pytest.raises(ConfigError, match="quantile=5 must be above 0 and at most 1"):
        build_clusters({"a": [[(1, 1)]]}, quantile=5)
