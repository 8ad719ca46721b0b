"""Captions of Emoji-Scenes: every sentence but the first relates a new thing to one that is already named.

So a sentence that names something already in the context exists at every step, which preference pairs of single
sentences need (SENTINEL, C-DPO).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vision_suite.datasets.instruct.question_rows import stream_of
from vision_suite.datasets.instruct.scenes.layout import Placed, Scene
from vision_suite.datasets.instruct.scenes.things import Thing

QUESTION = "Describe the picture."
RELATIONS = ("to the left of", "to the right of", "above", "below")


class Sentence(NamedTuple):
    """A sentence and the things that it names."""

    text: str
    things: tuple[Thing, ...]


def caption(seed: int, scene: Scene) -> list[Sentence]:
    """The sentences of a scene's caption, one for each thing, in the order of its things.

    Args:
        seed: Seed of the whole set.
        scene: The scene.
    """
    generator = stream_of(seed, "caption", str(scene.number))
    sentences = [Sentence(first_sentence(generator, scene.placed[0].thing), (scene.placed[0].thing,))]
    for place in range(1, len(scene.placed)):
        new, known = scene.placed[place], scene.placed[int(generator.integers(place))]
        text = further_sentence(generator, new.thing, known.thing, relation(new, known))
        sentences.append(Sentence(text, (known.thing, new.thing)))
    return sentences


def plain_caption(seed: int, scene: Scene) -> list[Sentence]:
    """The sentences of a scene's caption in one form, as "Next to the cat there is a pizza", without directions.

    Such a caption can be wrong only in the things that it names.

    Args:
        seed: Seed of the whole set.
        scene: The scene.
    """
    generator = stream_of(seed, "plain caption", str(scene.number))
    shown = [placed.thing for placed in scene.placed]
    sentences = [Sentence(_there_is(shown[0]) + ".", (shown[0],))]
    for place in range(1, len(shown)):
        new, known = shown[place], shown[int(generator.integers(place))]
        sentences.append(Sentence(next_to(new, known), (known, new)))
    return sentences


def text_of(sentences: Sequence[Sentence]) -> str:
    """A caption as one text."""
    return " ".join(sentence.text for sentence in sentences)


def first_sentence(generator: np.random.Generator, thing: Thing) -> str:
    """A sentence that names one thing."""
    templates = (f"{_there_is(thing)}.", f"The picture shows {thing.phrase}.")
    return templates[int(generator.integers(len(templates)))]


def further_sentence(generator: np.random.Generator, new: Thing, known: Thing, where: str) -> str:
    """A sentence that relates a new thing to a known one.

    Args:
        generator: Random stream that chooses the form.
        new: New thing.
        known: Thing named before.
        where: One of `RELATIONS`.
    """
    verb = "are" if new.plural else "is"
    templates = (
        f"{_capital(where)} the {known.words} there {verb} {new.phrase}.",
        f"{_capital(new.phrase)} {verb} {where} the {known.words}.",
        f"There {verb} {new.phrase} {where} the {known.words}.",
    )
    return templates[int(generator.integers(len(templates)))]


def next_to(new: Thing, known: Thing) -> str:
    """A sentence that puts a new thing next to a known one."""
    text = _there_is(new)
    return f"Next to the {known.words} {text[0].lower()}{text[1:]}."


def relation(new: Placed, known: Placed) -> str:
    """Place of a thing, seen from another: along the axis on which their centres are further apart."""
    (x, y), (known_x, known_y) = new.centre, known.centre
    if abs(x - known_x) >= abs(y - known_y):
        return RELATIONS[0] if x < known_x else RELATIONS[1]
    return RELATIONS[2] if y < known_y else RELATIONS[3]


def preference_pairs(
    seed: int, scene: Scene, things: Sequence[Thing], *, plain: bool = False
) -> list[dict[str, object]]:
    """Pairs of a true and a made-up sentence after each beginning of the caption, in SENTINEL's form.

    Both relate a thing to one that the context names. The made-up thing is not in the picture; half of the time it is
    of the subgroup of a thing that is.

    Args:
        seed: Seed of the whole set.
        scene: The scene.
        things: Things of its split.
        plain: Whether sentences have the form of `plain_caption`.
    """
    sentences = plain_caption(seed, scene) if plain else caption(seed, scene)
    generator = stream_of(seed, "preference", str(scene.number))
    shown = [placed.thing for placed in scene.placed]
    subgroups = {thing.subgroup for thing in shown}
    absent = [thing for thing in things if thing not in shown]
    alike = [thing for thing in absent if thing.subgroup in subgroups]
    pairs: list[dict[str, object]] = []
    for place in range(1, len(shown)):
        pool = alike if alike and generator.random() < 0.5 else absent
        false = pool[int(generator.integers(len(pool)))]
        known = shown[int(generator.integers(place))]
        where = RELATIONS[int(generator.integers(len(RELATIONS)))]
        pairs.append(
            {
                "image_id": scene.number,
                "image_path": scene.file,
                "question": QUESTION,
                "context": text_of(sentences[:place]),
                "y_win": sentences[place].text,
                "y_lose": next_to(false, known) if plain else further_sentence(generator, false, known, where),
                "nonhallu_objects": [thing.words for thing in shown],
                "context_gen_objects": [thing.words for thing in shown[:place]],
                "context_gen_hallu_objects": [],
                "objects_of_y_win": [thing.words for thing in sentences[place].things],
                "hallu_objects_of_y_lose": [false.words],
                "is_last_sent": place == len(shown) - 1,
                "type": "y+",
            }
        )
    return pairs


def _there_is(thing: Thing) -> str:
    return f"There {'are' if thing.plural else 'is'} {thing.phrase}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
