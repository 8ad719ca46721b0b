"""Logs of runs: parts of resumed runs are joined, and damaged ones are read as far as they can be."""

import numpy as np

from vision_suite.runs.log import read_run_log


def faults(folder):
    return list(read_run_log(folder).faults)


def test_the_parts_of_a_resumed_run_are_counted_and_joined(tmp_path):
    (tmp_path / "metrics-1.csv").write_text("epoch,step,a\n0,0,1\n0,1,2\n1,2,3\n")
    (tmp_path / "metrics-2.csv").write_text("epoch,step,a\n1,2,\n1,2,30\n2,3,40\n")
    (tmp_path / "metrics.csv").write_text("epoch,step,a\n2,3,\n2,3,400\n")
    log = read_run_log(tmp_path)
    assert (log.parts, log.faults) == (3, ())
    np.testing.assert_array_equal(log.series["a"], [[0, 1, 2, 3], [1, 2, 30, 400]])


def test_a_log_without_steps_is_joined_by_epoch(tmp_path):
    (tmp_path / "metrics-1.csv").write_text("epoch,a\n0,1\n1,2\n2,3\n")
    (tmp_path / "metrics.csv").write_text("epoch,a\n1,20\n2,30\n")
    np.testing.assert_array_equal(read_run_log(tmp_path).series["a"], [[0, 1, 2], [1, 20, 30]])


def test_what_is_no_number_is_counted_and_left_out(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,step,a,b\n0,0,x,1\n0,one,5,5\n0,2,3,\n0,inf,1,1\n")
    log = read_run_log(tmp_path)
    np.testing.assert_array_equal(log.series["a"], [[2], [3]])
    np.testing.assert_array_equal(log.series["b"], [[0], [1]])
    assert log.faults == ("metrics.csv: 3 fields are no numbers and left out",)


def test_damage_is_told(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,a\n0,0,1\n0,1,")
    assert faults(tmp_path) == ["metrics.csv: its last line is cut off and left out"]
    path.write_text("")
    assert faults(tmp_path) == ["metrics.csv holds no values"]
    path.write_bytes(bytes(range(256)) * 40)
    assert "metrics.csv holds no values" in faults(tmp_path)
    path.write_text('epoch,step,a\n0,0,1\n0,1,"' + "9" * 200_000 + "\n")
    assert faults(tmp_path)[0].startswith("metrics.csv is no CSV from line 3 on (field larger")
    np.testing.assert_array_equal(read_run_log(tmp_path).series["a"], [[0], [1]])
    path.unlink()
    assert read_run_log(tmp_path).parts == 0
