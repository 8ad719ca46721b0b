"""Pictures of a retrieval result: ranked gallery strips and CMC curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from vision_suite.types.arrays import Floats
from vision_suite.viz import canvas
from vision_suite.viz.canvas import FRAME, GAP, MARGIN

TEXT = 13
BRANCHES = {"": "fused", "rerank": "fused, re-ranked"}


@dataclass(frozen=True)
class StripPicture:
    """One picture of a strip and the text under it.

    Attributes:
        picture: The picture; any size, drawn whole.
        identity: Number of the identity, or None where it is not known.
        camera: 0-based number of the camera, or None.
        distance: Distance to the query, or None for the query itself.
        match: True if it shows the query's identity; None without ground truth (grey frame, no mark).
        name: Text instead of the identity where that is None, such as a file name.
        decision: ``same``, ``different`` or ``unsure`` where thresholds decide without ground truth.
    """

    picture: Image.Image
    identity: int | None = None
    camera: int | None = None
    distance: float | None = None
    match: bool | None = None
    name: str = ""
    decision: Literal["same", "different", "unsure"] | None = None


@dataclass(frozen=True)
class RankedRow:
    """A query and the first entries of its ranked gallery, nearest first."""

    query: StripPicture
    entries: Sequence[StripPicture] = field(default_factory=tuple)
    average_precision: float | None = None


def gallery_strip(rows: Sequence[RankedRow], *, title: str = "", subtitle: str = "", side: int = 124) -> Image.Image:
    """Draw queries at the left and their nearest gallery pictures to the right, one query a row.

    A green frame with a tick is a correct match, a red frame with a cross a wrong one; a grey frame has no
    ground truth. Decisions without ground truth have the same marks and their word below; unsure is grey.

    Args:
        rows: The queries; rows may differ in length.
        title: Heading.
        subtitle: Smaller line below the heading.
        side: A tile covers side x side pixels; its shape follows the pictures.

    Returns:
        An RGB image.

    Raises:
        ValueError: There are no rows.
    """
    if not rows:
        raise ValueError("a gallery strip needs at least one row")
    shown = [item for row in rows for item in (row.query, *row.entries)]
    width, height = canvas.tile_size([item.picture for item in shown], side)
    decided = any(item.decision is not None for item in shown)
    column = max(width + 2 * FRAME, 124 if decided else 104)  # for the distance and the word
    line = TEXT + 5
    row_height = line + 4 + height + 2 * FRAME + 4 + 2 * line + 2 * GAP
    entries = max(len(row.entries) for row in rows)
    left = MARGIN + column + 3 * GAP
    truth = any(item.match is not None for item in shown)
    total = max(left + entries * (column + GAP) - GAP + MARGIN, 560)
    key = canvas.heading_height(title, subtitle)
    top = key + (24 if truth or decided else 0) + (8 if title else 0)
    sheet = Image.new("RGB", (total, top + len(rows) * row_height + MARGIN - GAP), canvas.PAPER)
    canvas.draw_heading(sheet, title, subtitle)
    if truth or decided:
        _key(sheet, key, ("same identity", "another identity") if truth else ("called same", "called different"))
    draw = ImageDraw.Draw(sheet)
    for number, row in enumerate(rows):
        y = top + number * row_height
        draw.line((MARGIN, y, total - MARGIN, y), fill=canvas.RULE)
        y += GAP
        heading = "query" if row.average_precision is None else f"query  AP {100 * row.average_precision:.0f}"
        _tile(sheet, row.query, MARGIN, y, column, (width, height), heading, canvas.QUERY)
        for rank, entry in enumerate(row.entries, start=1):
            _tile(sheet, entry, left + (rank - 1) * (column + GAP), y, column, (width, height), str(rank), None)
    return sheet


def _key(sheet: Image.Image, y: int, words: tuple[str, str]) -> None:
    """Write the key to the frames at height ``y``."""
    draw = ImageDraw.Draw(sheet)
    x = MARGIN
    for correct, text in zip((True, False), words, strict=True):
        glyph = canvas.mark(correct, 14)
        sheet.paste(glyph, (x, y + 1), glyph)
        draw.text((x + 20, y), text, font=canvas.font(TEXT), fill=canvas.FAINT)
        x += 20 + round(canvas.font(TEXT).getlength(text)) + 20


def _tile(
    sheet: Image.Image,
    item: StripPicture,
    x: int,
    y: int,
    column: int,
    size: tuple[int, int],
    heading: str,
    colour: canvas.RGB | None,
) -> None:
    """Draw one picture with its rank above and its numbers below."""
    draw = ImageDraw.Draw(sheet)
    match = item.match if item.decision in (None, "unsure") else item.decision == "same"
    face, bold = canvas.font(TEXT), canvas.font(TEXT, bold=True)
    line = TEXT + 5
    if colour is None:
        colour = canvas.NEUTRAL if match is None else canvas.CORRECT if match else canvas.WRONG
    box = canvas.framed(item.picture, *size, colour, FRAME)
    x += (column - box.width) // 2
    draw.text((x, y), heading, font=bold, fill=colour)
    if match is not None:
        glyph = canvas.mark(match, 16)
        sheet.paste(glyph, (x + box.width - 16, y), glyph)
    y += line + 4
    sheet.paste(box, (x, y))
    y += box.height + 4
    first = item.name if item.identity is None else f"id {item.identity}"
    parts = [] if item.camera is None or item.camera < 0 else [f"cam {item.camera}"]
    if item.distance is not None:
        parts.append(f"{max(item.distance, 0.0):.3f}")
    if item.decision is not None:
        parts.append(item.decision)
    room = (box.width + column) // 2
    draw.text((x, y), canvas.fit_middle(first, face, room), font=face, fill=canvas.INK)
    draw.text((x, y + line), canvas.fit_text(" · ".join(parts), face, room), font=face, fill=canvas.FAINT)


def cmc_curves(curves: Mapping[str, Floats], mean_ap: Mapping[str, float], *, title: str = "") -> Image.Image:
    """Draw cumulative matching curves, one a branch.

    Args:
        curves: Curve (max_rank,) of each branch, fractions of one; the name "" is the fused feature.
        mean_ap: Mean average precision of each branch, a fraction of one, for the key; branches may be missing.
        title: Heading.

    Returns:
        An RGB image, 1120 x 768.
    """
    figure, (axes,) = canvas.new_figure(7.0, 4.8)
    longest = max(len(curve) for curve in curves.values())
    lowest = 1.0
    for number, (branch, curve) in enumerate(curves.items()):
        name = BRANCHES.get(branch, branch.upper()) if len(curves) > 1 else "network"
        label = f"{name}: mAP {100 * mean_ap[branch]:.1f}, " if branch in mean_ap else f"{name}: "
        label += f"rank-1 {100 * curve[0]:.1f}"
        axes.plot(
            np.arange(1, len(curve) + 1),
            100 * curve,
            label=label,
            color=canvas.CURVES[number % len(canvas.CURVES)],
            linestyle=canvas.DASHES[number % len(canvas.DASHES)],
            linewidth=1.8 if branch else 2.6,
            zorder=2 if branch else 3,
        )
        lowest = min(lowest, float(curve[0]))
    axes.set_xlim(1 if longest > 1 else 0.5, max(longest, 1.5))
    axes.set_xticks([rank for rank in (1, 5, 10, 20, 30, 40, 50, 100) if rank <= longest])
    axes.set_ylim(10 * np.floor(max(0.0, 10 * lowest - 0.5)), 101)
    axes.set_xlabel("rank k")
    axes.set_ylabel("queries with a correct match within k (%)")
    axes.legend(loc="lower right", frameon=True, framealpha=0.95, edgecolor="#dee2e6", fontsize=9.5)
    if title:
        axes.set_title(title, loc="left", fontsize=12, fontweight="bold")
    return canvas.rendered(figure)


def roc_curve(
    curve: Mapping[str, Floats], point: tuple[float, float] | None = None, *, label: str = "", title: str = ""
) -> Image.Image:
    """Draw an ROC curve over pairs of pictures, with false positive rates on a logarithmic axis.

    Args:
        curve: Columns ``fpr`` and ``tpr`` (K,), fractions of one, K at least 1.
        point: False and true positive rate of the threshold, or None.
        label: Words about the threshold.
        title: Heading.

    Returns:
        An RGB image, 1120 x 768.
    """
    figure, (axes,) = canvas.new_figure(7.0, 4.8)
    shown = curve["fpr"] > 0
    axes.plot(100 * curve["fpr"][shown], 100 * curve["tpr"][shown], color=canvas.CURVES[0], linewidth=2.2)
    lowest = float(curve["fpr"][shown].min())
    if point is not None:
        at = max(point[0], lowest / 2)  # no false positive at all has no place on this axis
        label += "" if point[0] else ", no false positive"
        axes.plot(
            100 * at, 100 * point[1], "o", color=canvas.CURVES[1], markersize=9, zorder=4, clip_on=False, label=label
        )
        axes.axvline(100 * at, color=canvas.CURVES[1], linestyle="--", linewidth=1)
        axes.legend(loc="lower right", frameon=True, framealpha=0.95, edgecolor="#dee2e6", fontsize=9.5)
        lowest = min(lowest, at)
    axes.set_xscale("log")
    axes.set_xlim(100 * lowest / 1.3, 100)
    axes.set_ylim(0, 101)
    axes.set_xlabel("pairs of different identities called the same, FPR (%)")
    axes.set_ylabel("pairs of one identity called the same, TPR (%)")
    if title:
        axes.set_title(title, loc="left", fontsize=12, fontweight="bold")
    return canvas.rendered(figure)
