"""Rows as tokens on the command line, pairs also as a picture."""

from collections import Counter

import numpy as np
import pytest
from conversations import write_set
from pairs import official, write_pairs_set
from PIL import Image

from vision_suite.cli.commands import data
from vision_suite.datasets.preference.sources import PairSettings, PairSource
from vision_suite.errors import ConfigError
from vision_suite.mining.export import ENDINGS, write_pairs
from vision_suite.viz import canvas


@pytest.mark.filterwarnings("ignore:Left out of")
def test_rows_are_shown_as_tokens(tmp_path, capsys):
    write_set(tmp_path, pictured=2, texts=1)
    (tmp_path / "pictures/0.png").unlink()
    words = str(tmp_path / "words.txt")
    source = str(tmp_path / "train.json")
    assert (
        data.main(["preview", source, "--tokenizer", words, "--image_tokens", "4", "--system", "", "--rows", "3"]) == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["r0", "r1", "r2", "pictures unreadable"]
    assert "<picture 0 x4>" in lines[0]
    assert lines[2].endswith("[[no|no|yes|.|<|im_end|>]]")


@pytest.mark.parametrize("layout", sorted(ENDINGS))
def test_pairs_of_every_layout_are_shown_and_drawn(layout, tmp_path, capsys):
    folder = write_pairs_set(tmp_path, [official(0), official(1, context="", chosen_ends=False)])
    source = PairSource("pairs", PairSettings(str(folder / "pairs.jsonl")))
    path = folder / f"written{ENDINGS[layout]}"
    write_pairs([source.row(index, Counter()) for index in range(2)], path, layout)
    drawn = folder / "drawn.png"
    words = ["--tokenizer", str(folder / "words.txt"), "--image_tokens", "4", "--system", ""]
    assert data.main(["preview", str(path), *words, "--output", str(drawn)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"written: {drawn}"
    shown = {lines[0].split(":")[0]: lines[:3], lines[3].split(":")[0]: lines[3:6]}
    first = next(each for name, each in shown.items() if name.endswith("line 1"))
    assert "<picture 0 x4>" in first[0]
    assert first[0].endswith("there|is|a|cat|.")
    assert first[1:] == [
        "  preferred [[a|dog|is|above|the|cat|.]]", "  rejected  [[a|big|cow|is|left|of|the|cat|.]]",
    ]  # fmt: skip
    second = next(each for name, each in shown.items() if name.endswith("line 2"))
    assert not second[1].endswith("<|im_end|>]]")
    assert second[2].endswith("<|im_end|>]]"), "released rule: it begins its answer"
    with Image.open(drawn) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    for colour in (canvas.CORRECT, canvas.WRONG, (0, 90, 200), (20, 90, 199)):
        assert (pixels == np.array(colour)).all(-1).any(), colour


@pytest.mark.filterwarnings("ignore:Left out of")
def test_pairs_whose_picture_is_gone_are_drawn_without_it(tmp_path, capsys):
    folder = write_pairs_set(tmp_path, [official(0), official(1, y_win="A dog.", y_lose="A dog.")])
    (folder / "pictures/0.png").unlink()
    words = ["--tokenizer", str(folder / "words.txt"), "--rows", "2", "--output", str(folder / "drawn.png")]
    assert data.main(["preview", str(folder / "pairs.jsonl"), *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if ":" in line][1:-1] == ["identical: 1", "pictures unreadable: 1"]
    assert (folder / "drawn.png").is_file()


def test_only_pairs_are_drawn(tmp_path):
    write_set(tmp_path, pictured=1, texts=1)
    with pytest.raises(ConfigError, match=r"--output draws pairs, and .* holds conversations"):
        data.main(["preview", str(tmp_path / "train.json"), "--output", str(tmp_path / "drawn.png")])
    write_pairs_set(tmp_path, [official(0)])
    with pytest.raises(ConfigError, match=r"name it \.png"):
        data.main(["preview", str(tmp_path / "pairs.jsonl"), "--output", str(tmp_path / "drawn.jpg")])
