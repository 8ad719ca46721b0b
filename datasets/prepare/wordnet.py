"""WordNet's files as published: words with their meanings, classes and synonyms, and irregular plurals.

Format: https://wordnet.princeton.edu/documentation/wndb5wn and senseidx5wn.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from vision_suite.errors import DataError

# Lexicographer files of nouns, in words that need no explanation.
KINDS = {
    5: "animal",
    6: "object",
    8: "body part",
    12: "feeling",
    13: "food",
    15: "place",
    18: "person",
    20: "plant",
}
# Names of the lexicographer files of nouns, from the third on.
CLASSES = (
    "Tops", "act", "animal", "artifact", "attribute", "body", "cognition", "communication", "event", "feeling", "food",
    "group", "location", "motive", "object", "person", "phenomenon", "plant", "possession", "process", "quantity",
    "relation", "shape", "state", "substance", "time",
)  # fmt: skip
FIRST_CLASS = 3
NOUN, VERB = "1", "2"
_WORD = re.compile(r"[a-z]{3,12}")
_SYNSET = re.compile(r"^(\d{8}) (\d\d) [nvasr] ([0-9a-f]{2}) ")


@dataclass(frozen=True)
class Noun:
    """The most frequent sense of a noun.

    Attributes:
        word: The word.
        meaning: Definition without examples.
        kind: One of `KINDS`, empty for another.
        uses: How often the sense was tagged in a corpus.
    """

    word: str
    meaning: str
    kind: str
    uses: int


@dataclass(frozen=True)
class _Synset:
    words: tuple[str, ...]
    file: int
    meaning: str


def nouns(sense_index: bytes, data: bytes, least_uses: int) -> list[Noun]:
    """Single words of lower-case letters whose first sense is used at least so often, in alphabetic order.

    Proper names, and words whose meaning names the word itself, are left out.

    Args:
        sense_index: ``index.sense``.
        data: ``data.noun``.
        least_uses: Smallest number of uses of the first sense.

    Raises:
        DataError: A file is malformed.
    """
    wanted = {
        word: (offset, uses)
        for word, (offset, uses) in _first_senses(sense_index, NOUN).items()
        if uses >= least_uses and _WORD.fullmatch(word)
    }
    synsets = _synsets(data, {offset for offset, _ in wanted.values()})
    found = []
    for word, (offset, uses) in sorted(wanted.items()):
        meaning = re.split(r"[;(]", synsets[offset].meaning.strip())[0].strip()
        if meaning and word not in meaning and word in synsets[offset].words:
            found.append(Noun(word, meaning, KINDS.get(synsets[offset].file, ""), uses))
    return found


def synonyms(sense_index: bytes, data: bytes, kind: str, least_uses: int) -> list[tuple[str, str]]:
    """Pairs of words whose first senses are the same, in alphabetic order; no word is in two pairs.

    Words that share their first four letters are no pair.

    Args:
        sense_index: ``index.sense``.
        data: ``data.noun`` or ``data.verb``.
        kind: Number of the kind of word in the index: 1 for nouns, 2 for verbs.
        least_uses: Smallest number of uses of each word's first sense.

    Raises:
        DataError: A file is malformed.
    """
    first = _first_senses(sense_index, kind)
    taken: set[str] = set()
    pairs = []
    for offset, synset in sorted(_synsets(data, None).items()):
        words = [
            word
            for word in sorted(set(synset.words))
            if _WORD.fullmatch(word) and first.get(word, ("", 0))[0] == offset and first[word][1] >= least_uses
        ]
        for one, two in combinations(words, 2):
            if one[:4] != two[:4] and not taken & {one, two}:
                pairs.append((one, two))
                taken |= {one, two}
    return sorted(pairs)


def noun_classes(index: bytes, data: bytes) -> dict[str, str]:
    """Class of the first sense of every noun, words and phrases, in lower case, in alphabetic order.

    Args:
        index: ``index.noun``.
        data: ``data.noun``.

    Raises:
        DataError: A file is malformed.
    """
    classes = {offset: synset.file for offset, synset in _synsets(data, None).items()}
    found = {}
    try:
        for line in index.decode("ascii").splitlines():
            if line.startswith(" "):  # the licence
                continue
            word, kind, _, pointers, *rest = line.split()
            # Behind the pointers stand two counts, then the senses, the most frequent first.
            number = classes[rest[int(pointers) + 2]]
            if kind != "n" or not FIRST_CLASS <= number < FIRST_CLASS + len(CLASSES):
                raise ValueError(f"{word!r} is no noun")
            found[word.replace("_", " ")] = CLASSES[number - FIRST_CLASS]
    except (ValueError, IndexError, KeyError) as error:
        raise DataError(f"WordNet: index.noun is malformed ({error}): fetch the archive again") from None
    return dict(sorted(found.items()))


def irregular_plurals(exceptions: bytes) -> dict[str, tuple[str, ...]]:
    """Singulars of each irregular plural, in the order of the file.

    Args:
        exceptions: ``noun.exc``.

    Raises:
        DataError: The file is malformed.
    """
    found: dict[str, tuple[str, ...]] = {}
    try:
        for line in exceptions.decode("ascii").splitlines():
            plural, *singulars = line.split()
            if not singulars:
                raise ValueError(f"{plural!r} has no singular")
            found[plural.replace("_", " ")] = tuple(word.replace("_", " ") for word in singulars)
    except ValueError as error:
        raise DataError(f"WordNet: noun.exc is malformed ({error}): fetch the archive again") from None
    return found


def _first_senses(index: bytes, kind: str) -> dict[str, tuple[str, int]]:
    """Offset and number of uses of the first sense of each word of a kind (1 noun, 2 verb)."""
    found = {}
    try:
        for line in index.decode("ascii").splitlines():
            key, offset, number, uses = line.split(" ")
            word, rest = key.split("%")
            if number == "1" and rest[0] == kind:
                found[word] = (offset, int(uses))
    except ValueError as error:
        raise DataError(f"WordNet: index.sense is malformed ({error}): fetch the archive again") from None
    return found


def _synsets(data: bytes, wanted: set[str] | None) -> Mapping[str, _Synset]:
    """The sets of synonyms at these offsets; all of them if None."""
    found = {}
    try:
        for line in data.decode("ascii").splitlines():
            if (start := _SYNSET.match(line)) is None or (wanted is not None and start[1] not in wanted):
                continue
            body, _, meaning = line.partition(" | ")
            cells = body.split(" ")
            count = int(start[3], 16)
            words = tuple(re.sub(r"\(\w+\)$", "", cells[4 + 2 * place]) for place in range(count))
            found[start[1]] = _Synset(words, int(start[2]), meaning)
        if wanted is not None and (missing := sorted(wanted - set(found))):
            raise ValueError(f"no synset {missing[0]}")
    except (ValueError, IndexError) as error:
        raise DataError(f"WordNet: a data file is malformed ({error}): fetch the archive again") from None
    return found
