"""Other names of the same thing, chosen by hand among Emojibase's keywords."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from vision_suite.datasets.instruct.scenes.things import Thing

# Most keywords name a use, a part or a mood (bicycle: class, gang, spin); those are no words for the thing.
SYNONYMS = {
    "airplane": (
        "aeroplane",
        "plane",
        "jet",
    ),
    "aerial tramway": (
        "tramway",
        "ropeway",
    ),
    "amphora": ("jug",),
    "articulated lorry": ("lorry",),
    "auto rickshaw": ("rickshaw",),
    "axe": (
        "ax",
        "hatchet",
    ),
    "backpack": (
        "rucksack",
        "bookbag",
        "satchel",
    ),
    "baguette bread": ("baguette",),
    "bear": ("grizzly",),
    "beer mug": ("stein",),
    "bell pepper": ("capsicum",),
    "bicycle": ("bike",),
    "bison": ("wisent",),
    "blueberries": ("blueberry",),
    "bubble tea": ("boba",),
    "burrito": ("wrap",),
    "camel": ("dromedary",),
    "cat": ("kitten",),
    "chess pawn": ("pawn",),
    "clutch bag": ("clutch",),
    "cockroach": ("roach",),
    "couch and lamp": ("couch",),
    "custard": ("pudding",),
    "dog": ("puppy",),
    "donkey": ("burro",),
    "doughnut": ("donut",),
    "ear of corn": ("maize",),
    "eggplant": ("aubergine",),
    "flashlight": ("torch",),
    "floppy disk": ("floppy",),
    "footprints": ("footprint",),
    "french fries": ("fries",),
    "game die": (
        "die",
        "dice",
    ),
    "glasses": ("eyeglasses",),
    "grapes": ("grape",),
    "hamburger": ("burger",),
    "handbag": (
        "purse",
        "bag",
    ),
    "helicopter": ("copter",),
    "hippopotamus": ("hippo",),
    "honeybee": (
        "bee",
        "bumblebee",
    ),
    "hot dog": (
        "hotdog",
        "frankfurter",
    ),
    "kiwi fruit": ("kiwi",),
    "lady beetle": (
        "ladybug",
        "ladybird",
    ),
    "laptop": ("pc",),
    "light bulb": ("bulb",),
    "luggage": ("suitcase",),
    "moose": ("elk",),
    "motor boat": ("motorboat",),
    "mouse trap": ("mousetrap",),
    "mushroom": ("toadstool",),
    "musical keyboard": ("piano",),
    "necktie": ("tie",),
    "saxophone": ("sax",),
}


def synonym_groups(things: Sequence[Thing]) -> list[list[str]]:
    """The words for each thing, its name first, then those of its keywords that `SYNONYMS` lists.

    A keyword of several things stands for none of them.

    Args:
        things: Things of all splits.
    """
    owners = Counter(word for thing in things for word in {thing.words, *thing.tags})
    return [[thing.words, *(word for word in _listed(thing) if owners[word] == 1)] for thing in things]


def _listed(thing: Thing) -> list[str]:
    return [word for word in SYNONYMS.get(thing.words, ()) if word in thing.tags]
