"""The page of a sweep: its table, its picture, and what a repetition needs."""

import json
import sys
from pathlib import Path

import yaml
from light_sweeps import GRID

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import sweep_results

from vision_suite.sweeps.events import LOG, TrialEvents
from vision_suite.sweeps.folder import STORED


def test_a_page(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [sweep_results.__file__, str(tmp_path)])
    (tmp_path / STORED).write_text(yaml.safe_dump({**GRID, "description": "A light one"}))
    events = TrialEvents(tmp_path / LOG)
    events.add("sweep", seed=4, count=None)
    for number, (x, value) in enumerate([(0.1, 0.5), (0.2, 0.25)], start=1):
        events.add("propose", trial=number, args={"x": x, "steps": 3, "pause": 0.0}, unit=None)
        events.add("start", trial=number, attempt=1, resumes=False)
        events.add("value", trial=number, step=1, value=value)
        events.add("end", trial=number, state="finished", status=0, epoch=0)
        (tmp_path / f"trial-000{number}").mkdir()
        record = {"command": "fit", "status": "finished", "seed": 1, "git": {"commit": "abc", "dirty": False}}
        (tmp_path / f"trial-000{number}/run.json").write_text(json.dumps(record))
    page = sweep_results.write_page(tmp_path, tmp_path / "results").read_text()
    assert page.startswith("# Sweep light")
    assert "seed of the proposals 4" in page
    assert "trained at commit: abc" in page
    assert "A light one. Best first." in page
    assert "| 2 | finished | 0.25 | 0.25 | 1 |" in page
    assert "(sweep_light.png)" in page
    assert (tmp_path / "results/sweep_light.png").is_file()
    found = json.loads((tmp_path / "results/sweep_light.json").read_text())
    assert [record["trial"] for record in found] == [2, 1]
    assert found[0]["loss"] == 0.25
