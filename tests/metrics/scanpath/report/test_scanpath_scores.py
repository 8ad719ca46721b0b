"""The table of scores: compared pairs, means, ceilings, intervals, counts, and the protocol."""

import dataclasses

import numpy as np
import pytest

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.scanpath import (
    PAIR_SCORES,
    PairSettings,
    Scanpath,
    Scene,
    balanced_mean,
    bootstrap,
    cluster_stimulus,
    human_pairs,
    multimatch,
    pair_scores,
    scanmatch,
    scanpath_scores,
    sequence_score,
    stde,
    unpadded,
)
from vision_suite.metrics.scanpath.pairwise.clusters import FACTORS
from vision_suite.metrics.scanpath.report.protocol import best_by, mean_by
from vision_suite.types import BACKGROUND, PADDING

SCREEN = (800.0, 600.0)


def words(*strings, **observers):
    return [Scanpath([ord(letter) for letter in string]) for string in strings]


def random_path(generator, low=3, high=9):
    count = generator.integers(low, high)
    duration = generator.uniform(0.06, 0.5, count)
    return Scanpath(generator.integers(0, 6, count), generator.uniform(0, 600, (count, 2)), duration)


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    humans = [[random_path(generator) for _ in range(observers)] for observers in (3, 2, 4, 1)]
    models = [[random_path(generator) for _ in range(5)] for _ in humans]
    scenes = [
        Scene(
            SCREEN,
            ["cup", "cup", "fork", "fork", "dish", "pan"],
            cluster_stimulus([p.xy for p in observers], FACTORS["current"]),
        )
        for observers in humans
    ]
    return humans, models, scenes


def test_model_and_ceiling_by_hand():
    humans = [words("ABCD", "ABD", "AB"), words("XY", "XZ")]
    models = [words("ABCD", "D"), words("XY")]
    row = scanpath_scores(humans, models, ["sequence_score"]).rows["sequence_score"]
    first = (1 + 0.75 + 0.5 + 1 / 4 + 1 / 3 + 0) / 6
    assert row.model.value == pytest.approx((first + 0.75) / 2)
    assert row.human.value == pytest.approx(((0.75 + 0.5 + 2 / 3) / 3 + 0.5) / 2)
    assert row.best_model.value == pytest.approx(((1 + 1 / 3) / 2 + 1) / 2)
    assert row.best_human.value == pytest.approx(((0.75 + 0.75 + 2 / 3) / 3 + 0.5) / 2)
    assert (row.pairs, row.human_pairs, row.nan_pairs, row.higher_is_better) == (8, 8, 0, True)
    assert (row.model.stimuli, row.model.left_out) == (2, 0)


def test_the_best_distance_is_the_smallest():
    row = scanpath_scores([words("ABCD", "AB")], [words("ABC", "A")], ["edit_distance"]).rows["edit_distance"]
    assert row.model.value == pytest.approx((1 + 1 + 3 + 1) / 4)
    assert row.best_model.value == pytest.approx((1 + 1) / 2)
    assert not row.higher_is_better


def test_stimuli_with_one_observer_have_no_ceiling_and_are_counted():
    result = scanpath_scores([words("AB"), words("AB", "AC")], [words("AB"), words("AB")])
    row = result.rows["sequence_score"]
    assert (row.human.value, row.human.stimuli, row.human.left_out) == (0.5, 1, 1)
    assert row.model.stimuli == 2
    assert result.counts["stimuli_with_one_person"] == 1
    assert np.isnan(row.human.low)  # one stimulus has no interval


def test_one_observer_is_never_compared_with_oneself():
    assert human_pairs(["a", "a", "b"]) == [(0, 2), (1, 2), (2, 0), (2, 1)]
    assert human_pairs([None, None]) == [(0, 1), (1, 0)]
    assert human_pairs(["a"]) == []
    twice = [Scanpath([1, 2], observer="a"), Scanpath([1, 2], observer="a"), Scanpath([3, 4], observer="b")]
    assert scanpath_scores([twice], [words("A")]).rows["sequence_score"].human.value == 0


def test_balances():
    humans = [words("AB", "AB", "AB"), words("AB"), words("AB")]
    models = [words("AB"), words("A"), words("C")]
    by = {
        balance: scanpath_scores(humans, models, balance=balance, tasks=["cup", "cup", "fork"])
        for balance in ("stimulus", "task", "trial")
    }
    values = {balance: result.rows["sequence_score"].model.value for balance, result in by.items()}
    assert values == pytest.approx({"stimulus": 0.5, "task": 0.75 / 2, "trial": 3.5 / 5})
    assert "then over tasks" in by["task"].protocol["model"]
    with pytest.raises(ConfigError, match="needs tasks"):
        scanpath_scores(humans, models, balance="task")


