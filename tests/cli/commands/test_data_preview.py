"""Rows as tokens on the command line."""

import pytest
from conversations import write_set

from vision_suite.cli.commands import data


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
