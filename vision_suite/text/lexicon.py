"""Names of things in a text: synonyms, plurals, phrases, the longest match first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from vision_suite.errors import ConfigError

# A word, with an apostrophe inside, without a possessive 's.
WORD = re.compile(r"[^\W_]+(?:['’](?!s\b)[^\W_]+)*")  # noqa: RUF001
# What may stand between the words of a phrase.
JOINT = re.compile(r"[\s-]+")
IRREGULAR = {
    "man": "men", "woman": "women", "child": "children", "person": "people", "foot": "feet", "tooth": "teeth",
    "goose": "geese", "mouse": "mice", "louse": "lice", "ox": "oxen", "die": "dice", "cactus": "cacti",
    "octopus": "octopi", "fungus": "fungi", "index": "indices", "matrix": "matrices", "axis": "axes", "quiz": "quizzes",
}  # fmt: skip
COMPOUNDED = ("man", "woman", "child", "mouse", "goose", "foot")  # as in snowman, grandchild
ALSO_REGULAR = {"person": "s", "octopus": "es", "cactus": "es"}
UNCHANGED = frozenset(
    "sheep deer fish moose bison aircraft watercraft spacecraft scissors binoculars glasses pants shorts series "
    "species people police cattle salmon trout shrimp squid offspring".split()
)
TO_VES = tuple("knife wife life leaf loaf calf half wolf thief scarf elf hoof wharf sheaf".split())  # and compounds


class Mention(NamedTuple):
    """A thing that a text names.

    Attributes:
        name: First word of its group.
        text: Words as written.
        start: Offset of its first character.
        end: Offset behind its last character.
        word: Word of the lexicon that it is, in the singular; for a phrase the word that it stands for.
    """

    name: str
    text: str
    start: int
    end: int
    word: str


class Words(Protocol):
    """A vocabulary that finds its words in texts, such as a `Lexicon`.

    Attributes:
        rule: Rule by which it finds them, in a few words, for reports.
    """

    rule: str

    def find(self, text: str) -> list[Mention]:
        """Mentions in a text, in their order."""


class Lexicon:
    """Words for things, in groups of synonyms; finds them in texts in the singular and the plural.

    A word of the lexicon stands for itself even where it could be another one's plural, so no word is damaged as a
    singulariser would (``bus``, ``scissors``). The longest phrase at a place wins: a ``hot dog`` is no dog.

    Args:
        groups: Synonyms, the first of each group is its name. Words may be phrases; upper and lower case are the same.
        phrases: Further phrases and the word of the lexicon they stand for, such as ``baby elephant: elephant``; an
            empty text for a phrase that hides its words: ``home plate`` is no plate.

    Raises:
        ConfigError: A word is in two groups, a group is empty, or a phrase stands for an unknown word.

    Example:
        >>> lexicon = Lexicon([["person", "man"], ["dog", "puppy"], ["hot dog"]])
        >>> lexicon.names("Two men feed the puppies hot-dogs.")
        ['person', 'dog', 'hot dog']
    """

    def __init__(self, groups: Iterable[Sequence[str]], phrases: Mapping[str, str] | None = None) -> None:
        self.rule = "longest phrase of a lexicon, in the singular or the plural"
        self.groups = [tuple(group) for group in groups]
        self._names: dict[tuple[str, ...], str] = {}
        self._singulars: dict[tuple[str, ...], str] = {}
        for group in self.groups:
            if not group or not all(_words(word) for word in group):
                raise ConfigError(f"lexicon: the group {list(group)} has an empty word: give words, the name first")
            for word in group:
                other = self._names.setdefault(_words(word), group[0])
                self._singulars.setdefault(_words(word), word)
                if other != group[0]:
                    raise ConfigError(
                        f"lexicon: {word!r} is in the groups {other!r} and {group[0]!r}: keep one of them"
                    )
        known = dict(self._names)
        for phrase, word in (phrases or {}).items():
            if not _words(phrase) or (word and _words(word) not in known):
                raise ConfigError(f"lexicon: the phrase {phrase!r} stands for {word!r}: give words that are in a group")
            self._names[_words(phrase)] = known[_words(word)] if word else ""
            self._singulars[_words(phrase)] = word
        for words, name in list(self._names.items()):
            for last in plurals(words[-1]):
                if self._names.setdefault((*words[:-1], last), name) == name:
                    self._singulars.setdefault((*words[:-1], last), self._singulars[words])
        self._longest = max((len(words) for words in self._names), default=0)

    def name(self, word: str) -> str | None:
        """Name of a word or phrase in the singular or the plural, None if it is not in the lexicon."""
        return self._names.get(_words(word)) or None

    def names(self, text: str) -> list[str]:
        """Names of the things in a text, in their order, each as often as it is mentioned."""
        return [mention.name for mention in self.find(text)]

    def find(self, text: str) -> list[Mention]:
        """Mentions in a text, in their order; they never overlap."""
        words = list(WORD.finditer(text))
        found: list[Mention] = []
        place = 0
        while place < len(words):
            size = self._reach(text, words, place)
            while size and _folded(words[place : place + size]) not in self._names:
                size -= 1
            if size:
                start, end = words[place].start(), words[place + size - 1].end()
                key = _folded(words[place : place + size])
                if self._names[key]:
                    found.append(Mention(self._names[key], text[start:end], start, end, self._singulars[key]))
            place += max(size, 1)
        return found

    def _reach(self, text: str, words: Sequence[re.Match[str]], place: int) -> int:
        """Number of words from a place that nothing but blanks and hyphens separates."""
        size = 1
        while size < self._longest and place + size < len(words):
            if not JOINT.fullmatch(text, words[place + size - 1].end(), words[place + size].start()):
                break
            size += 1
        return size


def plurals(word: str) -> list[str]:
    """Plurals of an English noun; several where usage differs.

    Example:
        >>> plurals("bus"), plurals("snowman"), plurals("scarf")
        (['buses'], ['snowmen'], ['scarves', 'scarfs'])
    """
    if word in UNCHANGED:
        return [word]
    for one, many in IRREGULAR.items():
        if word == one or (one in COMPOUNDED and _compound(word, one)):
            regular = [f"{word}{ending}" for name, ending in ALSO_REGULAR.items() if name == word]
            return [word[: len(word) - len(one)] + many, *regular]
    if word.endswith(TO_VES):
        stem = word[:-2] if word.endswith("fe") else word[:-1]
        return [f"{stem}ves", f"{word}s"]
    if re.search(r"(?:s|x|z|ch|sh)$", word):
        return [f"{word}es"]
    if re.search(r"[^aeiou]y$", word):
        return [f"{word[:-1]}ies"]
    if re.search(r"[^aeiou]o$", word):
        return [f"{word}es", f"{word}s"]
    return [f"{word}s"]


def _compound(word: str, last: str) -> bool:
    """Tell whether a word is a compound: ``human`` and ``german`` are not of ``man``."""
    return (
        word.endswith(last)
        and len(word) >= len(last) + 3
        and word not in ("human", "german", "roman", "shaman", "mongoose")
    )


def _folded(words: Sequence[re.Match[str]]) -> tuple[str, ...]:
    return tuple(word[0].casefold().replace("’", "'") for word in words)  # noqa: RUF001


def _words(text: str) -> tuple[str, ...]:
    """Words of an entry, folded as those of texts are."""
    return _folded(list(WORD.finditer(text)))