@pytest.mark.parametrize("name", list(PAIR_SCORES))
def test_every_score_is_the_mean_of_its_pairs(data, name):
    humans, models, scenes = data
    result = scanpath_scores(humans, models, [name], scenes=scenes)
    for column, part in enumerate(PAIR_SCORES[name].columns or ("",)):
        row = result.rows[f"{name}/{part}" if part else name]
        by_stimulus, ceilings = [], []
        for observers, samples, scene in zip(humans, models, scenes, strict=True):
            paths = [*observers, *samples]
            split = len(observers)
            pairs = [(i, j) for i in range(split, len(paths)) for j in range(split)]
            by_stimulus.append(pair_scores(name, paths, [scene] * len(paths), np.array(pairs))[:, column].mean())
            pairs = [(i, j) for i in range(split) for j in range(split) if i != j]
            if pairs:
                ceilings.append(pair_scores(name, paths, [scene] * len(paths), np.array(pairs))[:, column].mean())
        assert row.model.value == pytest.approx(np.mean(by_stimulus))
        assert row.human.value == pytest.approx(np.mean(ceilings))
        assert row.model.low <= row.model.value <= row.model.high
        sign = 1 if row.higher_is_better else -1
        assert sign * row.best_model.value >= sign * row.model.value
        assert row.nan_pairs == 0


def test_scores_are_those_of_the_plain_functions(data):
    humans, models, scenes = data
    a, b = models[0][0], humans[0][0]
    one = np.array([[0, 1]])
    settings = PairSettings(step=0.1, bins=(8, 6))

    def score(name):
        return pair_scores(name, [a, b], [scenes[0]] * 2, one, settings)[0]

    assert score("sequence_score") == sequence_score(a.objects, b.objects)
    assert score("scanmatch_time") == scanmatch(a.fixations, b.fixations, SCREEN, (8, 6), temp_bin=0.1)
    assert score("scanmatch") == scanmatch(a.fixations, b.fixations, SCREEN, (8, 6))
    assert score("stde") == stde(a.xy, b.xy, SCREEN)
    np.testing.assert_array_equal(score("multimatch"), multimatch(a.fixations, b.fixations, SCREEN))
    assert score("length_error") == abs(len(a) - len(b))


def test_short_paths_are_left_out_and_counted(data):
    humans, _, scenes = data
    short = Scanpath([1, 2], [(0, 0), (1, 1)], [0.1, 0.1])
    models = [[short, humans[0][0]], [short], [humans[2][0]], [humans[3][0]]]
    result = scanpath_scores(humans, models, ["multimatch"], scenes=scenes)
    row = result.rows["multimatch/vector"]
    assert (row.pairs, row.nan_pairs) == (6 + 2 + 4 + 1, 3 + 2)
    assert (row.model.stimuli, row.model.left_out) == (3, 1)
    assert result.counts["model_short"] == 2
    assert "left out without a score: 5 of 13 pairs" in row.protocol
    padded = scanpath_scores(
        humans, models, ["multimatch"], scenes=scenes, settings=PairSettings(short="pad_ones")
    ).rows["multimatch/vector"]
    assert padded.nan_pairs == 0
    assert "filled up with (1, 1)" in padded.protocol


def test_cutting():
    humans, models = [words("CABD", "CABE")], [words("CABX")]

    def value(**settings):
        return scanpath_scores(humans, models, ["sequence_score"], **settings).rows["sequence_score"]

    assert value().model.value == 0.75
    assert value(max_fixations=3).model.value == 1
    assert value(drop_first=True).model.value == pytest.approx(2 / 3)
    assert "at most 3 fixations" in value(max_fixations=3).protocol
    assert "first fixation left out" in value(drop_first=True).protocol
    path = Scanpath([1, 2, 3], [(0, 0), (1, 1), (2, 2)], [0.1, 0.2, 0.3])
    cut = path.cut(2, drop_first=True)
    assert (list(cut.objects), list(cut.xy), list(cut.duration), cut.terminated) == ([2], [(1, 1)], [0.2], False)
    assert path.cut(3).terminated


def test_delta_and_counts():
    humans = [[Scanpath([3, 3, 7, 2, 7, 9])], [Scanpath([5, 1, 1, 9])], [Scanpath([])]]
    models = [
        [Scanpath([3, 7, 2, 9], terminated=False)],
        [Scanpath([5, 5, 1, 4, 4, 2])],
        [Scanpath([BACKGROUND])],
    ]
    result = scanpath_scores(humans, models, targets=[9, {9}, 9])
    assert result.delta.value == float(result.behaviour) == pytest.approx(0.375294118, abs=1e-9)
    assert result.metrics["delta"] == result.behaviour.delta
    assert result.delta.low <= result.delta.value <= result.delta.high
    assert (result.delta.stimuli, result.delta.left_out) == (2, 1)
    assert result.metrics["human/behaviour/length"] == 5
    wanted = {"human_empty": 1, "model_empty": 0, "model_unterminated": 1, "model_short": 1, "human_short": 1}
    assert {name: result.counts[name] for name in wanted} == wanted
    weighted = scanpath_scores([humans[0] * 3, humans[1]], models[:2], targets=[9, 9], balance="trial")
    assert weighted.behaviour.human["length"] == pytest.approx((3 * 6 + 4) / 4)


