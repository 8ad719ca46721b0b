"""Detection metrics against hand oracles and plain loops."""

import random
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tad_reference import loop_map, loop_recall

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.tad.errors import analyse_errors
from vision_suite.metrics.tad.scoring import ACTIVITYNET, THUMOS, average_recall, mean_average_precision


def truth(**videos):
    """Ground truth from lists of (start, end) or (start, end, label)."""
    database = {}
    for name, segments in videos.items():
        notes = [{"segment": list(s[:2]), "label": s[2] if len(s) > 2 else "a"} for s in segments]
        database[name] = {"subset": "validation", "duration": 100.0, "annotations": notes}
    return {"version": "VERSION 1.3", "taxonomy": [], "database": database}


def found(**videos):
    """Results from lists of (start, end, score) or (start, end, score, label)."""
    results = {
        name: [{"segment": list(s[:2]), "score": s[2], "label": s[3] if len(s) > 3 else "a"} for s in segments]
        for name, segments in videos.items()
    }
    return {"version": "VERSION 1.3", "results": results, "external_data": {}}


TWO = truth(v=[(0, 10), (20, 30)])


@pytest.mark.parametrize(
    ("ground_truth", "predictions", "thresholds", "expected"),
    [
        (TWO, found(v=[(0, 10, 0.9), (0, 9, 0.8), (20, 30, 0.7)]), (0.5, 0.75, 0.95), (5 / 6, 5 / 6, 5 / 6)),
        # The second prediction's best annotation is taken, the other one reaches .5385.
        (truth(v=[(0, 10), (4, 14)]), found(v=[(0, 10, 0.9), (1, 11, 0.8)]), (0.5, 0.6), (1.0, 0.5)),
        (truth(v=[(0, 10)]), found(v=[(0, 5, 0.9)]), (0.5, 0.55), (1.0, 0.0)),
        (truth(v=[(0, 10)], w=[(0, 5, "b")]), found(v=[(0, 10, 1.0)]), (0.5,), (0.5,)),
        (truth(v=[(0, 10)], empty=[]), found(empty=[(0, 10, 0.99)], v=[(0, 10, 0.5)]), (0.5,), (0.5,)),
        (truth(v=[(0, 10)]), found(unheard_of=[(0, 10, 0.99)], v=[(0, 10, 0.5)]), (0.5,), (0.5,)),
        (truth(v=[(0, 10), (0, 10)]), found(v=[(0, 10, 0.9)]), (0.5,), (0.5,)),
        (truth(v=[(0, 10), (0, 10)]), found(v=[(0, 10, 0.9), (0, 10, 0.8)]), (0.5,), (1.0,)),
    ],
)
def test_hand_oracles(ground_truth, predictions, thresholds, expected):
    result = mean_average_precision(ground_truth, predictions, thresholds)
    np.testing.assert_allclose(result["mAP"], expected, atol=1e-12)
    assert result["average_mAP"] == pytest.approx(np.mean(expected))


def test_truth_as_prediction_is_perfect():
    ground_truth = truth(a=[(0, 4), (5, 9, "b")], b=[(1, 3, "b"), (1.5, 3.5, "b")], c=[(7, 8)])
    results = found(
        **{
            name: [(*note["segment"], 1.0, note["label"]) for note in entry["annotations"]]
            for name, entry in ground_truth["database"].items()
        }
    )
    assert mean_average_precision(ground_truth, results)["average_mAP"] == 1.0


def random_case(seed, videos=6, labels="abc"):
    rng = random.Random(seed)

    def segment():
        start = rng.choice([rng.uniform(0, 50), float(rng.randrange(0, 50, 5))])
        return start, start + rng.choice([rng.uniform(0.1, 40), 10.0])

    ground_truth = truth(
        **{f"v{n}": [(*segment(), rng.choice(labels)) for _ in range(rng.randrange(5))] for n in range(videos)},
        first=[(*segment(), label) for label in labels],
    )
    results = {}
    for n in range(videos + 1):
        entries = [(*segment(), rng.random(), rng.choice(labels)) for _ in range(rng.randrange(12))]
        for note in ground_truth["database"].get(f"v{n}", {"annotations": []})["annotations"]:
            start, end = (x + rng.gauss(0, 2) for x in note["segment"])
            if end > start:
                entries.append((start, end, rng.random(), rng.choice([note["label"], rng.choice(labels)])))
        results[f"v{n}"] = entries
    return ground_truth, found(**results)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9))
def test_map_equals_plain_loops(seed):
    ground_truth, predictions = random_case(seed)
    result = mean_average_precision(ground_truth, predictions, ACTIVITYNET)
    expected = loop_map(ground_truth["database"], predictions["results"], ACTIVITYNET)
    for row, threshold in enumerate(ACTIVITYNET):
        for column, label in enumerate(result["classes"]):
            assert result["ap"][row, column] == pytest.approx(expected[threshold, label], abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9), st.sampled_from([1, 3, 10, 100]))
