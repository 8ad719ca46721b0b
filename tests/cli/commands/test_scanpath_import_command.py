"""``vision-suite data import-scanpaths`` prints what a recording held, in which coordinates, and what was left out."""

import pytest
from recordings import ASC_HEAD, asc_trial
from scanpath_fixture import picture

from vision_suite.cli.commands.data import main
from vision_suite.errors import ConfigError


def test_it_prints_coordinates_units_and_what_is_left_out(tmp_path, capsys):
    picture(tmp_path / "images" / "desk.png", (400, 200))
    (tmp_path / "anna.asc").write_text(ASC_HEAD + asc_trial(2000, "desk.png"))
    command = ["import-scanpaths", str(tmp_path / "anna.asc"), "--from", "eyelink", "--output", str(tmp_path / "set")]
    assert main([*command, "--images", str(tmp_path / "images"), "--grid", "1x2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == ["fixations: 2", "trials: 1", "subjects: 1", "pictures: 1", "objects: 2"]
    (facts,) = [line for line in lines if line.startswith("recording: ")]
    assert "coordinates pixels of the screen from (0, 0), GAZE_COORDS, time unit ms, as EyeLink writes" in facts
    assert any(line.startswith("left out: blinks 2, ") for line in lines)
    assert (tmp_path / "set" / "pictures" / "desk.png").is_file()


def test_its_mistakes_are_one_line(tmp_path):
    command = ["import-scanpaths", str(tmp_path / "a.asc"), "--from", "eyelink", "--output", str(tmp_path / "set")]
    with pytest.raises(ConfigError, match="--grid '3': give ROWSxCOLUMNS, two whole numbers"):
        main([*command, "--grid", "3"])
    with pytest.raises(ConfigError, match="invalid choice: 'abacus'"):
        main(["import-scanpaths", "x", "--from", "abacus", "--output", "y"])
