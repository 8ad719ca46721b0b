"""Contents of Emoji-Scenes: which scenes, single pictures and questions each variant and split has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vision_suite.datasets.emoji.rules import split_of
from vision_suite.datasets.instruct.scenes import rows
from vision_suite.datasets.instruct.scenes.layout import Scene, Sizes, lay_out
from vision_suite.datasets.instruct.scenes.rows import Asked, Single
from vision_suite.datasets.instruct.scenes.single import singles
from vision_suite.datasets.instruct.scenes.things import FURTHER, GROUPS, SPLITS, SceneSplit, Thing

SEED = 0


@dataclass(frozen=True)
class Contents:
    """Everything but pictures.

    Attributes:
        things: Things by split of scenes.
        scenes: Scenes by split.
        asked: Questions by split and task; captions have the task ``caption``.
        plain: Whether each scene is also described in one form, in files of its own.
    """

    things: dict[SceneSplit, list[Thing]]
    scenes: dict[SceneSplit, list[Scene]]
    asked: dict[SceneSplit, list[Asked]]
    plain: bool = False


def open_contents(
    things: Sequence[Thing],
    drawn: Mapping[str, set[str]],
    core: int,
    sizes: Sizes,
    count: Mapping[SceneSplit, int],
) -> tuple[Contents, set[str]]:
    """The open variant: names of different splits are different.

    Args:
        things: Every thing.
        drawn: Names that each design draws, by its key.
        core: Number of the designs, the first ones, that draw every thing; the others are in a test only.
        sizes: Measures.
        count: Number of scenes of each split.

    Returns:
        The contents, and the paths of the single pictures that they use.
    """
    keys = list(drawn)
    by_split = {
        split: [thing for thing in things if split_of(thing.name) == split] for split in ("train", "val", "test")
    }
    own: dict[SceneSplit, list[Thing]] = {
        split: by_split["test" if split == "adversarial" else split] for split in SPLITS
    }
    designs = {key: sorted(drawn[key]) for key in keys[:core]}
    scenes = _scenes(own, {split: designs for split in SPLITS}, sizes, count)
    shown = {
        (split, half): [
            Single(f"{key}-{thing.name}", f"singles/{key}/{thing.name}.png", thing)
            for thing in members
            for key in half
            if thing.name in drawn[key]
        ]
        for split, members in by_split.items()
        for half in (tuple(keys[:core]), tuple(keys[core:]))
    }
    words = list(GROUPS.values())
    usual, new = tuple(keys[:core]), tuple(keys[core:])
    asked: dict[SceneSplit, list[Asked]] = {}
    for split, members in own.items():
        asked[split] = _scene_questions(scenes[split], members, sizes.most)
        if split != "adversarial":
            asked[split] += rows.kinds("group", shown[split, usual], words)
            asked[split] += rows.chosen_names(SEED, "name", shown[split, usual], by_split[split])
    asked["test"] += rows.kinds("group-new-design", shown["test", new], words)
    used = {each.image for many in asked.values() for each in many if each.image.startswith("singles/")}
    return Contents(own, scenes, asked), used


def closed_contents(
    things: Sequence[Thing],
    designs: Sequence[str],
    sizes: Sizes,
    count: Mapping[SceneSplit, int],
    copies: Mapping[SceneSplit, int],
) -> tuple[Contents, list[Scene]]:
    """The closed variants: the same names in all splits, the last design in the tests only.

    Further scenes show the usual designs; they are numbered behind everything else, so that the other files are the
    same with and without them.

    Args:
        things: Every thing.
        designs: Keys of the designs.
        sizes: Measures.
        count: Number of scenes of each split; none of the further ones where it lacks them.
        copies: Pictures of each drawing of one thing in each split.

    Returns:
        The contents, and the pictures of single things.
    """
    usual, last = list(designs[:-1]), [designs[-1]]
    names = [thing.name for thing in things]
    own: dict[SceneSplit, list[Thing]] = {split: list(things) for split in SPLITS}
    keys: dict[SceneSplit, list[str]] = {"train": usual, "val": usual, "test": last, "adversarial": last}
    scenes = _scenes(own, {split: {key: names for key in keys[split]} for split in SPLITS}, sizes, count)
    first = sum(count[split] for split in SPLITS)
    alone: list[Scene] = []
    words = sorted({thing.kind for thing in things})
    asked: dict[SceneSplit, list[Asked]] = {}
    for split in SPLITS:
        asked[split] = _scene_questions(scenes[split], things, sizes.most)
        if split in copies:
            made = singles(SEED, split, first + len(alone), copies[split], things, keys[split], sizes.scene)
            alone += made
            shown = [
                Single(f"{each.placed[0].thing.name}-{each.design}-{each.number:06d}", each.file, each.placed[0].thing)
                for each in made
            ]
            asked[split] += rows.free_names("name", shown) + rows.kinds("group", shown, words)
    first += len(alone)
    for split in (each for each in FURTHER if each in count):
        own[split] = list(things)
        scenes[split] = lay_out(SEED, split, first, count[split], things, dict.fromkeys(usual, names), sizes)
        asked[split] = rows.captions(SEED, scenes[split])
        first += count[split]
    return Contents(own, scenes, asked, plain=True), alone


def _scenes(
    things: Mapping[SceneSplit, Sequence[Thing]],
    designs: Mapping[SceneSplit, Mapping[str, Sequence[str]]],
    sizes: Sizes,
    count: Mapping[SceneSplit, int],
) -> dict[SceneSplit, list[Scene]]:
    """Scenes of every split, numbered one split after another."""
    made: dict[SceneSplit, list[Scene]] = {}
    for split in SPLITS:
        first = sum(len(scenes) for scenes in made.values())
        made[split] = lay_out(SEED, split, first, count[split], things[split], designs[split], sizes)
    return made


def _scene_questions(scenes: Sequence[Scene], things: Sequence[Thing], most: int) -> list[Asked]:
    return [*rows.captions(SEED, scenes), *rows.presence(SEED, scenes, things), *rows.counts(scenes, most)]
