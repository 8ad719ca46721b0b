"""Pictures of what captions make up, and of reward margins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vision_suite.viz import canvas
from vision_suite.viz.captions import SIDE, Told, boxed, caption_sheet, marked
from vision_suite.viz.margins import bin_edges, margin_picture
from vision_suite.viz.positions import position_curves

WORDS = st.sampled_from(["a", "dog", "dogs", "hot dog", "Wine glass,", "is", "there."])


def has(picture, colour):
    return (np.asarray(picture.convert("RGB")) == np.array(colour)).all(-1).any()


@given(st.lists(WORDS, max_size=8), st.sets(st.sampled_from(["dog", "wine glass"])))
def test_marking_keeps_the_text(words, named):
    text = " ".join(words)
    found = list(marked(text, ["hot dog"], named))
    assert " ".join(part for part, _ in found) == text
    assert sum(verdict is False for _, verdict in found) == words.count("hot dog")


def test_a_phrase_comes_before_its_words():
    found = list(marked("Dogs eat a hot dog; the puppies watch.", ["dog"], ["hot dog", "puppy"]))
    assert [part for part in found if part[1] is not None] == [
        ("Dogs", False), ("hot dog;", True), ("puppies", True),
    ]  # fmt: skip


def test_made_up_words_are_red_and_named_boxes_green():
    picture = Image.new("RGB", (64, 64), "white")
    boxes = [("dog", (8.0, 8.0, 20.0, 20.0)), ("cat", (40.0, 40.0, 10.0, 10.0))]
    tile = boxed(picture, boxes, ["dog"])
    scale = SIDE / 64
    assert tile.getpixel((round(8 * scale), round(20 * scale))) == canvas.CORRECT
    assert tile.getpixel((round(40 * scale), round(45 * scale))) == canvas.NEUTRAL
    clean = Told(picture, "A dog stands.", named=["dog"])
    wrong = Told(picture, "A cow stands.", made_up=["cow"], missed=["dog"])
    assert not has(caption_sheet([clean], title="t"), canvas.WRONG)
    assert has(caption_sheet([clean, wrong], title="t", subtitle="s"), canvas.WRONG)


def test_long_captions_stay_in_their_row():
    picture = Image.new("RGB", (64, 64), "black")
    told = Told(picture, "word " * 400)
    one, two = (caption_sheet([told] * count, title="t") for count in (1, 2))
    step = two.height - one.height
    first, second = np.asarray(two)[-2 * step :][:step], np.asarray(two)[-step:]
    assert abs(int((first < 250).sum()) - int((second < 250).sum())) < 0.1 * (first < 250).sum()


def test_curves_of_two_models():
    counts = [(40, 4), (30, 9), (0, 0)]
    alone = position_curves({"": counts}, title="t")
    both = position_curves({"before": counts, "after": [(40, 1)]}, title="t")
    assert alone.size == both.size
    assert np.asarray(alone).tobytes() != np.asarray(both).tobytes()


def test_margins_with_and_without_a_spread():
    rng = np.random.default_rng(0)
    gaps = rng.integers(-5, 6, 200).astype(float)
    assert margin_picture(0.2 * gaps + rng.normal(size=200), gaps, title="t").mode == "RGB"
    assert margin_picture(np.zeros(3), np.zeros(3), title="t").mode == "RGB"


@pytest.mark.parametrize("margins", [[-6.1, 9.5], [0.0, 0.0], [0.3, 7.0], [-4.0, -1e-3], [-1e-9, 2.0]])
def test_no_bin_of_margins_holds_both_orders(margins):
    edges = bin_edges(np.array(margins))
    assert 0.0 in edges
    assert edges[0] <= min(margins)
    assert edges[-1] >= max(margins)
    assert 2 <= len(edges) <= 43
    assert np.allclose(np.diff(edges), edges[1] - edges[0])
