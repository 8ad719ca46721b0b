"""The report of captions and answers on the terminal, in files and in pictures."""

import json

import pytest
from PIL import Image

from vision_suite.callbacks.report.base import Shown, view_of
from vision_suite.callbacks.report.hallucination import HallucinationView, read_positions
from vision_suite.errors import DataError
from vision_suite.metrics.hallucination.report import hallucination_report
from vision_suite.types.preference import HallucinationItem


@pytest.fixture
def report(tmp_path):
    path = tmp_path / "picture.png"
    Image.new("RGB", (32, 32), "white").save(path)
    boxes = (("dog", (2.0, 2.0, 10.0, 10.0)),)
    items = [
        HallucinationItem("a", "chair", "scenes", objects=("dog",), picture=str(path), boxes=boxes),
        HallucinationItem("b", "chair", "scenes", objects=("dog", "cat"), picture=str(path)),
        HallucinationItem("q", "pope", "questions", answer="yes", picture=str(path)),
    ]
    texts = {0: "A puppy. A cat sleeps.", 1: "A dog.", 2: "Yes."}
    return hallucination_report(items, texts, protocol={"captions": {"before": ""}})


def test_the_table_has_a_row_for_each_task(report):
    view = view_of(report)
    assert isinstance(view, HallucinationView)
    headings, rows = view.table(report)
    scenes, questions = (dict(zip(headings, row, strict=True)) for row in rows)
    assert (scenes["task"], scenes["answers"], scenes["made up"]) == ("scenes", "2", "33.3")
    assert (scenes["captions with it"], scenes["found"], scenes["words"]) == ("50.0", "66.7", "3.5")
    assert scenes["right"] == "-"
    assert (questions["right"], questions["F1"], questions["made up"]) == ("100.0", "100.0", "-")
    assert "saying less makes less up" in view.note(report)


def test_files_hold_every_answer_and_position(report, tmp_path):
    files = HallucinationView().files(report)
    lines = [json.loads(line) for line in files["answers.jsonl"].splitlines()]
    assert [line["made_up"] for line in lines] == [["cat"], [], []]
    (tmp_path / "positions.csv").write_text(files["positions.csv"])
    assert read_positions(tmp_path / "positions.csv") == {"scenes": [(2, 0), (0, 1)]}


def test_pictures_with_and_without_an_earlier_test(report, tmp_path):
    view, shown = HallucinationView(), Shown(2, 1, 0)
    alone = view.pictures(report, None, "test", "t", shown)
    assert set(alone) == {"positions_scenes", "captions"}
    before = tmp_path / "positions.csv"
    before.write_text("task,sentence,factual,made_up\nscenes,1,5,5\n")
    report.protocol["captions"]["before"] = str(before)
    both = view.pictures(report, None, "test", "t", shown)
    assert both["positions_scenes"].tobytes() != alone["positions_scenes"].tobytes()
    before.write_text("other\n1\n")
    with pytest.raises(DataError, match=r"captions\.before=.* cannot be read"):
        view.pictures(report, None, "test", "t", shown)
