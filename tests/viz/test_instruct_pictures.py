"""Pictures of language models that read pictures: what is drawn where, and cases with little to show."""

import math

import numpy as np
from PIL import Image

from vision_suite.types.instruct import TaskScore
from vision_suite.viz import instruct as drawing
from vision_suite.viz.instruct import Asked, answer_sheet, mass_curves, routing_picture, task_bars

BLUE, GREY = (0, 114, 178), (173, 181, 189)


def task(name="facts", score=0.5, *, counted=True, chance=0.25, error=0.02):
    return TaskScore(name, "choice", 500, score, error, chance, counted)


def near(picture, colour):
    """(H, W) pixels of about a colour."""
    return np.abs(np.asarray(picture).astype(int) - colour).max(2) < 12


def test_longer_bars_for_higher_scores_and_grey_ones_for_tasks_that_do_not_count():
    pictures = [np.asarray(task_bars([task(score=score)], title="t")) for score in (0.2, 0.8)]
    low, high = (near(picture[: len(picture) // 2], BLUE).any(0).sum() for picture in pictures)  # above the legend
    assert 3.5 < high / low < 4.5
    grey = task_bars([task(counted=False)], title="t")
    assert near(grey, GREY).any(1).sum() > near(task_bars([task()], title="t"), GREY).any(1).sum()


def test_texts_of_bars_do_not_leave_the_picture(monkeypatch):
    figures = []
    monkeypatch.setattr(drawing.canvas, "rendered", figures.append)
    names = ["x" * 200, "a", "iit/TTV/model-history"]
    task_bars([task(name, 1.0, chance=math.nan, error=0.01) for name in names], title="t")
    (figure,) = figures
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in [*axes.texts, *axes.get_yticklabels()]]
    assert all(figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1 for box in boxes)
    assert axes.get_yticklabels()[0].get_text().startswith("…xxx")


def test_of_many_tasks_the_first_forty_are_drawn_and_the_rest_is_counted(monkeypatch):
    figures = []
    monkeypatch.setattr(drawing.canvas, "rendered", figures.append)
    task_bars([task(str(n)) for n in range(50)], title="all")
    assert len(figures[0].axes[0].get_yticklabels()) == 40
    assert figures[0].get_suptitle() == "all, 10 tasks more"


def test_curves_of_groups_that_get_attention():
    shares = np.array([[0.5, 0.3, 0.0, 0.2], [0.3, 0.3, 0.0, 0.4], [0.2, 0.2, 0.0, 0.6]])
    picture = mass_curves(shares, title="t", shift=1.5, rows=1)
    assert near(picture, (213, 94, 0)).sum() > 500, "attention on pictures"
    assert not near(picture, (204, 121, 167)).any(), "there is no text between pictures"
    flat = np.tile([0.5, 0.5, 0.0, 0.0], (2, 1))
    assert mass_curves(flat, title="t", shift=math.nan, rows=3).size == picture.size


def test_routing_is_orange_where_the_visual_wing_is_alone_and_grey_where_nothing_is_known():
    routing = np.zeros((4, 6, 2))
    routing[:, :3, 0], routing[:, 3:, 1] = 2.0, 2.0
    routing[:, 5] = np.nan
    picture = routing_picture(routing, list("abcdef"), question="<image> what?", answer="an answer", title="t")
    visual, textual, none = (near(picture, colour) for colour in ((127, 59, 8), (45, 0, 75), (222, 226, 230)))
    lines = slice(picture.height // 2 - 5, picture.height // 2 + 5)
    middle = [np.flatnonzero(found[lines].all(0)) for found in (visual, textual, none)]
    assert middle[0].max() < middle[1].min() < middle[2].min()
    with_picture = routing_picture(
        routing, list("abcdef"), question="?", answer="", title="t", pictures=[Image.new("RGB", (9, 9), "red")]
    )
    assert near(with_picture, (255, 0, 0)).sum() == drawing.SIDE**2
    long = routing_picture(
        np.ones((30, 100, 2)), ["word "] * 100, question="?" * 999, answer="an answer", title="t" * 999
    )
    assert 900 <= long.width < 3000


def test_answers_bear_a_tick_or_a_cross():
    red = Image.new("RGB", (20, 10), "red")
    right, wrong = (Asked("<image> what?", "a fox", "a cat", kind, [red] * 5, "names") for kind in (True, False))
    sheet = answer_sheet([right, wrong], title="t", subtitle="s")
    upper, lower = np.split(np.asarray(sheet), [sheet.height // 2])
    assert near(upper, drawing.canvas.CORRECT).any()
    assert near(lower, drawing.canvas.WRONG).any()
    assert not near(lower, drawing.canvas.CORRECT).any()
    assert near(sheet, (255, 0, 0)).sum() == 2 * 4 * drawing.ROW_SIDE * (drawing.ROW_SIDE // 2), "four of five pictures"
    assert answer_sheet([], title="t").width == 900


def test_of_a_long_text_the_question_at_its_end_is_drawn():
    page = "Shoppers go to a store and write down what they see. " * 20
    sheets = [answer_sheet([Asked(page + end, "a", "a", True)], title="t") for end in ("Who pays?", "Who")]
    assert sheets[0].tobytes() != sheets[1].tobytes()
    routing = np.ones((2, 1, 2))
    maps = [routing_picture(routing, ["a"], question=page + end, answer="a", title="t") for end in ("Who pays?", "")]
    assert maps[0].tobytes() != maps[1].tobytes()
