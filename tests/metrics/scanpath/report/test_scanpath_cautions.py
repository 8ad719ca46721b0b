"""Warnings of a scanpath report, and the headings of its trials."""

import numpy as np
import pytest
from scanpath_trials import row_of, trial_of

from vision_suite.metrics.scanpath import Scanpath
from vision_suite.metrics.scanpath.report.build import scanpath_report
from vision_suite.metrics.scanpath.report.teacher_forced import forced_scores
from vision_suite.metrics.scanpath.report.trials import windows_like
from vision_suite.metrics.scanpath.report.words import what_is_searched
from vision_suite.types import Condition

NAMES = "abcd"
SCENES = {name: row_of(10, name=name) for name in NAMES}
QUICK = {"resamples": 20, "baseline_samples": 1, "scores": ["sequence_score"]}


def trials_of(**changes):
    return [trial_of([n, 5, 9 - n], scene=name, **changes) for n, name in enumerate(NAMES)]


def warnings_of(trials, samples, **settings):
    report = scanpath_report(trials, SCENES, samples, **{**QUICK, **settings})
    return report.protocol["warnings"]


def test_the_same_prediction_everywhere():
    own = [[Scanpath([trial.sequence[0], 3])] for trial in trials_of()]
    assert warnings_of(trials_of(), own) == []
    same = [[Scanpath([3, 4])] * 2 for _ in NAMES]
    (line,) = warnings_of(trials_of(), same)
    assert line.startswith("the predictions in all 4 stimuli are equal, [3, 4]: the model has collapsed")
    # The likeliest paths decide where there are some, and two stimuli say nothing.
    assert len(warnings_of(trials_of(), own, greedy=[Scanpath([3, 4])] * 4)) == 1
    assert warnings_of(trials_of()[:2], same[:2]) == []
    # Where observers do the same everywhere, so may a model.
    alike = [trial_of([3, 4], scene=name) for name in NAMES]
    assert warnings_of(alike, same) == []
    # Given fixations are not predicted.
    given = [[Scanpath([trial.sequence[0], 3, 4])] for trial in trials_of()]
    assert "are equal, [3, 4]" in warnings_of(trials_of(given=1), given)[0]


@pytest.mark.parametrize(
    ("xy", "words"),
    [
        ([(10, 20), (300, 290), (399, 1)], None),
        ([(10, 20), (np.nan, np.nan), (399, 1)], None),
        ([(0.1, 0.2), (0.9, 0.5), (0.3, 1)], "all 12 recorded fixations have coordinates from 0 to 1"),
        ([(10, 20), (1300, 290), (399, -5)], "8 of 12 recorded fixations lie outside of their pictures"),
    ],
)
def test_units_of_recorded_points(xy, words):
    trials = trials_of(xy=np.array(xy, dtype=np.float32))
    lines = warnings_of(trials, [[Scanpath(trial.sequence)] for trial in trials])
    assert lines == [] if words is None else lines[0].startswith(words)


def test_means_over_few_pairs_and_their_counts():
    trials = trials_of(duration=np.full(3, 0.02))
    samples = [[Scanpath(trial.sequence, duration=np.full(3, 0.3)), Scanpath(trial.sequence[:2])] for trial in trials]
    report = scanpath_report(
        trials, SCENES, samples, protocol={"warnings": ["of the data"]},
        **{**QUICK, "scores": ["sequence_score", "sequence_score_time", "multimatch"]},
    )  # fmt: skip
    first, line = report.protocol["warnings"]
    assert first == "of the data"
    assert line.startswith("sequence_score_time: 8 of 8 pairs of the model have no score")
    assert np.isnan(report.metrics["sequence_score_time"]), "20 ms write no symbol, so no pair is equal"
    counted = report.protocol["pairs_without_score"]["model"]
    assert counted["sequence_score_time"] == {"without": 8, "pairs": 8}
    assert counted["multimatch_vector"] == {"without": 4, "pairs": 8}
    assert counted["sequence_score"] == {"without": 0, "pairs": 8}
    assert report.metrics["multimatch_vector"] == 1, "the mean over the four pairs that have a score"


def test_parts_of_a_score_share_a_line():
    short = [[Scanpath(trial.sequence[:2])] for trial in trials_of()]
    (line,) = warnings_of(trials_of(), short, scores=["multimatch"])
    assert line.startswith(
        "multimatch_vector, multimatch_direction, multimatch_length, multimatch_position: 4 of 4 pairs"
    )


def test_two_empty_parts_are_counted():
    trials = trials_of(given=3)
    report = scanpath_report(trials, SCENES, [[Scanpath(trial.sequence)] for trial in trials], **QUICK)
    assert report.counts["model"]["empty_pairs"] == 4
    assert report.metrics["sequence_score"] == 1


def test_five_choices_are_no_top_5():
    def scored(objects):
        trial = trial_of([1, 2], scene="a")
        table = np.zeros((3, objects + 2))
        table[:, objects] = -np.inf  # no background
        return forced_scores([trial], [table], [objects], [[0]], uniform=[table], resamples=10, seed=0)

    few, more = scored(4), scored(9)
    assert np.isnan(few.metrics["top5"]), "four objects, and the end: nothing to choose"
    assert (few.few_choices, more.few_choices) == ({"top1": 0, "top5": 2}, {"top1": 0, "top5": 0})
    # The end is no choice at the first step.
    assert more.metrics["top5"] == pytest.approx((5 / 9 + 5 / 10) / 2)


@pytest.mark.parametrize("condition", [Condition.PRESENT, Condition.ABSENT])
def test_a_search_is_no_free_viewing_whatever_its_words(condition):
    for task, target in (("", -1), ("", 3), ("cup", -1), ("cup", 3)):
        words = what_is_searched(condition, task, target)
        assert words.startswith("search for ")
        assert ("not there" in words) == (condition == Condition.ABSENT)
        assert "free" not in words
    assert what_is_searched(Condition.FREE, "cup") == "free viewing"


def test_windows_of_another_search_are_not_alike():
    usual = {"given": 1, "recording": 0, "scene": "a", "task": "", "targets": (7,), "target": 7}
    window = trial_of([1, 2], **usual)
    other = {**usual, "subject": "b", "given": 0, "recording": -1}
    assert len(windows_like(window, [trial_of([0, 1, 3], **other)], SCENES["a"])) == 1
    assert not windows_like(window, [trial_of([0, 1, 3], **{**other, "targets": (4,), "target": 4})], SCENES["a"])
