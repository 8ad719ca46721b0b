"""The examples of the metric library in docs/oat.md run and print what the document says."""

import re
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "oat.md"


def run(word):
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), flags=re.DOTALL)
    (block,) = (block for block in blocks if word in block)
    names = {}
    exec(compile(block, str(DOCUMENT), "exec"), names)
    return block, names


def test_plain_functions(capsys):
    block, _ = run("multimatch(")
    first, second = capsys.readouterr().out.splitlines()
    assert first == re.search(r"# (0\.75 .*)", block)[1]
    values = [float(value) for value in re.findall(r"=([\d.]+)", second)]
    assert values == pytest.approx([0.859, 0.5, 1, 0.859, 1], abs=5e-4)


def test_a_cluster_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    _, names = run("build_clusters(")
    assert (tmp_path / "clusters.json").exists()
    row = names["row"]
    assert 0 < row.model.value <= 1
    assert 0 < row.human.value <= 1
    assert row.protocol in capsys.readouterr().out
