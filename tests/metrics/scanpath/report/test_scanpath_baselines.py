"""Simple predictors: their probabilities and paths by hand, and on the OneStop-mini pages the measured figures."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scanpath_trials import row_of, trial_of

from vision_suite.datasets.prepare.fetch import data_dir
from vision_suite.datasets.scanpath.data import ScanpathData
from vision_suite.datasets.scanpath.readers.amazon_covers import LENGTH_DEVIATIONS, read_amazon_covers
from vision_suite.datasets.scanpath.records import drop_long
from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.scanpath import Scanpath, likelihood, step_log_probabilities
from vision_suite.metrics.scanpath.report.baselines import (
    Choices,
    baseline_paths,
    fit_offsets,
    next_object_path,
    offset_paths,
    random_paths,
    uniform_log_probabilities,
)
from vision_suite.metrics.scanpath.report.build import scanpath_report
from vision_suite.metrics.scanpath.report.trials import windows_like
from vision_suite.types import BACKGROUND

HERE = Path(__file__).resolve().parents[4].parent / "shared" / "data" / "amazon_covers"
AMAZON = Path(os.environ.get("AMAZON_COVERS", HERE))
NOTHING_ELSE = Choices(background=False, ends=False)


def test_the_histogram_by_hand():
    histogram = fit_offsets([trial_of([0, 1, 2, 2]), trial_of([2, 1])], NOTHING_ELSE)
    assert histogram.counts == {1: 2, 0: 1, -1: 1}
    table = histogram.transitions(3)
    np.testing.assert_allclose(table[0], np.array([1.05, 2.05, 0.05]) / 3.15)
    np.testing.assert_allclose(table[2], np.array([0.05, 1.05, 1.05]) / 2.15)
    np.testing.assert_allclose(table[3], 1 / 3)
    logs = histogram.log_probabilities([0, 1], 3)
    assert logs.shape == (3, 5)
    np.testing.assert_allclose(np.exp(logs[1, :3]), table[0])
    assert np.isneginf(logs[:, 3:]).all(), "neither background nor end occurs"


def test_background_and_end_have_their_share():
    trials = [trial_of([0, 1, BACKGROUND, 1]), trial_of([0, 1], terminated=False)]
    choices = Choices.of(trials)
    assert choices == Choices(background=True, ends=True)
    histogram = fit_offsets(trials, choices)
    assert histogram.unused == 2
    assert histogram.background == pytest.approx(1.05 / 4.1)
    assert histogram.end == pytest.approx(1.05 / 5.1)
    logs = histogram.log_probabilities([0, BACKGROUND], 3)
    np.testing.assert_allclose(np.exp(logs).sum(axis=1), 1)
    np.testing.assert_allclose(np.exp(logs[2, :3]), (1 - 1.05 / 4.1) * (1 - 1.05 / 5.1) / 3)


def test_the_uniform_scanpath_of_the_method_document():
    logs = uniform_log_probabilities([3, 80, 7], 84, Choices(background=False, ends=True))
    assert -step_log_probabilities(logs, [3, 80, 7]).sum() == pytest.approx(17.758770, abs=1e-6)


@given(
    st.lists(st.integers(0, 6), min_size=2, max_size=9),
    st.lists(st.sampled_from([BACKGROUND, 0, 1, 2, 3, 4, 5, 6]), min_size=1, max_size=6),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_probabilities_sum_to_one(training, sequence, background, ends):
    choices = Choices(background, ends)
    histogram = fit_offsets([trial_of(training)], choices)
    for logs in (histogram.log_probabilities(sequence, 7), uniform_log_probabilities(sequence, 7, choices)):
        assert logs.shape == (len(sequence) + 1, 9)
        np.testing.assert_allclose(np.exp(logs).sum(axis=1), 1)
        assert np.isfinite(logs[:, 7]).all() == background
        assert np.isfinite(logs[:, 8]).all() == ends


def test_paths_are_as_long_as_the_observers_and_begin_with_what_is_given():
    trial = trial_of([4, 2, 2, 0, 1], given=2, terminated=False)
    histogram = fit_offsets([trial], NOTHING_ELSE)
    generator = np.random.default_rng(0)
    for path in [*random_paths(trial, 6, 5, generator), *offset_paths(trial, 6, histogram, 5, generator)]:
        assert len(path) == 5
        assert path.objects[:2].tolist() == [4, 2]
        assert not path.terminated
        assert ((path.objects >= 0) & (path.objects < 6)).all()


def test_the_next_object_stays_on_the_last_one():
    assert next_object_path(trial_of([3, 0, 0, 0, 0], given=1), 6).objects.tolist() == [3, 4, 5, 5, 5]
    assert next_object_path(trial_of([1, 0, 0]), 6).objects.tolist() == [1, 2, 3], "the first one is known"
    assert next_object_path(trial_of([BACKGROUND, 5, 5]), 6).objects.tolist() == [BACKGROUND, 1, 2]


def test_sampled_frequencies_are_the_probabilities():
    histogram = fit_offsets([trial_of([0, 1, 2, 1, 1, 3, 2])], NOTHING_ELSE)
    trial = trial_of([1, 0, 0], given=1)
    paths = np.stack([path.objects for path in offset_paths(trial, 4, histogram, 20000, np.random.default_rng(0))])
    found = np.bincount(paths[:, 1], minlength=4) / len(paths)
    np.testing.assert_allclose(found, histogram.transitions(4)[1], atol=0.015)
    second = np.bincount(paths[paths[:, 1] == 3, 2], minlength=4) / (paths[:, 1] == 3).sum()
    np.testing.assert_allclose(second, histogram.transitions(4)[3], atol=0.03)


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(ConfigError, match="smoothing=0"):
        fit_offsets([trial_of([0, 1])], NOTHING_ELSE, smoothing=0.0)
    with pytest.raises(DataError, match="no transition"):
        fit_offsets([trial_of([0]), trial_of([BACKGROUND, 1])], Choices(True, True))
    with pytest.raises(ConfigError, match="baseline_samples=0"):
        baseline_paths([trial_of([0, 1])], [row_of(3)], None, 0, 0)


@pytest.fixture(scope="module")
def pages():
    if not (data_dir() / "onestop-mini" / "scenes.jsonl").is_file():
        pytest.skip("prepare it: vision-suite data prepare onestop-mini")
    make = {"dataset": "table", "root": "onestop-mini", "split": "image", "fold": 2, "validation_share": 0.0}
    return ScanpathData(**make), ScanpathData(**make, window=12)


@pytest.mark.real_data
def test_likelihoods_on_the_onestop_pages(pages):
    """The method documents measure 2.400 and 4.701 nats, top-1 .317 and .009, top-5 .772 and .047, 1203 transitions."""
    data, _ = pages
    trials, scenes, training = data.trials("test"), data.scenes("test"), data.recordings("fit")
    report = scanpath_report(trials, scenes, [[]] * len(trials), training=training, scores=["sequence_score"],
                             baseline_samples=1, resamples=10)  # fmt: skip
    offsets, uniform = report.rows["offsets"], report.rows["random"]
    assert [offsets[k] for k in ("nats_per_fixation", "top1", "top5")] == pytest.approx([2.400, 0.317, 0.772], abs=6e-4)
    assert [uniform[k] for k in ("nats_per_fixation", "top1", "top5")] == pytest.approx([4.701, 0.009, 0.047], abs=6e-4)
    histogram = fit_offsets(training, Choices.of(trials))
    steps = [
        step_log_probabilities(h, t.sequence, end=False, given=1)
        for t in trials
        for h in [histogram.log_probabilities(t.sequence, len(scenes[t.scene].boxes))]
    ]
    assert likelihood(steps, ends=[False] * len(steps)).fixations == 1203


@pytest.mark.real_data
def test_pieces_of_the_onestop_pages(pages):
    """Sequence Score as 1 - edit distance / 12, the given word included: next .290, offsets .159, reader .179."""
    _, data = pages
    trials, scenes = data.trials("test"), data.scenes("test")
    assert len(trials) == 96
    report = scanpath_report(
        trials, scenes, [[Scanpath([t.sequence[0]] * 12)] for t in trials], training=data.recordings("fit"),
        recordings=data.recordings("test"), scores=["edit_distance"], include_given=True, resamples=10,
    )  # fmt: skip
    own = np.array([trial["scores"]["edit_distance"] for trial in report.trials])
    assert 1 - own.mean() / 12 == pytest.approx(0.131, abs=1e-3)
    assert 1 - report.rows["human"]["edit_distance"] / 12 == pytest.approx(0.179, abs=1e-3)
    with_reader = sum(bool(windows_like(t, data.recordings("test"), scenes[t.scene])) for t in trials)
    assert with_reader == 75
    own_scenes = [scenes[trial.scene] for trial in trials]
    histogram = fit_offsets(data.recordings("fit"), NOTHING_ELSE)
    for name, expected, close in (("next_object", 0.290, 1e-3), ("offsets", 0.159, 8e-3)):
        paths = baseline_paths(trials, own_scenes, histogram, 20, 0)[name]
        part = scanpath_report(trials, scenes, paths, scores=["edit_distance"], include_given=True, resamples=10)
        own = np.array([trial["scores"]["edit_distance"] for trial in part.trials])
        assert 1 - own.mean() / 12 == pytest.approx(expected, abs=close)


@pytest.mark.real_data
@pytest.mark.skipif(not (AMAZON / "Amazon.json").is_file(), reason="AMAZON_COVERS names no folder with Amazon.json")
def test_observers_and_random_objects_on_the_amazon_covers():
    """Measured: 2850 pairs of observers; random objects score .0793 with the observer whose length they have."""
    found = read_amazon_covers(AMAZON)
    drop_long(found, LENGTH_DEVIATIONS)
    samples = [random_paths(trial, 84, 10, np.random.default_rng(n)) for n, trial in enumerate(found.trials)]
    report = scanpath_report(
        found.trials, found.scenes, samples, scores=["sequence_score", "edit_distance"], resamples=20
    )
    assert report.pairs["human"]["sequence_score"] == (2850, 0)
    assert report.rows["human"]["sequence_score"] == pytest.approx(0.2056, abs=1e-4), "mean over stimuli, not pairs"
    own = [trial["scores"]["sequence_score"] for trial in report.trials]
    assert np.mean(own) == pytest.approx(0.0793, abs=2e-3)
    assert report.rows["model"]["sequence_score"] < np.mean(own), "against all observers, lengths differ"
    assert report.rows["human"]["behaviour_correct"] == pytest.approx(0.85, abs=2e-3)
