"""The picture of a scene before and after a move, and the documented example of search times."""

import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vision_suite.viz.scanpath import counterfactual as scanpath_counterfactual
from vision_suite.viz.scanpath.counterfactual import Search, counterfactual_picture
from vision_suite.viz.scanpath.prediction import prediction_picture
from vision_suite.viz.scanpath.stage import MODEL, Backdrop, Gaze

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "oat.md"


def search(target, steps, error):
    boxes = np.array([[0.0, 0, 100, 100], [100, 0, 200, 100]])
    path = Gaze(np.array([[50.0, 50.0], [150.0, 50.0]]), "path", MODEL)
    return Search(Backdrop((200.0, 100.0), boxes, (target,), limit=(300, 200)), path, steps, error, 1.0)


def test_the_heading_has_the_change_and_its_error(monkeypatch):
    said = {}

    def sheet(panels, *, title, note, columns):
        said.update(title=title, names=[name for name, _, _ in panels], columns=columns)
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr(scanpath_counterfactual, "sheet", sheet)
    counterfactual_picture(search(1, 5.0, 0.3), search(0, 2.5, 0.4), title="Cup moved")
    assert said["title"] == "Cup moved: expected search time -2.50 ± 0.50 fixations"
    assert said["names"][0].startswith("before: target found after 5.00 ± 0.30")
    assert said["columns"] == 2
    counterfactual_picture(search(1, 5.0, 0.3), search(0, 2.5, 0.4), title="Cup moved", error=0.12)
    assert said["title"] == "Cup moved: expected search time -2.50 ± 0.12 fixations", "of paired paths"


def test_only_the_moved_target_differs_between_the_panels():
    same = counterfactual_picture(search(1, 5.0, 0.3), search(1, 5.0, 0.3), title="x")
    other = counterfactual_picture(search(1, 5.0, 0.3), search(0, 5.0, 0.3), title="x")
    assert same.size == other.size
    middle = same.width // 2
    left, right = (np.asarray(picture)[:, :middle] for picture in (same, other))
    assert np.array_equal(left, right)
    assert not np.array_equal(np.asarray(same), np.asarray(other))


def test_a_prediction_has_a_panel_for_each_path_and_the_heat_map():
    one = search(1, 1.0, 0.0)
    drawn = [
        prediction_picture(one.backdrop, [one.gaze] * count, np.array([[150.0, 50.0]]), title="t") for count in (1, 2)
    ]
    assert drawn[1].width - drawn[0].width == drawn[0].width // 2 - 8
    heat = np.asarray(drawn[0].convert("HSV"))[:, drawn[0].width // 2 :, 1]
    assert heat.max() > 150, "a coloured spot"


def test_the_documented_example_runs():
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), flags=re.DOTALL)
    (block,) = (block for block in blocks if "search_time(" in block)
    names = {}
    torch.manual_seed(0)
    exec(compile(block, str(DOCUMENT), "exec"), names)
    assert names["change"].shape == names["error"].shape == (4,)
    assert torch.isfinite(names["change"]).all()
    before, after = names["before"], names["after"]
    assert torch.equal(names["change"], after.steps - before.steps)
    # The target of every scene now stands in the first cell, and nothing else has moved but what stood there.
    batch, moved = names["batch"], names["moved"]
    rows = torch.arange(4)
    assert (moved["position"][rows, batch["target"]] == 0).all()
    assert (moved["position"] != batch["position"]).any(dim=2).sum(dim=1).max() <= 2
