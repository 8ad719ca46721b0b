"""Layout of Emoji-Scenes: which things a scene holds, where and how large, without pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vision_suite.datasets.instruct.question_rows import stream_of
from vision_suite.datasets.instruct.scenes.things import SceneSplit, Thing
from vision_suite.errors import DataError

TRIES = 60  # places for one thing before the scene is begun again
STARTS = 500  # beginnings of a scene
# Chance that a further thing is of the first one's subgroup.
TOGETHER: dict[SceneSplit, float] = {
    "train": 0.8, "val": 0.8, "test": 0.8, "adversarial": 0.0, "mining": 0.4, "mining_prior": 0.6,
    "val_adversarial": 0.0, "familiar": 0.8, "familiar_adversarial": 0.0,
}  # fmt: skip
LIGHTEST, DARKEST = 256, 176  # channels of backgrounds


@dataclass(frozen=True)
class Placed:
    """A thing in a scene: the square of its drawing, in pixels."""

    thing: Thing
    x: int
    y: int
    side: int

    @property
    def centre(self) -> tuple[float, float]:
        """Its centre in pixels."""
        return self.x + self.side / 2, self.y + self.side / 2


@dataclass(frozen=True)
class Scene:
    """A picture to paint.

    Attributes:
        number: Its number, unique over all splits.
        split: Its split.
        design: Key of the design of all its drawings.
        size: Side in pixels.
        background: Colour.
        placed: Things in the order of its caption.
        folder: Folder of its picture.
    """

    number: int
    split: SceneSplit
    design: str
    size: int
    background: tuple[int, int, int]
    placed: tuple[Placed, ...]
    folder: str = "scenes"

    @property
    def file(self) -> str:
        """Path of its picture below the folder of the set."""
        return f"{self.folder}/{self.split}/{self.number:06d}.png"


@dataclass(frozen=True)
class Sizes:
    """Measures of a variant.

    Attributes:
        scene: Side of a scene in pixels.
        smallest: Smallest side of a thing in pixels.
        largest: Largest side of a thing in pixels.
        most: Largest number of things.
    """

    scene: int
    smallest: int
    largest: int
    most: int


def lay_out(
    seed: int,
    split: SceneSplit,
    first: int,
    count: int,
    things: Sequence[Thing],
    drawn: Mapping[str, Sequence[str]],
    sizes: Sizes,
) -> list[Scene]:
    """Scenes of a split: 1 to ``sizes.most`` different things of one design, apart from each other.

    Args:
        seed: Seed of the whole set.
        split: The split.
        first: Number of the first scene.
        count: Number of scenes.
        things: Things of the split.
        drawn: Names that each design draws, by its key.
        sizes: Measures.

    Raises:
        DataError: The things do not fit.
    """
    generator = stream_of(seed, "scenes", split)
    designs = list(drawn)
    of_design = {key: [thing for thing in things if thing.name in set(names)] for key, names in drawn.items()}
    scenes = []
    for number in range(first, first + count):
        design = designs[int(generator.integers(len(designs)))]
        size = int(generator.integers(1, sizes.most + 1))
        chosen = _choose(generator, of_design[design], size, TOGETHER[split])
        scenes.append(
            Scene(number, split, design, sizes.scene, background(generator), _place(generator, chosen, sizes))
        )
    return scenes


def background(generator: np.random.Generator) -> tuple[int, int, int]:
    """A light colour."""
    red, green, blue = (int(channel) for channel in generator.integers(DARKEST, LIGHTEST, 3))
    return red, green, blue


def _choose(generator: np.random.Generator, things: Sequence[Thing], size: int, together: float) -> list[Thing]:
    """Different things: the first of any kind, the others often of its subgroup, else of a new one if there is any."""
    chosen = [things[int(generator.integers(len(things)))]]
    while len(chosen) < size:
        alike = [thing for thing in things if thing.subgroup == chosen[0].subgroup and thing not in chosen]
        other = [thing for thing in things if thing.subgroup not in {known.subgroup for known in chosen}]
        pool = (alike if generator.random() < together else other) or other or (alike if together else [])
        if not pool:
            raise DataError(f"{len(things)} things have too few subgroups for a scene of {size}: use more things")
        chosen.append(pool[int(generator.integers(len(pool)))])
    return chosen


def _place(generator: np.random.Generator, things: Sequence[Thing], sizes: Sizes) -> tuple[Placed, ...]:
    """A free square for each thing by rejection; the scene is begun again where one finds none."""
    for _ in range(STARTS):
        placed: list[Placed] = []
        for thing in things:
            side = int(generator.integers(sizes.smallest, sizes.largest + 1))
            for x, y in generator.integers(0, sizes.scene - side + 1, (TRIES, 2)):
                if all(_apart(int(x), int(y), side, other) for other in placed):
                    placed.append(Placed(thing, int(x), int(y), side))
                    break
            else:
                break
        if len(placed) == len(things):
            return tuple(placed)
    raise DataError(
        f"{len(things)} things of {sizes.smallest} pixels do not fit into {sizes.scene}: use a larger scene"
    )


def _apart(x: int, y: int, side: int, other: Placed) -> bool:
    """True if a square and a placed one have no pixel in common."""
    return x + side <= other.x or other.x + other.side <= x or y + side <= other.y or other.y + other.side <= y
