"""Drawn desks with a few objects, for tests only: pictures, their boxes, and a small set of scanpaths over them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIZE = (320, 200)
COLOURS = {"cup": (200, 40, 40), "book": (40, 80, 180), "lamp": (240, 200, 40), "plant": (40, 120, 40)}
Row = tuple[int, int, int, int, str]


def draw_desk(path: Path, seed: int = 0) -> list[Row]:
    """Draw a picture of 320 x 200 pixels with six objects: a cup, a book, and four of no cup.

    Returns:
        Rows x1, y1, x2, y2 in pixels and label.
    """
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", SIZE, (235, 225, 205))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, SIZE[1] * 0.7, *SIZE), fill=(170, 120, 80))
    words = [list(COLOURS)[n] for n in [0, 1, *rng.integers(1, len(COLOURS), 4)]]
    rows: list[Row] = []
    for index, word in enumerate(words):
        x, y = 12 + index % 3 * 104 + int(rng.integers(20)), 12 + index // 3 * 96 + int(rng.integers(20))
        right, bottom = x + 48 + int(rng.integers(12)), y + 60
        draw.rectangle((x, y, right, bottom), fill=COLOURS[word], outline=(0, 0, 0))
        draw.line((x, y, right, y + 20 + 6 * len(word)), fill=(255, 255, 255), width=3)
        rows.append((x, y, right, bottom, word))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return rows


def write_desk_set(folder: Path, scenes: int = 8) -> Path:
    """A set in the plain form of JSON lines: one subject looks at object 1, the book, then at 0, the cup."""
    lines, trials = [], []
    for number in range(scenes):
        name = f"{number}.png"
        rows = draw_desk(folder / name, number)
        lines.append({"image": name, "boxes": [row[:4] for row in rows], "labels": [row[4] for row in rows]})
        middles = [[(row[0] + row[2]) / 2, (row[1] + row[3]) / 2] for row in (rows[1], rows[0])]
        trials.append({"image": name, "subject": "a", "task": "cup", "target": 0, "fixations": middles})
    for file, contents in (("scenes.jsonl", lines), ("trials.jsonl", trials)):
        (folder / file).write_text("".join(json.dumps(line) + "\n" for line in contents), encoding="utf-8")
    return folder
