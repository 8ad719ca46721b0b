"""What docs/wings.md says of switches, presets, configurations and forgetting is what the code has."""

import re
from dataclasses import fields

import pytest
from documents import blocks, cells, tables
from folders import ROOT

from vision_suite.cli.configs import named_configs
from vision_suite.models.mllm.tower import TowerConfig
from vision_suite.models.wings.config import PRESETS, WingsConfig

PAGE = ROOT / "docs/wings.md"
NAMES = [field.name for field in fields(WingsConfig)]
CODE = re.compile(r"`([^`]+)`")


def points() -> list[list[str]]:
    """Cells of the rows D1 to D17."""
    return [cells(line) for line in PAGE.read_text(encoding="utf-8").splitlines() if re.match(r"\| D\d+ \|", line)]


def written(cell: str) -> list[str]:
    return [part.strip(" `") for part in cell.split(",")]


def test_every_point_has_a_row():
    assert [row[0] for row in points()] == [f"D{number}" for number in range(1, 18)]
    named = {name for row in points() for name in CODE.findall(row[2]) if name in NAMES}
    # Rank, number of positions and kind of router are no points of difference.
    assert named == set(NAMES) - {"rank", "s_max", "router"}


@pytest.mark.parametrize("row", [row for row in points() if row[3]], ids=lambda row: row[0])
def test_presets_are_as_written(row):
    switches = [name for name in CODE.findall(row[2]) if name in NAMES]
    for preset, cell in zip(("recommended", "reference", "paper"), row[3:], strict=True):
        config = WingsConfig.preset(preset)
        said = {"None": "all", "True": "true", "False": "false", "2.0": "2", "1.0": "1"}
        values = [str(getattr(config, name)) for name in switches]
        assert [said.get(value, value) for value in values] == written(cell), preset
    assert set(PRESETS) == {"recommended", "reference", "paper"}


def test_named_configurations_and_towers():
    text = PAGE.read_text(encoding="utf-8")
    known = named_configs()
    assert {name for name in re.findall(r"-c ([\w/.-]+)", text)} <= set(known)
    rows = tables(PAGE)["configuration `wings/...`"]
    listed = {f"wings/{name}" for row in rows for name in CODE.findall(row[0])}
    assert listed == {name for name in known if name.startswith("wings/smollm2")}
    kinds = {CODE.findall(row[0])[0] for row in tables(PAGE)["`--model.tower.kind`"]}
    assert all(TowerConfig(kind=kind) for kind in kinds)
    assert kinds == {"conv", "timm", "open_clip", "dcal", "centernet"}


def test_the_example_of_forgetting(capsys):
    (block,) = (block for block in blocks(PAGE) if block.language == "python" and not block.skipped)
    exec(compile(block.code, str(PAGE), "exec"), {})
    said = [float(value) for value in re.search(r"# (-?[\d. -]+), rounded", block.code)[1].split()]
    assert [float(value) for value in capsys.readouterr().out.split()] == pytest.approx(said, abs=5e-5)
