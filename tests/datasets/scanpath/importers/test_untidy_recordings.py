"""Recordings as programs really write them: several eyes, screens, code pages, and units."""

import pytest
from recordings import ASC_HEAD, asc_trial, convert, fixations, report, tobii

from vision_suite.errors import DataError


def test_untidy_asc_files(tmp_path):
    """An old code page, Windows' line ends, tabs, a fixation that never ends, and a screen that grows."""
    second = asc_trial(4000, "b.png", name="2", place="TOP_LEFT {} 100 50 800 400").replace(
        "1279.00 1023.00", "1919 1079"
    )
    first = asc_trial(2000, "a.png").replace("TRIALID 1", "TRIALID\t1").replace("END\t", "SFIX R   2690\nEND\t")
    text = (ASC_HEAD + first + second).replace("EFIX R   4300", "MSG\t4300 M\xfcller \x85EFIX R   4300")
    output, about = convert(tmp_path, "c.asc", text.replace("\n", "\r\n"), "latin-1", tracker="eyelink")
    assert about["left_out"]["fixations_without_end"] == 1
    assert (about["screen"], about["recording"]["screens"]) == (None, "1280 x 1024 and 1920 x 1080")
    rows = fixations(output)
    assert [(row["image"], row["x"], row["y"]) for row in rows] == [
        ("pictures/a.png", "400.0", "200.0"),
        ("pictures/a.png", "0.0", "0.0"),
        ("pictures/b.png", "540.0", "462.0"),
    ]


def test_units_in_headers_of_tobii(tmp_path):
    """Newer exports write a unit behind the one of the name, and times in microseconds where asked to."""
    events = [("desk.png", "Fixation", 1, 217000, "640", "512"), ("desk.png", "Fixation", 2, 180000, "300,5", "400")]
    text = tobii(events).replace("[DACSpx]", "(DACSpx) [DACS px]").replace("duration [ms]", "duration [μs]")
    output, about = convert(tmp_path, "t.tsv", text, "utf-16", tracker="tobii", grid=(1, 2))
    found = [(row["x"], row["y"], row["duration_ms"]) for row in fixations(output)]
    assert found == [("200.0", "100.0", "217.0"), ("30.25", "44.0", "180.0")]
    assert about["recording"]["time_unit"] == "μs (by the header)"


def test_participants_with_recordings_of_one_name(tmp_path):
    """Fixations of the second one have the numbers of the first one's."""
    events = [("desk.png", "Fixation", 1, 217, "640", "512"), ("desk.png", "Fixation", 2, 180, "300", "400")]
    second = tobii(events, participant="P02").split("\n", 1)[1]
    output, about = convert(tmp_path, "t.tsv", tobii(events) + second, tracker="tobii", grid=(1, 2))
    assert [row["subject"] for row in fixations(output)] == ["P01", "P01", "P02", "P02"]
    assert "fixations_that_go_on_from_another_picture" not in about["left_out"]


def test_both_eyes_are_not_one_path(tmp_path):
    rows = [("s1", 1, "a.png", x, 60, 150, t) for t in (100, 300) for x in (50.0, 58.0)]
    lines = report([*rows, ("s1", 2, "b.png", 20, 60, 150, 100)]).splitlines()
    eyes = ("EYE_USED", "RIGHT", "LEFT", "RIGHT", "LEFT", "LEFT")
    text = "\n".join(f"{line}\t{eye}" for line, eye in zip(lines, eyes, strict=True))
    settings = {"place": "0,0,100,100", "grid": (1, 2)}
    output, about = convert(tmp_path, "r.txt", text, tracker="eyelink-report", **settings)
    assert [row["x"] for row in fixations(output)] == ["50.0", "50.0", "20.0"], "trial 2 has the left eye only"
    assert about["left_out"]["fixations_of_the_other_eye"] == 2
    assert about["recording"]["eye"] == "as reported: left, right (right where both are; --eye chooses)"
    events = "name,onset,duration,x,y,stimulus,eye\n" + "".join(
        f"fixation,{onset},150,{x},60,{shown}.png,{eye}\n"
        for eye, x in (("left", 58), ("right", 50))
        for shown, onset in (("a", 100), ("b", 300))
    )
    output, _ = convert(tmp_path, "e.csv", events, tracker="pymovements", eye="left", **settings)
    assert [row["x"] for row in fixations(output)] == ["58.0", "58.0"]
    with pytest.raises(DataError, match="names no fixations of the left eye"):
        convert(tmp_path, "f.csv", events.replace("left", "cyclops"), tracker="pymovements", eye="left", **settings)
