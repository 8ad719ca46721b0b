"""The picture of preference pairs."""

import numpy as np
import pytest
from PIL import Image

from vision_suite.viz import canvas
from vision_suite.viz.pairs import LINES, DrawnPair, pair_sheet

BLUE = (1, 2, 250)


def area(picture, colour):
    return int((np.asarray(picture) == np.array(colour)).all(-1).sum())


def test_both_sides_have_colours_of_their_own():
    pair = DrawnPair("What is it?", "A dog.", "A cow.", "There is a cat.", [Image.new("RGB", (20, 30), BLUE)])
    sheet = pair_sheet([pair], title="Pairs")
    assert area(sheet, BLUE) > 10_000
    long = DrawnPair("What is it?", "A dog and a pig and a cat.", "A cow.", "There is a cat.")
    longer = pair_sheet([long], title="Pairs")
    assert area(longer, canvas.CORRECT) > area(sheet, canvas.CORRECT)
    assert area(longer, canvas.WRONG) == area(sheet, canvas.WRONG) > 0
    assert longer.width < sheet.width, "no room for pictures where there are none"


def test_pairs_are_as_high_as_their_texts():
    short = DrawnPair("Q?", "A.", "B.")
    long = DrawnPair("word " * 100, "word " * 100, "word " * 100, "word " * 100)
    heights = [pair_sheet(each, title="t").height for each in ([short], [long], [short, long], [])]
    assert heights[0] + heights[1] == heights[2] + heights[3]
    assert heights[1] - heights[0] == 4 * (LINES - 1) * 21


@pytest.mark.parametrize("lines", [1, 3])
def test_of_a_long_context_the_end_is_kept(lines):
    text = " ".join(f"word{number}" for number in range(200))
    found = canvas.last_lines(text, canvas.font(15), 300, lines)
    assert len(found) == lines
    assert found[0].startswith(canvas.ELLIPSIS)
    assert found[-1].endswith("word199")
    assert all(canvas.font(15).getlength(line) <= 300 for line in found)
    assert canvas.last_lines("a few words", canvas.font(15), 300, lines) == ["a few words"]
    wide = canvas.last_lines("a " * 300 + "b" * 300, canvas.font(15), 300, lines)
    assert len(wide) == lines
    assert all(canvas.font(15).getlength(line) <= 300 for line in wide)