def test_recall_equals_plain_loops(seed, max_avg):
    ground_truth, predictions = random_case(seed)
    if not any(predictions["results"][v] for v in predictions["results"] if v in ground_truth["database"]):
        return
    try:
        result = average_recall(ground_truth, predictions, max_avg)
    except DataError as error:
        assert "leaves no proposal" in str(error) or "no proposal for any" in str(error)  # noqa: PT017
        return
    expected = loop_recall(ground_truth["database"], predictions["results"], max_avg, ACTIVITYNET)
    np.testing.assert_allclose(result["AR"], expected, atol=1e-12)


def test_recall_oracles():
    ranked = [(0, 10), *[(40 + n, 41 + n) for n in range(8)], (20, 28), *[(60, 61)] * 90]
    hundred = found(v=[(*segment, 1 - n / 1000) for n, segment in enumerate(ranked)])
    ten = found(v=[(*segment, 1 - n / 1000) for n, segment in enumerate(ranked[:10])])
    for proposals in (hundred, ten):
        result = average_recall(TWO, proposals)
        values = [result[f"AR@{n}"] for n in (1, 5, 10, 100)]
        np.testing.assert_allclose(values, (0.5, 0.5, 0.85, 0.85))
        assert result["AUC"] == pytest.approx(81.175)
    pooled = average_recall(truth(v=[(0, 10), (20, 30)], w=[(0, 50)]), hundred)
    np.testing.assert_allclose([pooled[f"AR@{n}"] for n in (1, 5, 100)], (1 / 3, 0.566667, 0.566667), atol=1e-6)
    assert pooled["AUC"] == pytest.approx(55.2833, abs=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**9))
def test_the_order_of_a_file_never_matters(seed):
    ground_truth, predictions = random_case(seed)
    for entries in predictions["results"].values():
        for entry in entries:
            entry["score"] = round(entry["score"], 1)  # many ties
    rng = random.Random(seed)
    shuffled = {name: rng.sample(entries, len(entries)) for name, entries in predictions["results"].items()}
    other = {"results": dict(rng.sample(sorted(shuffled.items()), len(shuffled)))}
    one, two = (mean_average_precision(ground_truth, p)["ap"] for p in (predictions, other))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("segment", [(5, 5), (10, 0), (float("nan"), 3), (0, float("inf"))])
def test_unusable_segments_are_refused_or_dropped_with_a_count(segment):
    ground_truth, bad = truth(v=[(0, 10)]), found(v=[(*segment, 0.9), (0, 10, 0.5)])
    for function in (mean_average_precision, average_recall):
        with pytest.raises(DataError, match=r"1 of 2 predictions have a segment without a positive.*'v'"):
            function(ground_truth, bad)
    result = mean_average_precision(ground_truth, bad, (0.5,), invalid="drop")
    assert result["mAP"][0] == 1.0
    assert result["counts"]["dropped_segments"] == 1
    assert average_recall(ground_truth, bad, invalid="drop")["counts"]["dropped_segments"] == 1


def test_annotations_without_length_are_left_out_with_a_count():
    ground_truth = truth(v=[(0, 10), (5, 5), (9, 3)])
    result = mean_average_precision(ground_truth, found(v=[(0, 10, 0.5)]))
    assert result["average_mAP"] == 1.0
    assert result["counts"]["dropped_annotations"] == 2


def test_a_class_without_a_usable_annotation_scores_zero():
    """As in the official code, whose class list comes from all annotations of the subset."""
    ground_truth = truth(v=[(0, 10), (5, 5, "b")])
    predictions = found(v=[(0, 10, 0.9), (0, 3, 0.5, "b")])
    result = mean_average_precision(ground_truth, predictions, (0.5,))
    assert (result["classes"], result["ap"].tolist(), result["average_mAP"]) == (["a", "b"], [[1.0, 0.0]], 0.5)
    assert np.isfinite(analyse_errors(ground_truth, predictions)["profile"]).all()


def test_text_segments_and_prefixed_ids_are_understood():
    ground_truth = truth(v=[("0", "10.0")])
    assert mean_average_precision(ground_truth, found(v_v=[(0, 10, 0.5)]))["average_mAP"] == 1.0
    prefixed = truth(v_v=[(0, 10)], v_w=[(0, 10)])
    for blocked in (["w"], ["v_w"]):
        result = mean_average_precision(prefixed, found(v=[(0, 10, 0.5)], w=[(0, 1, 0.9)]), blocked=blocked)
        assert (result["average_mAP"], result["counts"]["blocked"]) == (1.0, 1)


def test_predictions_of_other_videos_alone_are_warned_of():
    ground_truth = truth(v=[(0, 10)])
    with pytest.warns(UserWarning, match="none of the 2 predicted videos, such as 'w', is in the ground truth"):
        assert mean_average_precision(ground_truth, found(x=[(0, 10, 0.5)], w=[(0, 1, 0.5)]))["average_mAP"] == 0
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="none of the")
        mean_average_precision(ground_truth, found(x=[(0, 10, 0.5)], v=[(0, 1, 0.5)]))
        mean_average_precision(ground_truth, found(x=[]))


