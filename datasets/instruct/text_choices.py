"""Text-choices built: questions about words, names and countries with one right answer among several, from files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vision_suite.datasets.emoji.rules import slug, without_gendered
from vision_suite.datasets.instruct.question_rows import (
    Question,
    choice_turn,
    numbers,
    question_row,
    shuffled,
    stream_of,
    write_lines,
)
from vision_suite.datasets.instruct.text_choices_recipe import COUNTRIES, EMOJI, RECIPE, WORDNET
from vision_suite.datasets.prepare import wordnet
from vision_suite.datasets.prepare.base import Progress
from vision_suite.datasets.prepare.fetch import fetch_members
from vision_suite.errors import DataError

SEED = 0
SIZES = {"val": 80, "test": 500}  # questions of each task
WRONG = 3  # wrong choices where they are not a fixed list
LEAST_USES = {"definitions": 3, "synonyms": 2, "kinds": 1}  # of a word's sense in WordNet's corpus
VAL_SHARE = 15  # percent of the words
ALL_CHOICES = ("kinds",)  # tasks with a fixed list of choices, each of them right equally often
_PLAIN_LABEL = re.compile(r"[a-z]+( [a-z]+){0,3}")
_PLURAL = re.compile(r"(?<![sui])s$")
FLAGS = 9  # group of Emojibase

Emoji = Mapping[str, Any]
Item = tuple[str, str, str, list[str]]
"""Word that decides the split, question, right answer, and the wrong answers or the pool that they are drawn from."""


def build(part: Path, progress: Progress, source: Path | None) -> None:
    """Write ``questions_val.jsonl`` and ``questions_test.jsonl`` into the empty path ``part``.

    Args:
        part: Folder to create.
        progress: Listener.
        source: Archives or a folder of them, to use instead of the registry.

    Raises:
        DataError: An archive cannot be had, or gives too few questions.
    """
    members: dict[str, bytes] = {}
    for done, archive in enumerate(RECIPE.archives):
        progress("fetching", done, len(RECIPE.archives))
        members |= {f"{archive.name}/{name}": data for name, data in fetch_members(archive, source).items()}
    progress("fetching", len(RECIPE.archives), len(RECIPE.archives))
    part.mkdir(parents=True)
    questions = make_questions(members, SIZES)
    for split, rows in questions.items():
        write_lines(part / f"questions_{split}.jsonl", rows)
    RECIPE.seal(
        part,
        {
            "seed": SEED,
            "counts": {split: numbers(rows) for split, rows in questions.items()},
            "chance": {name: 1 / len(rows[0]["turns"][0]["choices"]) for name, rows in _by_task(questions["test"])},
            "split": "words, names and countries of the two splits are different: by sha256 of the word, modulo 100",
        },
    )


def make_questions(members: Mapping[str, bytes], sizes: Mapping[str, int]) -> dict[str, list[Question]]:
    """The questions of every task by split, the tasks one after another.

    Args:
        members: Files of the archives by ``<archive>/<member>``.
        sizes: Questions of each task by split.

    Raises:
        DataError: A task has too few.
    """
    result: dict[str, list[Question]] = {split: [] for split in sizes}
    for task, items in tasks(members).items():
        for split, size in sizes.items():
            own = [item for item in items if _split(item[0]) == split]
            generator = stream_of(SEED, task, split)
            chosen = (_balanced if task in ALL_CHOICES else _sample)(generator, own, size)
            if len(chosen) < size:
                raise DataError(f"{RECIPE.name}: only {len(chosen)} {split} questions of {task} instead of {size}")
            for number, (_, asked, right, wrong) in enumerate(chosen):
                drawn = wrong if task in ALL_CHOICES else _draw(generator, wrong, WRONG)
                turn = choice_turn(task, asked, shuffled(generator, right, drawn), right)
                result[split].append(question_row(f"{task}-{number:04d}", turn))
    return result


def tasks(members: Mapping[str, bytes]) -> dict[str, list[Item]]:
    """Every possible question by task.

    Args:
        members: Files of the archives by ``<archive>/<member>``.
    """

    def table(archive: str, name: str) -> Any:
        return json.loads(members[f"{archive}/package/{name}"])

    words = {name: members[f"{WORDNET.name}/package/dict/{name}"] for name in ("index.sense", "data.noun", "data.verb")}
    nouns = wordnet.nouns(words["index.sense"], words["data.noun"], 1)
    pairs = [
        wordnet.synonyms(words["index.sense"], words[f"data.{name}"], kind, LEAST_USES["synonyms"])
        for name, kind in (("noun", wordnet.NOUN), ("verb", wordnet.VERB))
    ]
    emoji = _plain_emoji(table(EMOJI.name, "en/data.json"))
    spanish = {entry["hexcode"]: str(entry["label"]) for entry in table(EMOJI.name, "es/data.json")}
    return {
        "definitions": _definitions([noun for noun in nouns if noun.uses >= LEAST_USES["definitions"]]),
        "synonyms": [item for kind in pairs for item in _synonyms(kind)],
        "kinds": _kinds([noun for noun in nouns if noun.uses >= LEAST_USES["kinds"]]),
        "emoji-keywords": _keywords(emoji),
        "spanish": _spanish(emoji, spanish),
        "countries": _countries(
            table(COUNTRIES.name, "countries.min.json"), table(COUNTRIES.name, "continents.min.json")
        ),
    }


def _definitions(nouns: Sequence[wordnet.Noun]) -> list[Item]:
    usable = [noun for noun in nouns if 15 <= len(noun.meaning) <= 70]
    pool = [noun.word for noun in usable]
    return [
        (noun.word, f'Which word means "{noun.meaning}"?', noun.word, _others(pool, {noun.word})) for noun in usable
    ]


def _synonyms(pairs: Sequence[tuple[str, str]]) -> list[Item]:
    pool = [two for _, two in pairs]
    return [(one, f'Which word means the same as "{one}"?', two, _others(pool, {one, two})) for one, two in pairs]


def _kinds(nouns: Sequence[wordnet.Noun]) -> list[Item]:
    """Choices are sentences, for a model that chats answers in sentences; words in the plural are left out."""
    items = []
    for noun in nouns:
        if noun.kind and not _PLURAL.search(noun.word):
            named = f"{_article(noun.word)} {noun.word}"
            answers = {kind: f"{named.capitalize()} is {_article(kind)} {kind}" for kind in wordnet.KINDS.values()}
            right = answers.pop(noun.kind)
            items.append((noun.word, f"What kind of thing is {named}?", right, list(answers.values())))
    return items


def _plain_emoji(entries: Iterable[Emoji]) -> list[Emoji]:
    """Emoji whose label is a few lower-case words, without those of one gender, in the order of labels."""
    usable = [
        entry for entry in entries if entry.get("group", FLAGS) != FLAGS and _PLAIN_LABEL.fullmatch(entry["label"])
    ]
    kept = set(without_gendered(slug(entry["label"]) for entry in usable))
    return sorted((entry for entry in usable if slug(entry["label"]) in kept), key=lambda entry: str(entry["label"]))


def _keywords(emoji: Sequence[Emoji]) -> list[Item]:
    """Three keywords that hold no word of the label; wrong labels share no keyword with it."""
    items = []
    for entry in emoji:
        label, tags = str(entry["label"]), {str(tag) for tag in entry.get("tags", ())}
        usable = sorted(tag for tag in tags if not set(tag.split()) & set(label.split()) and tag not in label)
        if len(usable) >= 3:
            generator = stream_of(SEED, "keywords", label)
            asked = f"Which of these goes with {', '.join(_draw(generator, usable, 3))}?"
            wrong = [other["label"] for other in emoji if not tags & {str(tag) for tag in other.get("tags", ())}]
            items.append((label, asked, label, _others(wrong, {label})))
    return items


def _spanish(emoji: Sequence[Emoji], spanish: Mapping[str, str]) -> list[Item]:
    pool = [str(entry["label"]) for entry in emoji]
    return [
        (label, f'What does the Spanish "{spanish[entry["hexcode"]]}" mean?', label, _others(pool, {label}))
        for entry in emoji
        for label in [str(entry["label"])]
        if spanish.get(entry["hexcode"], label).casefold() != label.casefold()
    ]


def _countries(countries: Mapping[str, Any], continents: Mapping[str, str]) -> list[Item]:
    """Capital, country of a capital, and continent; all questions on a country are in one split."""
    names = {code: str(country["name"]) for code, country in sorted(countries.items())}
    capitals = {code: str(countries[code]["capital"]) for code in names if countries[code].get("capital")}
    once = {code for code, capital in capitals.items() if list(capitals.values()).count(capital) == 1}
    lands = [land for code in names if (land := continents[countries[code]["continent"]]) != "Antarctica"]
    items: list[Item] = []
    for code, name in names.items():
        capital = capitals.get(code, "")
        if code in once and not set(slug(capital).split("-")) & set(slug(name).split("-")):
            wrong = _others([capitals[other] for other in names if other in once], {capital})
            items.append((name, f"What is the capital of {name}?", capital, wrong))
            wrong = _others([names[other] for other in names if other in once], {name})
            items.append((name, f"{capital} is the capital of which country?", name, wrong))
        land = continents[countries[code]["continent"]]
        if land in lands and land.split()[-1] not in name:
            items.append((name, f"On which continent is {name}?", land, _others(lands, {land})))
    return items


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _others(pool: Iterable[str], taken: set[str]) -> list[str]:
    """The texts of a pool but for these, in order."""
    return [text for text in pool if text not in taken]


def _sample(generator: np.random.Generator, items: Sequence[Item], size: int) -> list[Item]:
    """So many items in random order, fewer if there are no more."""
    return [items[int(place)] for place in generator.permutation(len(items))[:size]]


def _balanced(generator: np.random.Generator, items: Sequence[Item], size: int) -> list[Item]:
    """So many items in random order, every kind of right answer equally often, give or take one; fewer if one is rare.

    Else a model that always gives the most frequent answer would look as if it knew something.
    """
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item[2].rsplit(" ", maxsplit=1)[-1], []).append(item)
    rounds = -(-size // max(1, len(groups)))
    drawn = [_sample(generator, groups[kind], rounds) for kind in sorted(groups)]
    chosen = [group[place] for place in range(min(map(len, drawn), default=0)) for group in drawn][:size]
    return _sample(generator, chosen, size)


def _draw(generator: np.random.Generator, pool: Sequence[str], size: int) -> list[str]:
    """Different texts of a pool; one that stands in it several times is drawn more often."""
    return list(dict.fromkeys(pool[int(place)] for place in generator.permutation(len(pool))))[:size]


def _split(word: str) -> str:
    return "val" if int(hashlib.sha256(word.encode()).hexdigest(), 16) % 100 < VAL_SHARE else "test"


def _by_task(rows: Sequence[Question]) -> list[tuple[str, list[Question]]]:
    found: dict[str, list[Question]] = {}
    for row in rows:
        found.setdefault(row["turns"][0]["source"], []).append(row)
    return list(found.items())
