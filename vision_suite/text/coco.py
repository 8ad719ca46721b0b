"""Words for the 80 classes of COCO, as CHAIR and Object HalBench look for them in captions."""

from __future__ import annotations

from functools import cache
from importlib import resources

from vision_suite.text.lexicon import Lexicon, Mention

SYNONYMS = "coco_synonyms.txt"
# RLHF-V's and RLAIF-V's list: one more word of some classes.
REFINED = {"person": ("brother", "pedestrian"), "dining table": ("coffee table",), "remote": ("remote control",)}
# Phrases that CHAIR reads as one word; the last two hide a word that is no object of COCO there.
DOUBLE_WORDS = (
    "motor bike", "motor cycle", "air plane", "traffic light", "street light", "traffic signal", "stop light",
    "fire hydrant", "stop sign", "parking meter", "suit case", "sports ball", "baseball bat", "baseball glove",
    "tennis racket", "wine glass", "hot dog", "cell phone", "mobile phone", "teddy bear", "hair drier", "potted plant",
    "bow tie", "laptop computer", "stove top oven", "home plate", "train track",
)  # fmt: skip
ANIMALS = ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "animal", "cub")
TOILET, SEAT = "toilet", "seat"


def double_words() -> dict[str, str]:
    """CHAIR's phrases of two words and the word that each is read as.

    A young animal is no person, and neither is the ``passenger`` of a train.

    Example:
        >>> double_words()["baby elephant"], double_words()["home plate"]
        ('elephant', 'home plate')
    """
    found = {phrase: phrase for phrase in DOUBLE_WORDS}
    found |= {f"{age} {animal}": animal for animal in ANIMALS for age in ("baby", "adult")}
    found |= {f"passenger {vehicle}": vehicle for vehicle in ("jet", "train")}
    return found | {"bow tie": "tie", "toilet seat": TOILET, "wine glas": "wine glass"}


@cache
def coco_groups(*, refined: bool = False) -> tuple[tuple[str, ...], ...]:
    """Words for each class, its name first, in COCO's order: 80 classes, 403 words.

    Source: CHAIR (Rohrbach et al., 2018), BSD 2-Clause; the notice stands in the file.

    Args:
        refined: Take the words that RLHF-V and RLAIF-V add for Object HalBench.

    Example:
        >>> coco_groups()[1], len(coco_groups())
        (('bicycle', 'bike', 'unicycle', 'minibike', 'trike'), 80)
    """
    text = (resources.files("vision_suite.text") / SYNONYMS).read_text(encoding="utf-8")
    groups = [tuple(line.split(", ")) for line in text.splitlines() if line and not line.startswith("#")]
    return tuple((*group, *(REFINED.get(group[0], ()) if refined else ())) for group in groups)


def without_seats(mentions: list[Mention]) -> list[Mention]:
    """Mentions of one caption without the seats of its toilet, which are no chairs.

    Example:
        >>> [mention.word for mention in CocoWords().find("A toilet with a seat.")]
        ['toilet']
    """
    toilet = any(mention.word == TOILET for mention in mentions)
    return [mention for mention in mentions if not (toilet and mention.word == SEAT)]


class CocoWords(Lexicon):
    """Objects of COCO in captions, with CHAIR's rules and plurals that are right (CHAIR, utils/chair.py).

    `vision_suite.text.coco_wordnet.WordNetCocoWords` finds what published implementations find.

    Args:
        refined: Take the words that RLHF-V and RLAIF-V add for Object HalBench.

    Example:
        >>> CocoWords().names("Two men sit near a toilet with a seat; a baby elephant eats hot dogs.")
        ['person', 'toilet', 'elephant', 'hot dog']
    """

    def __init__(self, *, refined: bool = False) -> None:
        groups = coco_groups(refined=refined)
        known = {word for group in groups for word in group}
        phrases = {phrase: word if word in known else "" for phrase, word in double_words().items()}
        super().__init__(groups, phrases)
        self.rule = f"CHAIR, {'refined' if refined else 'original'} words of COCO, regular and irregular plurals"

    def find(self, text: str) -> list[Mention]:
        """Mentions in one caption, in their order; a seat does not count where a toilet is named."""
        return without_seats(super().find(text))