def test_unknown_labels_and_videos():
    ground_truth, predictions = truth(v=[(0, 10)]), found(v=[(0, 10, 0.5), (0, 9, 0.9, "zumba")], w=[(0, 1, 0.1)])
    with pytest.raises(DataError, match=r"1 predictions have a label.*'zumba'"):
        mean_average_precision(ground_truth, predictions)
    result = mean_average_precision(ground_truth, predictions, unknown_labels="drop")
    assert result["average_mAP"] == 1.0
    assert result["counts"] | {"unknown_labels": 1, "unknown_videos": 1} == result["counts"]


def test_blocked_videos_and_subsets():
    ground_truth = truth(v=[(0, 10)], w=[(0, 10)])
    ground_truth["database"]["x"] = {"subset": "training", "annotations": [{"segment": [0, 1], "label": "other"}]}
    predictions = found(v=[(0, 10, 0.5)], w=[(30, 40, 0.9)])
    result = mean_average_precision(ground_truth, predictions, subset="validation", blocked=["w"])
    assert (result["average_mAP"], result["classes"], result["counts"]["blocked"]) == (1.0, ["a"], 1)


@pytest.mark.parametrize(
    ("ground_truth", "predictions", "thresholds", "message"),
    [
        ({}, found(), (0.5,), "no 'database'"),
        (truth(), found(), (0.5,), "no video of subset"),
        (truth(v=[]), found(), (0.5,), "usable annotation"),
        (truth(v=[(0, 1)]), {}, (0.5,), "no 'results'"),
        (truth(v=[(0, 1)]), {"results": {"v": [{"segment": [0, 1], "score": 1}]}}, (0.5,), "has no 'label'"),
        (truth(v=[(0, 1)]), {"results": {"v": [{"label": "a", "score": 1}]}}, (0.5,), r"must be \[start, end\]"),
        (truth(v=[(0, 1)]), {"results": {"v": [{"label": "a", "segment": [0, 1]}]}}, (0.5,), "no number as 'score'"),
        (truth(v=[(0, 1)]), found(v=[(0, 1, 1)]), (), "one or more numbers"),
        (truth(v=[(0, 1)]), found(v=[(0, 1, 1)]), (50.0,), "one or more numbers"),
        (truth(v=[(0, 1)]), found(v=[(0, 1, 1)]), ("x",), r"thresholds \('x',\) must be a list of numbers"),
        (None, found(), (0.5,), r"ground truth \(NoneType\) has no 'database'.*json.load"),
        ("truth.json", found(), (0.5,), r"ground truth \(str\) has no 'database'.*json.load"),
        ([1], found(), (0.5,), "no 'database'"),
        ({"database": [1]}, found(), (0.5,), "no 'database'"),
        ({"database": {"v": 3}}, found(), (0.5,), "has 3 for video 'v': give a dictionary"),
        ({"database": {"v": {"annotations": None}}}, found(), (0.5,), "None as 'annotations' of video 'v'"),
        ({"database": {"v": truth(v=[(0, 1)])["database"]["v"] | {"duration": "10 s"}}}, found(), (0.5,), "'10 s'"),
        (truth(v=[(0, 1)]), [1], (0.5,), "no 'results'"),
        (truth(v=[(0, 1)]), {"results": {"v": None}}, (0.5,), "has None for video 'v': give a list"),
        (truth(v=[(0, 1)]), {"results": {"v": 3}}, (0.5,), "has 3 for video 'v'"),
        (truth(v=[(0, 1)]), {"results": {"v": [], "v_v": []}}, (0.5,), "'v' twice, with and without v_"),
        ({"database": {"v": {"annotations": [{"label": "a", "segment": "19"}]}}}, found(), (0.5,), r"must be \[start"),
        (truth(v=[(0, 1)]), {"results": {"v": [{"label": "a", "score": 1, "segment": "19"}]}}, (0.5,), r"must be \[st"),
    ],
)
def test_malformed_input_is_one_line(ground_truth, predictions, thresholds, message):
    with pytest.raises(DataError, match=message):
        mean_average_precision(ground_truth, predictions, thresholds)


def test_settings_that_mean_nothing_are_one_line():
    for words in ({"invalid": "dorp"}, {"unknown_labels": "dorp"}):
        with pytest.raises(ConfigError, match="'dorp' is not known: choose one of error, drop"):
            mean_average_precision(TWO, found(), **words)
    for max_avg in (None, 0, float("nan"), float("inf"), "9"):
        with pytest.raises(DataError, match=f"max_avg={max_avg!r} must be 1 or more"):
            average_recall(TWO, found(v=[(0, 1, 1)]), max_avg)


def test_no_prediction_is_zero_and_no_proposal_is_an_error():
    assert mean_average_precision(TWO, found(), THUMOS)["average_mAP"] == 0
    with pytest.raises(DataError, match="no proposal for any annotated video"):
        average_recall(TWO, found())
