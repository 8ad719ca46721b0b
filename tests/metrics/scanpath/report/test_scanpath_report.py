"""The report of a scanpath evaluation: compared pairs, likelihoods, behaviour, hits, counts, records."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scanpath_trials import row_of, trial_of

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.scanpath import Scanpath, Scene, scanpath_scores
from vision_suite.metrics.scanpath.report.build import scanpath_report
from vision_suite.metrics.scanpath.report.teacher_forced import expected_top_k, forced_scores, next_probabilities
from vision_suite.metrics.scanpath.report.trials import centres_of, stimuli, windows_like
from vision_suite.types import BACKGROUND, Condition

SCENES = {"s": row_of(10), "t": row_of(4)}
QUICK = {"resamples": 50, "baseline_samples": 3}


def paths(*sequences, terminated=True):
    return [Scanpath(list(sequence), terminated=terminated) for sequence in sequences]


def test_stimuli_share_scene_task_and_target():
    trials = [
        trial_of([0], subject="a"), trial_of([0], subject="b"), trial_of([0], task="fork"),
        trial_of([0], scene="t"),
        trial_of([0], target=1, targets=(1,)), trial_of([0], condition=Condition.ABSENT), trial_of([5], subject="c"),
    ]  # fmt: skip
    assert stimuli(trials) == [[0, 1, 6], [2], [3], [4], [5]]


def test_pieces_share_a_stimulus_if_they_begin_alike():
    trials = [trial_of(s, given=1, recording=r) for s, r in (([0, 1], 0), ([2, 1], 0), ([2, 3], 1), ([0, 9], 2))]
    assert stimuli(trials) == [[0, 3], [1, 2]]


def test_model_and_observers_by_hand_never_a_self_pair():
    trials = [trial_of([1, 2, 3, 4], subject="a"), trial_of([1, 2, 4], subject="b"), trial_of([0, 1], scene="t")]
    report = scanpath_report(
        trials, SCENES, [paths([1, 2, 3, 4]), paths([4]), paths([0, 1])], scores=["sequence_score"], **QUICK
    )
    first = (1 + 0.75 + 1 / 4 + 1 / 3) / 4
    assert report.metrics["sequence_score"] == pytest.approx((first + 1) / 2)
    assert report.metrics["human/sequence_score"] == pytest.approx(0.75)
    assert report.pairs["human"]["sequence_score"] == (2, 0)
    assert report.pairs["model"]["sequence_score"] == (5, 0)
    assert "1 with one observer" in report.protocol["stimuli"]
    assert "never a path with itself" in report.protocol["ceiling"]
    assert [trial["scores"]["sequence_score"] for trial in report.trials] == pytest.approx([1, 1 / 3, 1])


def test_two_paths_of_one_observer_are_no_pair_of_observers():
    trials = [trial_of([1, 2], subject="a"), trial_of([1, 2], subject="a")]
    report = scanpath_report(trials, SCENES, [paths([1]), paths([1])], scores=["sequence_score"], **QUICK)
    assert report.pairs["human"]["sequence_score"] == (0, 0)
    assert np.isnan(report.metrics["human/sequence_score"])


def test_given_fixations_count_only_if_wanted():
    trials = [trial_of([5, 1, 2], given=1), trial_of([5, 3, 4], given=1, subject="b")]
    samples = [paths([5, 1, 2]), paths([5, 9])]
    without = scanpath_report(trials, SCENES, samples, scores=["sequence_score"], **QUICK)
    assert without.metrics["sequence_score"] == pytest.approx((1 + 0 + 0 + 0) / 4)
    assert "left out" in without.protocol["fixations"]
    included = scanpath_report(trials, SCENES, samples, scores=["sequence_score"], include_given=True, **QUICK)
    assert included.metrics["sequence_score"] == pytest.approx((1 + 1 / 3 + 1 / 3 + 1 / 3) / 4)
    assert "included" in included.protocol["fixations"]


def test_samples_are_cut_where_the_recording_goes_on():
    trials = [trial_of([0, 1, 2], terminated=False), trial_of([0, 1], subject="b")]
    report = scanpath_report(
        trials, SCENES, [paths([0, 1, 2, 3, 4, 5]), paths([0, 1, 2, 3], terminated=False)], scores=["edit_distance"],
        **QUICK,
    )  # fmt: skip
    assert [len(trial["samples"][0]["objects"]) for trial in report.trials] == [3, 4]
    assert report.counts["model"]["cut"] == 1
    assert report.counts["model"]["unterminated"] == 1
    assert report.protocol["ends"].startswith("1 of 2 recordings go on")


def test_scores_are_those_of_the_metric_library_on_centres():
    trials = [trial_of([1, 2, 3, 7], subject="a"), trial_of([1, 5, BACKGROUND, 4], subject="b")]
    samples = [paths([1, 2, 9]), paths([4, 3, 1, 0])]
    report = scanpath_report(trials, SCENES, samples, **QUICK)
    placed = [
        [Scanpath(p, centres_of(np.array(p), SCENES["s"]), observer=o) for p, o in group]
        for group in (
            [([1, 2, 3, 7], "a"), ([1, 5, BACKGROUND, 4], "b")], [([1, 2, 9], None), ([4, 3, 1, 0], None)],
        )
    ]  # fmt: skip
    expected = scanpath_scores(placed[:1], placed[1:], ["scanmatch", "multimatch"], scenes=[Scene((400.0, 300.0))])
    for name in ("scanmatch", "multimatch/vector", "multimatch/position"):
        assert report.metrics[name.replace("/", "_")] == pytest.approx(expected.rows[name].model.value)
        assert report.metrics[f"human/{name.replace('/', '_')}"] == pytest.approx(expected.rows[name].human.value)
    assert centres_of(np.array([BACKGROUND, 0]), SCENES["s"]).tolist() == [[200, 150], [10, 10]]


def test_categories_are_the_labels_of_the_scene():
    scenes = {"s": row_of(4, labels=("cup", "fork", "cup", "fork"))}
    trials = [trial_of([0, 1, 2]), trial_of([2, 3, 1], subject="b")]
    samples = [paths([2, 3, 0]), paths([2, 3, 0])]
    names = ["semantic_sequence_score", "semantic_edit_distance"]
    report = scanpath_report(trials, scenes, samples, scores=names, **QUICK)
    assert report.metrics["semantic_sequence_score"] == pytest.approx((1 + 2 / 3) / 2)
    assert report.metrics["human/semantic_edit_distance"] == 1
    with pytest.raises(DataError, match="needs the categories of every stimulus"):
        scanpath_report(trials, {"s": row_of(4, labels=("cup", "", "", ""))}, samples, scores=names, **QUICK)


def test_short_paths_have_no_multimatch_and_are_counted():
    trials = [trial_of([1, 2, 3]), trial_of([1, 2, 4], subject="b")]
    report = scanpath_report(trials, SCENES, [paths([1, 2, 3]), paths([1])], scores=["multimatch"], **QUICK)
    assert report.pairs["model"]["multimatch_vector"] == (4, 2)
    assert report.pairs["model"]["multimatch_duration"] == (4, 4)
    assert (report.counts["model"]["short"], report.counts["human"]["short"]) == (1, 0)


def test_the_delta_of_the_method_document():
    human = [[3, 3, 7, 2, 7, 9], [5, 1, 1, 9]]
    trials = [trial_of(s, targets=(9,), scene=name) for s, name in zip(human, "sv", strict=True)]
    scenes = {"s": row_of(10), "v": row_of(10)}
    report = scanpath_report(trials, scenes, [paths([3, 7, 2, 9]), paths([5, 5, 1, 4, 4, 2])], **QUICK)
    assert report.metrics["delta"] == pytest.approx(0.375294118, abs=1e-9)
    behaviours = [report.rows["model"][f"behaviour_{name}"] for name in ("correct", "length", "search", "refix")]
    assert behaviours == pytest.approx([0.5, 5, 0.833333, 0.166667], abs=1e-6)
    assert report.rows["human"]["behaviour_revisit"] == pytest.approx(0.083333, abs=1e-6)
    assert {"random", "next_object"} <= {name for name, row in report.rows.items() if "delta" in row}


def test_free_viewing_has_neither_delta_nor_hits():
    trials = [trial_of([1, 2], condition=Condition.FREE, task=""), trial_of([1, 3], targets=(3,))]
    report = scanpath_report(trials, SCENES, [paths([1]), paths([1, 3])], scores=["edit_distance"], **QUICK)
    assert report.counts["model"]["stimuli_without_delta"] == 1
    alone = scanpath_report(trials[:1], SCENES, [paths([1])], scores=["edit_distance"], **QUICK)
    assert alone.hits == {}
    assert "delta" not in alone.metrics
    assert "delta" not in alone.protocol


def test_hit_curves_by_hand():
    trials = [trial_of([1, 2, 3], targets=(3,)), trial_of([3, 4], targets=(3,), subject="b"),
              trial_of([0, 1, 2], targets=(1, 2), scene="t")]  # fmt: skip
    samples = [paths([3], [1, 1]), paths([2, 3]), paths([0])]
    report = scanpath_report(trials, SCENES, samples, scores=["edit_distance"], **QUICK)
    np.testing.assert_allclose(report.hits["human"][0], [1 / 4, 3 / 4, 1])
    np.testing.assert_allclose(report.hits["model"][0], [1 / 6, 1 / 3, 1 / 3])
    low, high = report.hits["model"][1:]
    assert ((low <= report.hits["model"][0]) & (report.hits["model"][0] <= high)).all()
    assert report.metrics["hit"] == pytest.approx(1 / 3)
    assert set(report.hits) == {"model", "human"}


def test_likelihood_of_the_model_and_of_uniform():
    trials = [trial_of([3, 1, 2], scene="t"), trial_of([0, 2], scene="t", given=1, terminated=False)]
    generator = np.random.default_rng(0)
    logits = [generator.normal(size=(4, 6)), generator.normal(size=(2, 6))]
    for table in logits:
        table[:, 4] = -np.inf
    report = scanpath_report(trials, SCENES, [[], []], logits=logits, scores=["edit_distance"], **QUICK)
    nats = []
    for row, column in enumerate([3, 1, 2, 5]):
        kept = [0, 1, 2, 3] if row == 0 else [0, 1, 2, 3, 5]
        nats.append(np.log(np.exp(logits[0][row, kept]).sum()) - logits[0][row, column])
    assert -np.array(report.trials[0]["human"]["step_log_probs"]) == pytest.approx(nats)
    nats.append(np.log(np.exp(logits[1][1, [0, 1, 2, 3, 5]]).sum()) - logits[1][1, 2])
    assert len(report.trials[1]["human"]["step_log_probs"]) == 1, "neither the given one nor the end"
    assert report.metrics["nats_per_fixation"] == pytest.approx(sum(nats) / 4)
    uniform = np.log(4) + 4 * np.log(5)
    assert report.metrics["random/nats_per_fixation"] == pytest.approx(uniform / 4)
    assert report.metrics["bits_over_uniform"] == pytest.approx((uniform - sum(nats)) / 5 / np.log(2))
    assert report.metrics["random/top1"] == pytest.approx((1 / 4 + 3 / 5) / 4)
    np.testing.assert_allclose([table.sum(axis=1).max() for table in report.probabilities], 1)
    assert report.probabilities[0][0, 5] == 0


def test_a_sure_model_is_right():
    trials = [trial_of([2, 0], scene="t")]
    table = np.full((3, 6), -30.0)
    table[[0, 1, 2], [2, 0, 5]] = 0
    report = scanpath_report(trials, SCENES, [paths([2, 0])], logits=[table], scores=["edit_distance"], **QUICK)
    assert report.metrics["top1"] == 1
    assert report.metrics["nats_per_fixation"] == pytest.approx(0, abs=1e-9)
    assert next_probabilities(table)[2, 5] == pytest.approx(1)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=8), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_ties_are_broken_at_random(values, k):
    """The chances of all columns to be among the k likeliest sum to k."""
    table = np.tile(np.array(values, dtype=float), (len(values), 1))
    chance = expected_top_k(table, np.arange(len(values)), k)
    assert chance.sum() == pytest.approx(min(k, len(values)))
    assert ((chance >= 0) & (chance <= 1)).all()


def test_greedy_paths_are_a_predictor_of_their_own():
    trials = [trial_of([1, 2, 3]), trial_of([1, 2, 3], subject="b")]
    report = scanpath_report(
        trials, SCENES, [paths([9]), paths([9])], greedy=paths([1, 2, 3], [1, 2, 3]), scores=["sequence_score"],
        sample_log_probs=[[-1.5], [float("-inf")]], **QUICK,
    )  # fmt: skip
    assert report.metrics["mode/sequence_score"] == 1
    assert report.metrics["sequence_score"] == 0
    assert report.trials[0]["greedy"]["objects"] == [1, 2, 3]
    assert [trial["samples"][0]["log_prob"] for trial in report.trials] == [-1.5, None]


def test_pieces_meet_windows_of_other_observers():
    whole = [trial_of([0, 1, 2, 3, 1, 2], subject="a"), trial_of([4, 1, 2, 9, 1, 5, 5, 1], subject="b")]
    windows = [trial_of([1, 2, 3], subject="a", given=1, recording=0, first=1, terminated=False)]
    found = windows_like(windows[0], whole, SCENES["s"])
    assert [path.objects.tolist() for path in found] == [[1, 2, 9], [1, 5, 5]], "of b, and whole ones only"
    report = scanpath_report(windows, SCENES, [paths([1, 2, 3])], recordings=whole, scores=["sequence_score"], **QUICK)
    assert report.metrics["human/sequence_score"] == pytest.approx((1 / 2 + 0) / 2)
    assert "windows of other observers" in report.protocol["ceiling"]
    assert report.protocol["paths"] == "1 windows of 1 recordings"


def test_an_unseen_observer_meets_the_observers_of_the_training_part():
    """A split by subject leaves one observer a stimulus, who would have no human ceiling."""
    trials = [trial_of([5, 1, 2], given=1), trial_of([3, 2], scene="t")]
    training = [trial_of([5, 1, 4], given=1, subject="b"), trial_of([6, 9, 9], given=1, subject="c"),
                trial_of([5, 1, 2], given=1, subject="b", task="fork"), trial_of([5, 1, 2], given=1)]  # fmt: skip
    samples = [paths([5, 1, 2]), paths([0])]
    make = {"training": training, "scores": ["sequence_score"], **QUICK}
    report = scanpath_report(trials, SCENES, samples, **make)
    assert report.metrics["human/sequence_score"] == pytest.approx((1 / 2 + 0) / 2)
    assert report.pairs["human"]["sequence_score"] == (2, 0)
    assert "observers of the training part" in report.protocol["ceiling"]
    included = scanpath_report(trials, SCENES, samples, include_given=True, **make)
    assert included.metrics["human/sequence_score"] == pytest.approx((2 / 3 + 0) / 2)
    usual = scanpath_report(
        [*trials, trial_of([5, 7, 7], given=1, subject="d")], SCENES, [*samples, paths([5])], **make
    )
    assert usual.metrics["human/sequence_score"] == 0, "observers of one stimulus meet each other alone"
    assert "all ordered pairs" in usual.protocol["ceiling"]


def test_pieces_of_an_unseen_reader_meet_windows_of_the_training_part():
    window = [trial_of([1, 2, 3], given=1, recording=0, first=0, terminated=False)]
    whole, other = [trial_of([1, 2, 3])], [trial_of([0, 1, 2, 9], subject="b")]
    make = {"recordings": whole, "scores": ["sequence_score"], **QUICK}
    report = scanpath_report(window, SCENES, [paths([1, 2, 3])], training=other, **make)
    assert report.metrics["human/sequence_score"] == pytest.approx(1 / 2)


def test_records_are_plain_and_seeds_decide():
    duration = np.array([0.2, np.nan], dtype=np.float32)
    trials = [
        trial_of([1, 2], duration=duration, targets=(2,), target=2),
        trial_of([1, 0], subject="b", targets=(2,)),
    ]
    samples = [[Scanpath([1, 2], duration=[0.3, 0.4])], paths([1, 0])]
    make = {"training": trials, "scores": ["sequence_score"], "protocol": {"split": "by image"}, **QUICK}
    one, same, other = (scanpath_report(trials, SCENES, samples, seed=seed, **make) for seed in (0, 0, 1))
    json.dumps(one.trials, allow_nan=False)
    assert one.trials[0]["human"]["duration"] == [pytest.approx(0.2), None]
    assert one.trials[0]["samples"][0]["duration"] == [0.3, 0.4]
    assert one.trials[0]["condition"] == "present"
    assert one.protocol["split"] == "by image"
    np.testing.assert_equal(one.metrics, same.metrics)
    assert one.rows["random"] != other.rows["random"]
    np.testing.assert_equal(one.rows["human"], other.rows["human"])
    assert {"model", "human", "random", "next_object", "offsets"} == set(one.rows)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"samples": []}, DataError, "1 trials.*'samples': 0"),
        ({"logits": [np.zeros((3, 6))]}, DataError, r"shape \(3, 6\)"),
        ({"logits": [np.zeros((2, 12))]}, DataError, r"\(3, 12\)"),
        ({"samples": [paths([2, 1])]}, DataError, "must begin with"),
        ({"samples": [paths([1, 10])]}, DataError, "object 10 of 10"),
        ({"samples": [[Scanpath(xy=[[1, 2]])]]}, DataError, "has no objects"),
        ({"scores": ["beauty"]}, ConfigError, "beauty"),
        ({"scenes": {}}, DataError, "'s'"),
        ({"trials": []}, DataError, "no trial"),
    ],
)
def test_what_does_not_fit_is_refused(changes, error, message):
    usual = {"trials": [trial_of([1, 2], given=1)], "scenes": SCENES, "samples": [paths([1, 2])]}
    with pytest.raises(error, match=message):
        scanpath_report(**{**usual, **QUICK, **changes})


def test_tables_are_one_per_trial():
    with pytest.raises(DataError, match="0 trials were given, but there are 1"):
        forced_scores([trial_of([1])], [], [10], [[0]], uniform=[np.zeros((2, 12))], resamples=5, seed=0)
