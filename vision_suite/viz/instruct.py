"""Pictures of language models that read pictures: task scores, attention through the layers, routing of an answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from vision_suite.types.arrays import Floats
from vision_suite.types.instruct import TaskScore
from vision_suite.viz import canvas

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

TASKS_DRAWN = 40
TOKENS_DRAWN = 48
GROUPS = ("text before pictures", "pictures", "text between pictures", "text after pictures")
GROUP_COLOURS = ("#0072B2", "#D55E00", "#CC79A7", "#009E73")
SIDE = 150  # pixels of a picture in a heading
ROW_SIDE = 110  # pixels of a picture beside a question
LABEL_WIDTH = 46  # characters of a task's name


def task_bars(tasks: Sequence[TaskScore], *, title: str) -> Image.Image:
    """Draw the share of right answers of each task with its standard error, and the score of guessing.

    Args:
        tasks: Scores of tasks with questions, in the order from above; of more than 40 the first 40 are drawn.
        title: Heading.

    Returns:
        An RGB image. Bars of tasks that do not count are grey.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    drawn = list(tasks[:TASKS_DRAWN])
    figure, (axes,) = canvas.new_figure(9.5, 1.7 + 0.34 * len(drawn))
    rows = np.arange(len(drawn))
    scores = np.array([100 * task.score for task in drawn])
    errors = np.array([100 * task.error for task in drawn])
    colours = [canvas.CURVES[0] if task.counted else "#adb5bd" for task in drawn]
    axes.barh(rows, scores, color=colours, height=0.62, xerr=errors, error_kw={"elinewidth": 1.2, "capsize": 3})
    for row, task in enumerate(drawn):
        if math.isfinite(task.chance):
            axes.plot([100 * task.chance] * 2, [row - 0.4, row + 0.4], color=canvas.CURVES[1], linewidth=2.2)
        place = max(scores[row] + errors[row], 100 * task.chance if math.isfinite(task.chance) else 0.0)
        label = f"{scores[row]:.1f} ± {errors[row]:.1f}"
        axes.annotate(label, (place, row), (6, 0), textcoords="offset points", va="center", fontsize=9)
    names = [f"{_shortened(task.name)}  (n={task.count:,})" for task in drawn]
    axes.set_yticks(rows, names, fontsize=9)
    axes.set_ylim(len(drawn) - 0.4, -0.6)
    axes.set_xlim(0, 118)
    axes.set_xticks(range(0, 101, 20))
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("right answers, % (whiskers: one standard error)")
    handles: list[Artist] = [Patch(color=canvas.CURVES[0], label="counts in the means")]
    if any(not task.counted for task in drawn):
        handles.append(Patch(color="#adb5bd", label="not above chance by two standard errors, or too few questions"))
    if any(math.isfinite(task.chance) for task in drawn):
        handles.append(Line2D([], [], color=canvas.CURVES[1], linewidth=2.2, label="guessing"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    left = f", {len(tasks) - len(drawn)} tasks more" if len(tasks) > len(drawn) else ""
    figure.suptitle(canvas.printable(title) + left, x=0.01, ha="left", fontsize=13, fontweight="bold")
    return canvas.rendered(figure)


def mass_curves(masses: Floats, *, title: str, shift: float, rows: int) -> Image.Image:
    """Draw the share of attention of each layer on the text around pictures and on pictures.

    Args:
        masses: (L, 4) mean shares of attention on text before, pictures, text between, text after.
        title: Heading.
        shift: Attention shift, see `vision_suite.metrics.instruct.attention_shift`; NaN if it is not defined.
        rows: Number of conversations in the mean.

    Returns:
        An RGB image; the text before and after is drawn once more on the right, each relative to its own range, since
        the shift is about the course and not the size of the shares.
    """
    figure, (left, right) = canvas.new_figure(11, 4.2, 2)
    for number in range(len(GROUPS)):
        if np.nanmax(masses[:, number], initial=0.0) > 0:
            _curve(left, 100 * masses[:, number], number)
    left.set_ylim(0, 100)
    left.set_ylabel("share of attention, %")
    left.set_title(
        f"Mean over {rows:,} conversation{'s' if rows != 1 else ''} and their queries", loc="left", fontsize=11
    )
    for number in (0, 3):
        curve = masses[:, number]
        low, span = np.nanmin(curve), np.nanmax(curve) - np.nanmin(curve)
        _curve(right, (curve - low) / span if span > 0 else np.zeros_like(curve), number)
    right.set_ylim(-0.05, 1.05)
    right.set_ylabel("share, from its lowest to its highest")
    words = f"{shift:.2f} (0: alike, 1: unrelated, 2: opposite)" if math.isfinite(shift) else "not defined"
    right.set_title(f"Attention shift {words}", loc="left", fontsize=11)
    for axes in (left, right):
        axes.set_xlabel("layer")
        _whole_ticks(axes, len(masses))
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False)
    figure.suptitle(canvas.printable(title), x=0.01, ha="left", fontsize=13, fontweight="bold")
    return canvas.rendered(figure)


def routing_picture(
    routing: Floats,
    tokens: Sequence[str],
    *,
    question: str,
    answer: str,
    title: str,
    pictures: Sequence[Image.Image] = (),
) -> Image.Image:
    """Draw which wing each layer trusts while an answer is written: a heat map of layers over tokens.

    Args:
        routing: (L, T, 2) weights of the visual and the textual wing for each layer and written token, NaN where there
            is none.
        tokens: The T written tokens; of more than 48 the first 48 are drawn.
        question: The question.
        answer: The whole answer.
        title: Heading.
        pictures: Pictures of the question, drawn beside it; at most four.

    Returns:
        An RGB image. Each cell is the visual wing's share of both weights, grey where there is none.
    """
    body = _routing_map(routing[:, :TOKENS_DRAWN], tokens)
    margin, gap = canvas.MARGIN, canvas.GAP
    width = max(body.width, 900)
    shown = [canvas.thumbnail(picture, SIDE, SIDE) for picture in pictures[:4]]
    left = margin + len(shown) * (SIDE + gap)
    face = canvas.font(15)
    text = canvas.last_lines(f"Question: {question}", face, width - left - margin, 4)
    text += canvas.wrap_text(f"Answer: {answer or '(nothing)'}", face, width - left - margin, 4)
    top = canvas.heading_height(title, "")
    height = top + max(SIDE if shown else 0, 22 * len(text)) + margin
    sheet = Image.new("RGB", (width, height + body.height), canvas.PAPER)
    canvas.draw_heading(sheet, title, "")
    for number, picture in enumerate(shown):
        sheet.paste(picture, (margin + number * (SIDE + gap), top))
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(text):
        draw.text((left, top + 22 * number), line, font=face, fill=canvas.INK)
    sheet.paste(body, (0, height))
    return sheet


@dataclass(frozen=True)
class Asked:
    """A question with its answer, to be drawn.

    Attributes:
        question: Question.
        answer: Answer of the model.
        reference: Right answer.
        right: Whether the answer is right.
        pictures: Pictures of the question.
        task: Name of its task.
    """

    question: str
    answer: str
    reference: str
    right: bool
    pictures: Sequence[Image.Image] = ()
    task: str = ""


def answer_sheet(asked: Sequence[Asked], *, title: str, subtitle: str = "") -> Image.Image:
    """Draw questions below each other: their pictures, the answer with a tick or a cross, and the right answer.

    Args:
        asked: Questions; at most four pictures of each are drawn.
        title: Heading.
        subtitle: Line below it.
    """
    columns = max([1, *(min(len(each.pictures), 4) for each in asked)])
    left = canvas.MARGIN + columns * (ROW_SIDE + canvas.GAP)
    width = max(900, left + 560)
    top, step = canvas.heading_height(title, subtitle) + canvas.GAP, ROW_SIDE + 2 * canvas.GAP
    sheet = Image.new("RGB", (width, top + step * len(asked) + canvas.MARGIN), canvas.PAPER)
    canvas.draw_heading(sheet, title, subtitle)
    draw = ImageDraw.Draw(sheet)
    face, bold, small = canvas.font(15), canvas.font(15, bold=True), canvas.font(12)
    room = width - left - canvas.MARGIN
    for number, each in enumerate(asked):
        y = top + number * step
        if number:
            draw.line([(canvas.MARGIN, y - canvas.GAP), (width - canvas.MARGIN, y - canvas.GAP)], fill=canvas.RULE)
        for column, picture in enumerate(each.pictures[:4]):
            tile = canvas.thumbnail(picture, ROW_SIDE, ROW_SIDE)
            x = canvas.MARGIN + column * (ROW_SIDE + canvas.GAP)
            sheet.paste(tile, (x, y))
            draw.rectangle((x - 1, y - 1, x + ROW_SIDE, y + ROW_SIDE), outline=canvas.RULE)
        draw.text((left, y), canvas.fit_text(each.task, small, room), font=small, fill=canvas.FAINT)
        lines = canvas.last_lines(each.question, face, room, 2)  # a text comes before the question about it
        for row, line in enumerate(lines):
            draw.text((left, y + 18 + 20 * row), line, font=face, fill=canvas.INK)
        y += 24 + 20 * len(lines)
        disc = canvas.mark(each.right, 18)
        sheet.paste(disc, (left, y), disc)
        said = canvas.fit_text(each.answer or "(nothing)", bold, room - 26)
        draw.text((left + 26, y), said, font=bold, fill=canvas.CORRECT if each.right else canvas.WRONG)
        if not each.right:
            known = canvas.fit_text(f"right: {each.reference}", face, room - 26)
            draw.text((left + 26, y + 22), known, font=face, fill=canvas.INK)
    return sheet


def _curve(axes: Axes, values: Floats, group: int) -> None:
    """A curve over layers in the style of its group."""
    layers = np.arange(1, len(values) + 1)
    style, colour = canvas.DASHES[group], GROUP_COLOURS[group]
    axes.plot(layers, values, color=colour, linestyle=style, linewidth=2, label=GROUPS[group])


def _routing_map(routing: Floats, tokens: Sequence[str]) -> Image.Image:
    """The heat map of the visual wing's share, layers from below, tokens from the left."""
    import matplotlib

    layers, count = routing.shape[:2]
    total = routing.sum(-1)
    share = np.divide(routing[..., 0], total, out=np.full(total.shape, np.nan), where=total > 0)
    figure, (axes,) = canvas.new_figure(max(5.6, 2.4 + 0.26 * count), max(2.6, 1.7 + 0.12 * layers))
    colours = matplotlib.colormaps["PuOr_r"].with_extremes(bad="#dee2e6")
    picture = axes.imshow(
        np.ma.masked_invalid(share),
        cmap=colours,
        vmin=0,
        vmax=1,
        aspect="auto",
        origin="lower",
        interpolation="nearest",
    )
    axes.grid(visible=False)
    cut = f", first {count} of {len(tokens)} tokens" if len(tokens) > count else ""
    labels = [canvas.printable(token.strip() or repr(token)[1:-1])[:14] for token in tokens[:count]]
    axes.set_xticks(range(count), labels, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_ylabel("layer")
    ticks = range(1, layers + 1) if layers <= 10 else [1, *range(5, layers + 1, 5)]
    axes.set_yticks([layer - 1 for layer in ticks], [str(layer) for layer in ticks], fontsize=8)
    axes.set_title(f"Share of the visual wing in both weights{cut}", loc="left", fontsize=10)
    axes.set_xlabel("written token")
    bar = figure.colorbar(picture, ax=axes, fraction=0.05, pad=0.02, ticks=[0, 0.25, 0.5, 0.75, 1])
    bar.ax.set_yticklabels(["0: textual wing alone", "", ".5", "", "1: visual wing alone"], fontsize=8)
    return canvas.rendered(figure)


def _shortened(name: str) -> str:
    """A name, or its end, which tells tasks of one family apart."""
    name = canvas.printable(name)
    return name if len(name) <= LABEL_WIDTH else canvas.ELLIPSIS + name[1 - LABEL_WIDTH :]


def _whole_ticks(axes: Axes, layers: int) -> None:
    """Ticks at whole layers."""
    step = max(1, math.ceil(layers / 10))
    axes.set_xticks(sorted({1, *range(step, layers + 1, step)}))
