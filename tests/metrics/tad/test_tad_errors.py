"""Kinds of errors, lengths, and rows gathered over processes."""

import numpy as np
import pytest
import torch
from test_tad import found, truth

from vision_suite.errors import DataError
from vision_suite.metrics.rows import SequenceRows
from vision_suite.metrics.tad.errors import analyse_errors
from vision_suite.metrics.tad.report import detection_report
from vision_suite.metrics.tad.scoring import mean_average_precision


def test_each_kind_of_error_is_told():
    ground_truth = truth(v=[(0, 10), (50, 60, "b")])
    predictions = found(
        v=[
            (0, 10, 0.99),  # true positive
            (0, 9.5, 0.9),  # double detection
            (50, 60, 0.8),  # wrong label
            (8, 20, 0.7),  # localisation: 2 of 20 seconds
            (58, 70, 0.6),  # confusion
            (30, 35, 0.5),  # background
            (50, 60, 0.4, "b"),
        ]
    )
    result = analyse_errors(ground_truth, predictions)
    kinds = dict(zip(result["kinds"], result["profile"][9], strict=True))
    assert kinds == pytest.approx(
        {
            "true positive": 2 / 7,
            "double detection": 1 / 7,
            "wrong label": 1 / 7,
            "localisation": 1 / 7,
            "confusion": 1 / 7,
            "background": 1 / 7,
        }
    )
    assert result["profile"][0][0] == 1.0, "the best of each class is right"


def test_lengths_are_shares_of_the_video():
    ground_truth = truth(v=[(0, 10), (10, 95)])
    result = analyse_errors(ground_truth, found(v=[(10, 95, 0.9), (30, 31, 0.99)]))["length"]
    assert (result["XS"]["annotations"], result["XS"]["missed"], result["XS"]["mAP"]) == (1, 1.0, 0.0)
    assert (result["XL"]["annotations"], result["XL"]["missed"], result["XL"]["mAP"]) == (1, 0.0, 0.5)
    assert "mAP" not in result["M"]
    for entry in ground_truth["database"].values():
        entry["duration"] = None
    assert set(analyse_errors(ground_truth, found(v=[(0, 10, 1)]))["length"]) == {"short", "middle", "long"}


def test_rows_count_once_and_keep_their_order():
    metric = SequenceRows()
    with pytest.raises(DataError, match="no sequence was collected"):
        metric.compute()
    metric.update(torch.tensor([2, 2]), torch.tensor([[1.0], [2.0]]))
    metric.update(torch.tensor([0]), torch.tensor([[3.0]]))
    sequence, values = metric.compute()
    assert (sequence.tolist(), values[:, 0].tolist()) == ([0, 2, 2], [3.0, 1.0, 2.0])


def test_a_report_holds_what_metrics_say():
    ground_truth = truth(v=[(0, 10)], w=[(5, 9, "b")])
    entries = found(v=[(0, 10, 0.9), (0, 5, 0.5, "never seen")], w=[(5, 9, 0.8, "b")])["results"]
    report = detection_report(
        ground_truth, entries, entries, (0.5, 0.95), class_scores={"v": np.array([1, 0, 0]), "w": np.array([1, 0, 0])},
        class_names=["a", "b", "never seen"], protocol={"dataset": "x"}, curves={},
    )  # fmt: skip
    assert report.metrics["average_mAP"] == 1.0
    assert report.metrics["video_top1"] == 0.5
    assert report.protocol["detections"]["unknown_labels"] == 1
    dropped = mean_average_precision(ground_truth, report.predictions, (0.5,), unknown_labels="drop")
    assert dropped["average_mAP"] == 1.0
