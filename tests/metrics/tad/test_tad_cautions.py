"""Warnings on evaluations that measure something else than the detector, and none where nothing is wrong."""

import re
import warnings

import numpy as np
import pytest

from vision_suite.errors import DataError
from vision_suite.metrics.tad.report import detection_report
from vision_suite.metrics.tad.scoring import average_recall, mean_average_precision


def truth(scale=1.0, videos=10, duration=100.0):
    notes = [{"segment": [10 * scale, 30 * scale], "label": "a"}, {"segment": [40 * scale, 60 * scale], "label": "b"}]
    entry = {"duration": duration, "annotations": notes}
    return {"database": {f"v{n}": dict(entry) for n in range(videos)}}


def found(scale=1.0, videos=10, scores=(0.9, 0.4), label="b", **further):
    ends = [([10, 30], "a"), ([41, 60], label)]
    results = {
        f"v{n}": [
            {"segment": [second * scale for second in segment], "label": name, "score": score}
            for (segment, name), score in zip(ends, scores, strict=False)
        ]
        for n in range(videos)
    }
    return {"results": {**results, **further}}


def told(function, *arguments, **settings):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function(*arguments, **settings)
    return [str(warning.message) for warning in caught]


def test_nothing_is_said_of_a_usual_evaluation():
    for function in (mean_average_precision, average_recall):
        assert told(function, truth(), found()) == []
        assert told(function, truth(duration=None), found()) == []
        assert told(function, truth(), found(videos=9)) == []


CASES = {
    "milliseconds": (truth(), found(1000), "20 of 20 predictions end far beyond their video, such as at 60000 of"),
    "frames": (truth(), found(25), "20 of 20 predictions end far beyond"),
    "annotations in frames": (truth(25), found(), "20 of 20 annotations end far beyond their video, such as at 1500"),
    "no durations": (truth(duration=None), found(1000), "video ends at 60000, its last annotation at 60"),
    "shares": (truth(), found(0.01), "ends at 0.6, its last annotation at 60 .medians of 10 videos"),
    "few videos": (truth(), found(videos=3), "only 3 of 10 annotated videos have a prediction .'v3' has none"),
    "one each": (truth(), found(scores=[0.5 + 0.01]), "each of the 10 predicted videos has a single prediction"),
    "logits": (truth(), found(scores=(3.5, -2.0)), r"20 of 20 scores are outside 0 to 1 .from -2 to 3.5"),
    "constant": (truth(), found(scores=(0.5, 0.5)), "all 20 scores are 0.5"),
    "strangers": (
        truth(), found(w=[{"segment": [0, 1], "label": "a", "score": 0.3}] * 3),
        "3 predictions of 1 videos that the ground truth does not list count as false positives",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_looks_wrong_is_told_by_the_functions_and_in_a_report(name):
    ground_truth, results, line = CASES[name]
    for function in (mean_average_precision, average_recall):
        with pytest.warns(UserWarning, match=line):
            function(ground_truth, results)
    assert any(re.search(line, text) for text in report_of(ground_truth, results).protocol["warnings"])


def report_of(ground_truth, results, **protocol):
    entries = results["results"]
    return detection_report(
        ground_truth, entries, entries, (0.5, 0.95), class_scores={}, class_names=["a", "b"], protocol=protocol,
        curves={},
    )  # fmt: skip


def test_labels_without_an_annotation_and_unusable_scores_are_counted_in_a_report():
    results = found(label="c")
    results["results"]["v0"][0]["score"] = float("nan")
    with pytest.raises(DataError, match="10 predictions have a label"):
        mean_average_precision(truth(), results)
    with pytest.raises(DataError, match=r"1 of 20 predictions have a segment .* or a score that is not finite"):
        average_recall(truth(), results)
    lines = report_of(truth(), results, warnings=["features are zero"]).protocol["warnings"]
    assert lines[0] == "features are zero", "those of the data stay"
    assert "10 predictions have a label without an annotation here and are left out" in lines
    assert any(line.startswith("1 predictions without a positive, finite length or without a finite") for line in lines)


def test_warnings_change_no_number():
    plain = mean_average_precision(truth(), found())
    report = report_of(truth(), found())
    np.testing.assert_array_equal(report.ap[0], plain["ap"][0])
    assert report.metrics["AR@1"] == average_recall(truth(), found())["AR@1"]


def test_early_actions_of_long_videos_are_no_fault_of_units():
    early = {f"v{n}": {"duration": 900.0, "annotations": [{"segment": [5, 20], "label": "a"}]} for n in range(10)}
    spread = [{"segment": [start, start + 15], "label": "a", "score": 1 / (start + 1)} for start in range(5, 880, 25)]
    assert not told(mean_average_precision, {"database": early}, {"results": dict.fromkeys(early, spread)})
    frames = [{**entry, "segment": [25 * second for second in entry["segment"]]} for entry in spread]
    assert told(mean_average_precision, {"database": early}, {"results": dict.fromkeys(early, frames)})
