"""Boxes of Emoji-Scenes as COCO instances: a category is a thing, its supercategory the subgroup."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from vision_suite.datasets.instruct.scenes.layout import Scene
from vision_suite.datasets.instruct.scenes.paint import Painted
from vision_suite.datasets.instruct.scenes.things import Thing


def write_instances(path: Path, scenes: Sequence[Scene], painted: Sequence[Painted], things: Sequence[Thing]) -> int:
    """Write the instances of a split and return their number.

    Boxes are those of visible pixels, areas their number; there are no outlines, so ``segmentation`` is empty.

    Args:
        path: File to write.
        scenes: Scenes.
        painted: Their boxes.
        things: Things of all splits, whose order gives the numbers of categories, from 1.
    """
    category = {thing.name: number for number, thing in enumerate(things, start=1)}
    annotations: list[dict[str, object]] = []
    for scene, outcome in zip(scenes, painted, strict=True):
        for placed, box, area in zip(scene.placed, outcome.boxes, outcome.areas, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": scene.number,
                    "category_id": category[placed.thing.name],
                    "bbox": list(box),
                    "area": area,
                    "iscrowd": 0,
                    "segmentation": [],
                }
            )
    table = {
        "info": {"description": "Emoji-Scenes: laid out by rule from drawings"},
        "images": [
            {
                "id": scene.number,
                "file_name": scene.file,
                "width": scene.size,
                "height": scene.size,
                "design": scene.design,
            }
            for scene in scenes
        ],
        "annotations": annotations,
        "categories": [
            {"id": number, "name": thing.words, "supercategory": thing.subgroup}
            for number, thing in enumerate(things, start=1)
        ],
    }
    path.write_text(json.dumps(table) + "\n", encoding="utf-8")
    return len(annotations)
