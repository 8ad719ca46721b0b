"""Contents of Emoji-Scenes: the things by split, the words for them, and which designs draw them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vision_suite.datasets.emoji.rules import slug

SceneSplit = Literal[
    "train", "val", "test", "adversarial",
    "mining", "mining_prior", "val_adversarial", "familiar", "familiar_adversarial",
]  # fmt: skip
SPLITS: tuple[SceneSplit, ...] = ("train", "val", "test", "adversarial")
# Further scenes of the closed variants, of the usual designs: to find a model's own errors on, and to measure them.
FURTHER: tuple[SceneSplit, ...] = ("mining", "mining_prior", "val_adversarial", "familiar", "familiar_adversarial")

# One word for each of Emojibase's groups; components and flags are none.
GROUPS = {0: "face", 1: "person", 3: "animal", 4: "food", 5: "place", 6: "sport", 7: "object", 8: "symbol"}
# The closed variant: names of one word that five designs draw, by the word for their kind.
CLOSED = {
    "animal": ("cat", "dog", "elephant", "pig", "tiger"),
    "bird": ("duck", "eagle", "owl", "penguin", "rooster"),
    "fruit": ("banana", "lemon", "pear", "pineapple", "strawberry"),
    "meal": ("burrito", "croissant", "hamburger", "pizza", "taco"),
    "plant": ("cactus", "mushroom", "rose", "sunflower", "tulip"),
    "vehicle": ("airplane", "bicycle", "bus", "helicopter", "tractor"),
    "instrument": ("drum", "guitar", "saxophone", "trumpet", "violin"),
    "clothing": ("crown", "dress", "handbag", "kimono", "necktie"),
}
_VOWEL = re.compile(r"(?!uni|us|eu|one|ut)[aeiou]")
_PREPOSITION = re.compile(r"\b (?:with|without|of|in|on|at|from|for|to|behind|over) \b")
_ONE = re.compile(r"(ss|us|is|lens|gas|compass)$")  # endings of a single thing with an s


@dataclass(frozen=True)
class Thing:
    """An emoji.

    Attributes:
        name: Its name in the designs.
        kind: Word for its kind, empty if there is none (flags).
        subgroup: Its subgroup: its neighbours are often seen with it.
        tags: Keywords.
    """

    name: str
    kind: str
    subgroup: str
    tags: tuple[str, ...]

    @property
    def words(self) -> str:
        """Its name in words: lower case, no punctuation."""
        return self.name.replace("-", " ")

    @property
    def plural(self) -> bool:
        """True for names such as scissors and grapes, by the ending of the word before any preposition."""
        head = _PREPOSITION.split(self.words)[0].split()[-1]
        return head.endswith("s") and not _ONE.search(head)

    @property
    def phrase(self) -> str:
        """Its name with the indefinite article, or without one in the plural."""
        return self.words if self.plural else f"{'an' if _VOWEL.match(self.words) else 'a'} {self.words}"


def things_of(names: Iterable[str], labels: Sequence[Mapping[str, Any]], subgroups: Mapping[str, str]) -> list[Thing]:
    """The things of these names, in order of the names.

    Args:
        names: Names in the designs.
        labels: Emojibase's table of emoji.
        subgroups: Subgroup of each name that has one.
    """
    entries = {slug(str(entry["label"])): entry for entry in labels}
    found = []
    for name in sorted(names):
        entry = entries.get(name, {})
        kind = GROUPS.get(entry.get("group", -1), "")
        tags = tuple(sorted(str(tag).lower() for tag in entry.get("tags", ())))
        found.append(Thing(name, kind, subgroups.get(name, "other"), tags))
    return found


def closed_things(closed: Mapping[str, Sequence[str]], labels: Sequence[Mapping[str, Any]]) -> list[Thing]:
    """The things of the closed variant, in order of the names; the kind is the subgroup.

    Args:
        closed: Names by the word for their kind.
        labels: Emojibase's table of emoji.
    """
    kinds = {name: kind for kind, names in closed.items() for name in names}
    return [Thing(t.name, kinds[t.name], kinds[t.name], t.tags) for t in things_of(kinds, labels, {})]
