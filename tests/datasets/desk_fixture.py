"""Drawn desks: pictures with coloured objects, their boxes, and a set of scanpaths over such pictures."""

import json

import numpy as np
from PIL import Image, ImageDraw

SIZE = (320, 200)
LOOKS = {"cup": (200, 40, 40), "book": (40, 80, 180), "lamp": (240, 200, 40), "plant": (40, 120, 40)}


def desk(path, seed=0, size=SIZE):
    """Draw a desk with one object in each of six places; returns rows [x1, y1, x2, y2, label]."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", size, (235, 225, 205))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, size[1] * 0.7, *size), fill=(170, 120, 80))
    words = [list(LOOKS)[n] for n in [0, 1, *rng.integers(1, len(LOOKS), 4)]]
    rows = []
    for place, word in enumerate(words):
        x, y = 12 + place % 3 * 104 + int(rng.integers(20)), 12 + place // 3 * 96 + int(rng.integers(20))
        box = [x, y, x + 48 + int(rng.integers(12)), y + 60]
        draw.rectangle(box, fill=LOOKS[word], outline=(0, 0, 0))
        draw.line((x, y, box[2], y + 20 + 6 * len(word)), fill=(255, 255, 255), width=3)
        rows.append([*box, word])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return rows


def desk_set(folder, scenes=8):
    """A set in the plain form: everybody looks at object 1 and then finds the cup, object 0."""
    lines, trials = [], []
    for number in range(scenes):
        rows = desk(folder / f"{number}.png", number)
        lines.append({"image": f"{number}.png", "boxes": [r[:4] for r in rows], "labels": [r[4] for r in rows]})
        middles = [[(r[0] + r[2]) / 2, (r[1] + r[3]) / 2] for r in (rows[1], rows[0])]
        trials.append({"image": f"{number}.png", "subject": "a", "task": "cup", "target": 0, "fixations": middles})
    for name, rows in (("scenes.jsonl", lines), ("trials.jsonl", trials)):
        (folder / name).write_text("\n".join(map(json.dumps, rows)) + "\n")
    return folder


def desk_config(root, **network):
    """A tiny network on such a set, as a configuration file's contents."""
    own = {
        "appearance": "cnn", "crop_size": [29, 29], "embed_dim": 32, "ff_dim": 32, "encoder_layers": 1,
        "decoder_layers": 1, "position": "gauss_hermite", "samples": 5, **network,
    }  # fmt: skip
    data = {"dataset": "table", "root": str(root), "crop_size": [29, 29], "mean": [0.4, 0.4, 0.4], "folds": 4}
    return {
        "seed_everything": 1,
        "trainer": {
            "max_epochs": 1, "accelerator": "cpu", "devices": 1, "num_sanity_val_steps": 0,
            "enable_progress_bar": False, "enable_model_summary": False,
        },
        "model": {"class_path": "vision_suite.lit_modules.oat.LitOAT", "init_args": own},
        "data": {"class_path": "vision_suite.datasets.scanpath.ScanpathData", "init_args": data},
    }  # fmt: skip
