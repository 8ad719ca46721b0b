"""Words of AMBER: the objects that it looks for in captions, and which of them go together."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from vision_suite.errors import DataError
from vision_suite.text.lexicon import Lexicon, Mention

RELATED, SAFE = "relation.json", "safe_words.txt"
LEAST_SIMILARITY = 0.8
Tagger = Callable[[str], Iterable[tuple[str, int, int]]]
"""Nouns of a text in their order: lemma, offset of the first character, offset behind the last."""
Similarity = Callable[[str, str], float]


class AmberWords:
    """Objects that AMBER looks for, with related words (Wang et al., 2023; AMBER's ``inference.py``).

    AMBER itself takes the nouns of NLTK's tagger, brings them to WordNet's lemmas, and counts words as the same whose
    vectors in ``en_core_web_lg`` have a similarity above 0.8. Here both are plugged in; `rule` says what is used.

    Args:
        related: Related words of each object.
        safe: Words that are never counted as made up.
        tagger: Nouns of a text. None takes every word of the vocabulary, whatever its part of speech.
        similarity: Similarity of two words; above `LEAST_SIMILARITY` they count as the same. None compares exactly.

    Attributes:
        related: Related words of each object.
        safe: Words that are never counted as made up.
        similarity: Similarity of two words.
        vocabulary: Every object and related word.
        rule: Rule in a few words, for reports.

    Example:
        >>> words = AmberWords({"person": ["man"], "leave": []}, safe=["light"])
        >>> [mention.word for mention in words.find("Two men rake leaves in the sun.")]
        ['man', 'leave']
    """

    def __init__(
        self,
        related: Mapping[str, Iterable[str]],
        safe: Iterable[str] = (),
        *,
        tagger: Tagger | None = None,
        similarity: Similarity | None = None,
    ) -> None:
        self.related = {word: tuple(others) for word, others in related.items()}
        self.safe = frozenset(safe)
        self.similarity = similarity
        self.vocabulary = tuple(dict.fromkeys(word for pair in self.related.items() for word in (pair[0], *pair[1])))
        self._tagger = tagger
        self._lexicon = Lexicon([word] for word in self.vocabulary)
        nouns = "words of the vocabulary" if tagger is None else "nouns of a tagger"
        self.rule = f"AMBER, {nouns}, {'equal words' if similarity is None else 'similar word vectors'}"

    @classmethod
    def load(
        cls, folder: str | Path, *, tagger: Tagger | None = None, similarity: Similarity | None = None
    ) -> AmberWords:
        """Read AMBER's ``relation.json`` and ``safe_words.txt``.

        Args:
            folder: AMBER's folder ``data``.
            tagger: See `AmberWords`.
            similarity: See `AmberWords`.

        Raises:
            DataError: A file is missing or not as AMBER has it.
        """
        path = Path(folder) / RELATED
        try:
            related = json.loads(path.read_text(encoding="utf-8"))
            path = Path(folder) / SAFE
            safe = path.read_text(encoding="utf-8").split()
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{path} cannot be read ({error}): give AMBER's folder data") from None
        if not isinstance(related, dict) or not all(
            isinstance(others, list) and all(isinstance(word, str) and word for word in (name, *others))
            for name, others in related.items()
        ):
            raise DataError(f"{Path(folder) / RELATED} is no table of words: give AMBER's folder data")
        return cls(related, safe, tagger=tagger, similarity=similarity)

    def find(self, text: str) -> list[Mention]:
        """Objects and related words in a text, in their order, as often as they are named."""
        if self._tagger is None:
            return self._lexicon.find(text)
        known = set(self.vocabulary)
        return [
            Mention(lemma, text[start:end], start, end, lemma)
            for lemma, start, end in self._tagger(text)
            if lemma in known
        ]

    def related_to(self, word: str) -> tuple[str, ...]:
        """Related words of an object of an annotation.

        Raises:
            DataError: AMBER has no such object.
        """
        if word not in self.related:
            raise DataError(f"AMBER's {RELATED} has no object {word!r}: use it with annotations of the same release")
        return self.related[word]
