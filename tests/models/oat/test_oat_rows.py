"""Rows that carry generated paths between processes: packed and unpacked they are the same paths."""

import torch

from vision_suite.models.oat.generated import Scanpaths
from vision_suite.models.oat.rows import path_rows, split_rows, unpack_paths
from vision_suite.types import BACKGROUND, PADDING

NAN = float("nan")


def test_paths_come_back_as_they_were():
    sequence = torch.tensor([[[4, BACKGROUND, PADDING], [0, 1, 2]], [[3, PADDING, PADDING], [5, 5, PADDING]]])
    duration = torch.tensor([[[0.25, NAN, NAN], [0.5, 0.125, 2.0]], [[NAN, NAN, NAN], [1.0, 70.0, NAN]]])
    log_prob = torch.tensor([[-1.5, -2.25], [-0.5, float("-inf")]])
    terminated = torch.tensor([[True, False], [True, True]])
    empty = torch.empty(0)
    paths = Scanpaths(sequence, empty, terminated, empty, log_prob, duration, empty)
    trial, values = path_rows(paths, {"index": torch.tensor([7, 3])})
    assert trial.tolist() == [7, 7, 3, 3]
    for number, rows in enumerate(split_rows(trial, values)):
        found = unpack_paths(rows)
        assert found.sequence.tolist() == sequence[number].tolist()
        torch.testing.assert_close(torch.tensor(found.duration), duration[number].double(), equal_nan=True)
        assert found.terminated.tolist() == terminated[number].tolist()
        assert found.log_prob.tolist() == log_prob[number].tolist()
