"""Nouns of WordNet: the class of a noun's first sense, and WordNet's way back from plurals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vision_suite.errors import DataError
from vision_suite.prepared import find_folder

CLASSES, PLURALS = "nouns.tsv", "plurals.tsv"
COMMAND = "run `vision-suite data prepare wordnet`"
# Classes of nouns that no picture shows (SENTINEL, App. B.1).
ABSTRACT = frozenset(
    "feeling attribute state shape time quantity cognition event communication relation act location".split()
)
# Endings of regular plurals and what stands in their place; all that fit are tried.
ENDINGS = (
    ("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"),
    ("ies", "y"),
)  # fmt: skip


class NounTable:
    """Classes of nouns by their first sense, and irregular plurals.

    Args:
        classes: Class of each noun or phrase, in lower case: a lexicographer file of WordNet without ``noun.``.
        plurals: Singulars of each irregular plural.

    Example:
        >>> table = NounTable({"vase": "artifact", "vas": "body", "joy": "feeling"}, {"men": ("man",)})
        >>> table.kind("Vase"), table.kind("vsae"), table.concrete("a joy"), table.lemma("vases")
        ('artifact', None, False, 'vas')
    """

    def __init__(self, classes: Mapping[str, str], plurals: Mapping[str, Sequence[str]]) -> None:
        self.classes, self.plurals = classes, plurals

    @classmethod
    def load(cls, source: str | Path = "wordnet") -> NounTable:
        """Read the prepared set.

        Args:
            source: Name of the prepared set, or a folder with its two files.

        Raises:
            DataError: The folder or a file is missing or malformed.
        """
        folder = find_folder(source)
        if folder is None:
            raise DataError(f"the noun table {str(source)!r} is no folder and no prepared set: {COMMAND}")
        classes = dict(_pairs(folder / CLASSES))
        return cls(classes, {plural: tuple(words.split(",")) for plural, words in _pairs(folder / PLURALS)})

    def kind(self, noun: str) -> str | None:
        """Class of the first sense of a noun or phrase in the singular; None if WordNet has no such noun."""
        return self.classes.get(" ".join(noun.casefold().split()))

    def concrete(self, phrase: str) -> bool:
        """Tell whether a noun or phrase names a thing: one of its words, or their lemmas, has no class of `ABSTRACT`.

        The first sense decides, so ``book`` (a communication) is no thing; a list of known things goes first.

        Source: SENTINEL (Peng et al., 2025), App. B.1.
        """
        kinds = (self.kind(word) or self.kind(self.lemma(word)) for word in phrase.casefold().split())
        return any(kind is not None and kind not in ABSTRACT for kind in kinds)

    def lemma(self, word: str) -> str:
        """The shortest noun that WordNet's rules lead to, the word itself if there is none.

        As NLTK's lemmatiser of WordNet: ``men`` stays, since it is a noun there too, and ``vases`` becomes ``vas``.
        """
        return min(self._lemmas(word), key=len, default=word)

    def _lemmas(self, word: str) -> list[str]:
        """Nouns that a word may be the plural of, itself among them, in the order of the rules."""
        singulars = self.plurals.get(word)
        if singulars is None:
            singulars = [word.removesuffix(ending) + new for ending, new in ENDINGS if word.endswith(ending)]
        return [form for form in (word, *singulars) if form in self.classes]


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    """The two columns of a table."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}): {COMMAND}") from None
    for number, line in enumerate(lines, 1):
        cells = line.split("\t")
        if len(cells) != 2 or not all(cells):
            raise DataError(f"{path}, line {number}: {len(cells)} columns instead of a noun and its class: {COMMAND}")
        yield cells[0], cells[1]