def test_metrics_and_protocol_are_plain():
    result = scanpath_scores([words("AB", "AC")] * 2, [words("AB")] * 2)
    assert all(isinstance(value, float) for value in result.metrics.values())
    assert set(result.metrics) >= {"sequence_score", "human/sequence_score", "best/edit_distance"}
    parts = ("ordered pairs of different observers", "1 samples, 2 observers", "95% percentile bootstrap", "seed 0")
    assert all(part in row.protocol for part in parts for row in result.rows.values())
    assert dataclasses.asdict(result)["counts"]["stimuli"] == 2


def test_intervals_are_seeded_and_cover():
    values = np.random.default_rng(0).normal(5, 1, 200)
    first, again = balanced_mean(values, seed=3), balanced_mean(values, seed=3)
    assert first == again != balanced_mean(values, seed=4)
    half = 1.96 * values.std(ddof=1) / np.sqrt(200)
    assert first.low == pytest.approx(values.mean() - half, abs=0.03)
    assert first.high == pytest.approx(values.mean() + half, abs=0.03)
    holes = balanced_mean(np.append(values, [np.nan, np.nan]), seed=3)
    assert (holes.value, holes.low, holes.left_out) == (first.value, first.low, 2)
    nothing = balanced_mean(np.array([np.nan]))
    assert np.isnan(nothing.value)
    assert (nothing.stimuli, nothing.left_out) == (0, 1)
    with pytest.raises(ConfigError, match="resamples=0"):
        bootstrap(values, lambda table: table.mean(axis=1), resamples=0)


def test_group_means():
    values, group = np.array([1.0, 3.0, np.nan, np.nan]), np.array([0, 0, 0, 2])
    np.testing.assert_array_equal(mean_by(values, group, 3), [2, np.nan, np.nan])
    np.testing.assert_array_equal(best_by(values, group, 3, higher=True), [3, np.nan, np.nan])
    np.testing.assert_array_equal(best_by(values, group, 3, higher=False), [1, np.nan, np.nan])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "needs objects or xy"),
        ({"duration": [0.1]}, "needs objects or xy"),
        ({"objects": [1, PADDING]}, "hold padding"),
        ({"objects": [1], "xy": [(0, 0), (1, 1)]}, "all of one length"),
        ({"xy": [(0, np.inf)]}, "not finite"),
        ({"xy": [(0, 0)], "duration": [250.0]}, "divide milliseconds"),
        ({"objects": [1], "duration": [250.0]}, "divide milliseconds"),
    ],
)
def test_malformed_scanpaths_are_refused(parts, message):
    with pytest.raises(DataError, match=message):
        Scanpath(**parts)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"scores": ["nonsense"]}, ConfigError, "score 'nonsense' is unknown"),
        ({"scores": []}, ConfigError, "give a score"),
        ({"max_fixations": 0}, ConfigError, "1 fixation or more"),
        ({"balance": "none"}, ConfigError, "balance='none'"),
        ({"models": []}, DataError, "one entry per stimulus"),
        ({"scores": ["stde"]}, DataError, "needs xy"),
        ({"scores": ["semantic_edit_distance"]}, DataError, "needs the categories"),
        ({"scores": ["cluster_sequence_score"]}, DataError, "needs the clusters"),
    ],
)
def test_what_is_missing_is_named(settings, error, message):
    with pytest.raises(error, match=message):
        scanpath_scores(**{"humans": [words("AB", "AC")], "models": [words("AB")], **settings})


def test_missing_screen_and_objects_are_named(data):
    humans, models, _ = data
    with pytest.raises(DataError, match="needs screen_size"):
        scanpath_scores(humans, models, ["scanmatch"])
    points = [[Scanpath(xy=path.xy) for path in observers] for observers in humans]
    with pytest.raises(DataError, match="needs the objects"):
        scanpath_scores(points, points, ["sequence_score"])
    with pytest.raises(DataError, match="delta needs the objects"):
        scanpath_scores(points, points, ["length_error"], targets=[1] * 4)


def test_stimuli_without_samples_are_counted():
    result = scanpath_scores([words("AB", "AC"), words("AB", "AC")], [words("AB"), []])
    assert result.counts["stimuli_without_samples"] == 1
    assert result.rows["sequence_score"].model.left_out == 1


def test_rows_of_a_batch():
    xy = np.full((3, 3, 2), np.nan)
    xy[0, :2] = [(1, 2), (3, 4)]
    paths = unpadded(
        [[4, BACKGROUND, PADDING], [5, 6, 7], [PADDING] * 3],
        xy,
        np.where(np.isnan(xy[..., 0]), np.nan, 0.2),
        observers=["a", "b", "c"],
        terminated=[True, False, True],
    )
    assert [list(path.objects) for path in paths] == [[4, BACKGROUND], [5, 6, 7], []]
    np.testing.assert_array_equal(paths[0].fixations, [(1, 2, 0.2), (3, 4, 0.2)])
    assert paths[1].xy is None
    assert np.isnan(paths[1].seconds).all()
    assert [(path.observer, path.terminated) for path in paths] == [("a", True), ("b", False), ("c", True)]
    with pytest.raises(DataError, match="before a fixation"):
        unpadded([[PADDING, 1]])
