"""Small pictures of coloured squares with a COCO instances file: what `PresenceData` and the detectors of it read."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ("blue box", "green box", "red box")
COLOURS = {"blue box": (20, 40, 220), "green box": (20, 190, 60), "red box": (220, 30, 30)}
IDS = {"red box": 7, "green box": 5, "blue box": 2}  # their order is that of NAMES
SIZE, SIDE = 32, 12
CORNERS = ((1, 1), (18, 2), (3, 17), (17, 18))


def write_instances(folder: Path, split: str, count: int, seed: int = 0) -> Path:
    """Write pictures of no to three squares of different colours, and the file that lists them."""
    generator = np.random.default_rng([seed, len(split)])
    (folder / split).mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number in range(count):
        pixels = np.full((SIZE, SIZE, 3), 230, np.uint8)
        pixels += generator.integers(0, 20, pixels.shape, dtype=np.uint8)
        shown = generator.permutation(NAMES)[: number % 4]
        for name, place in zip(shown.tolist(), generator.permutation(4), strict=False):
            x, y = CORNERS[place]
            pixels[y : y + SIDE, x : x + SIDE] = COLOURS[name]
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": 100 + number, "category_id": IDS[name],
                    "bbox": [x, y, SIDE, SIDE], "area": SIDE * SIDE, "iscrowd": 0,
                }
            )  # fmt: skip
        file = f"{split}/{number:03d}.png"
        Image.fromarray(pixels).save(folder / file)
        images.append(
            {"id": 100 + number, "file_name": file, "width": SIZE, "height": SIZE, "design": "ab"[number % 2]}
        )
    categories = [{"id": IDS[name], "name": name} for name in IDS]
    path = folder / f"instances_{split}.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path
