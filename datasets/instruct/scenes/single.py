"""Pictures of a single thing for naming: one drawing at a random place and size."""

from __future__ import annotations

from collections.abc import Sequence

from vision_suite.datasets.instruct.question_rows import stream_of
from vision_suite.datasets.instruct.scenes.layout import Placed, Scene, background
from vision_suite.datasets.instruct.scenes.things import SceneSplit, Thing

SMALLEST, LARGEST = 0.55, 0.95  # side of the drawing, of the picture's


def singles(
    seed: int, split: SceneSplit, first: int, copies: int, things: Sequence[Thing], designs: Sequence[str], size: int
) -> list[Scene]:
    """Scenes of one thing: so many of each thing in each design.

    Args:
        seed: Seed of the whole set.
        split: The split.
        first: Number of the first scene.
        copies: Pictures of each drawing.
        things: Things.
        designs: Keys of designs that draw all of them.
        size: Side of a picture in pixels.
    """
    scenes: list[Scene] = []
    for thing in things:
        for design in designs:
            generator = stream_of(seed, "single", split, design, thing.name)
            for _ in range(copies):
                side = int(generator.integers(round(SMALLEST * size), round(LARGEST * size) + 1))
                x, y = (int(place) for place in generator.integers(0, size - side + 1, 2))
                number = first + len(scenes)
                placed = (Placed(thing, x, y, side),)
                scenes.append(Scene(number, split, design, size, background(generator), placed, "singles"))
    return scenes
