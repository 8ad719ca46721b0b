"""Names of the objects in a sentence: by a vocabulary alone, or by a tagger's nouns and the vocabulary."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from vision_suite.errors import check_choice
from vision_suite.mining.step import Extractor
from vision_suite.prepared import find_folder
from vision_suite.text.lexicon import Mention, Words
from vision_suite.text.nouns import NounTable
from vision_suite.text.sentences import split_sentences
from vision_suite.text.tagger import Noun, Pronoun, Tagger, missing_package
from vision_suite.text.vocabularies import load_vocabulary

logger = logging.getLogger(__name__)
Kind = Literal["auto", "vocabulary", "nouns"]
# Nouns that WordNet takes for things or groups of things, though a caption names none by them: amounts, parts, ``in
# addition``, and the picture itself.
NO_THINGS = frozenset(
    "variety group couple row number lot pair array mix side front addition picture image photo photograph".split()
)


class VocabularyExtractor:
    """Objects by the words of a vocabulary: plurals and synonyms, the longest phrase first.

    Args:
        words: Vocabulary, such as COCO's.

    Attributes:
        rule: Rule by which it finds them, in a few words.

    Example:
        >>> VocabularyExtractor(load_vocabulary("coco")).names("Two puppies lie under a table.")
        ['dog', 'dining table']
    """

    def __init__(self, words: Words) -> None:
        self.rule = words.rule
        self._words = words

    def names(self, sentence: str, context: str = "") -> list[str]:
        """Names in the order of mention, with repetitions; pronouns are left out.

        Args:
            sentence: Sentence.
            context: Text before it, which is not read.
        """
        return [mention.name for mention in self._words.find(sentence)]


class NounExtractor:
    """Objects by a tagger's nouns, joined with the words of a vocabulary (SENTINEL, section 3.2 and App. B.1).

    A noun counts with the compound modifiers before it. It is left out where it tells what something else is, and
    where WordNet's first sense is no thing. Words of the vocabulary count everywhere, for that sense leaves out some of
    them, such as ``book``. ``it`` and ``they`` stand for the last subject of the sentence before, if their number fits.
    The paper takes a scene graph made by a language model and a model of coreference in place of these rules.

    Args:
        words: Vocabulary, such as COCO's.
        tagger: Tagger.
        nouns: Table of nouns.

    Attributes:
        rule: Rule by which it finds them, in a few words.
    """

    def __init__(self, words: Words, tagger: Tagger, nouns: NounTable) -> None:
        self.rule = f"nouns that {tagger.name} finds and WordNet takes for things; {words.rule}"
        self._words, self._tagger, self._nouns = words, tagger, nouns
        self._subject: tuple[str, tuple[Noun, ...], tuple[str, ...]] = ("", (), ())

    def names(self, sentence: str, context: str = "") -> list[str]:
        """Names in the order of mention, with repetitions.

        Args:
            sentence: Sentence.
            context: Text before it; its last sentence tells what pronouns stand for.
        """
        mentions = self._words.find(sentence)
        nouns, pronouns = self._tagger.read(sentence)
        found = [(mention.start, mention.name) for mention in mentions]
        for noun in nouns:
            if not noun.complement and not _covering(noun, mentions) and (name := self._name(noun)):
                found.append((noun.start, name))
        for pronoun in pronouns:
            # Behind a subject of the same sentence it stands for something that is named already.
            if not any(noun.subject and noun.start < pronoun.start for noun in nouns):
                found += [(pronoun.start, name) for name in self._referents(pronoun, context)]
        return [name for _, name in sorted(found, key=lambda entry: entry[0])]

    def _name(self, noun: Noun) -> str | None:
        """Name of a noun that is in no mention of the vocabulary; None if it is no thing."""
        phrase = " ".join(noun.words)
        if noun.words[-1] in NO_THINGS or not self._nouns.concrete(phrase):
            return None
        return phrase

    def _referents(self, pronoun: Pronoun, context: str) -> tuple[str, ...]:
        """Names of the last subject of the sentence before; none if its number does not fit."""
        if self._subject[0] != context:
            self._subject = (context, *self._last_subject(context))
        _, subject, names = self._subject
        several = len(subject) > 1 or any(noun.plural for noun in subject)
        return names if subject and several == pronoun.plural else ()

    def _last_subject(self, context: str) -> tuple[tuple[Noun, ...], tuple[str, ...]]:
        """Nouns of the last subject of a text's last sentence, and their names."""
        sentences = split_sentences(context)
        if not sentences:
            return (), ()
        nouns = [noun for noun in self._tagger.read(sentences[-1])[0] if noun.subject]
        subject = tuple(noun for noun in nouns if noun.group == nouns[-1].group)
        mentions = self._words.find(sentences[-1])
        return subject, tuple(self._names_of(subject, mentions))

    def _names_of(self, nouns: tuple[Noun, ...], mentions: list[Mention]) -> Iterator[str]:
        for noun in nouns:
            mention = _covering(noun, mentions)
            name = mention.name if mention else self._name(noun)
            if name:
                yield name


def _covering(noun: Noun, mentions: list[Mention]) -> Mention | None:
    """Mention of the vocabulary that the last word of a noun is in."""
    return next((mention for mention in mentions if mention.start < noun.end <= mention.end), None)


def load_extractor(
    kind: Kind = "auto",
    *,
    vocabulary: str | Path = "coco",
    tagger: str | Path = "tagger",
    nouns: str | Path = "wordnet",
) -> tuple[Extractor, dict[str, str]]:
    """Extractor of objects by its settings, and what its names depend on, as plain values.

    Args:
        kind: ``vocabulary``, ``nouns``, or ``auto``: nouns where spaCy is installed and both sets are prepared, else
            the vocabulary alone, which is logged.
        vocabulary: Words of things, see `vision_suite.text.vocabularies.load_vocabulary`.
        tagger: Prepared set or folder of the tagger.
        nouns: Prepared set or folder of the table of nouns.

    Raises:
        ConfigError: There is no such kind.
        DataError: A file is missing or malformed.
        MissingDependencyError: ``nouns`` without spaCy or inflect.
    """
    check_choice("objects.kind", kind, get_args(Kind))
    words = load_vocabulary(vocabulary)
    if kind == "auto":
        package = missing_package()
        missing = [f"package {package}"] if package else []
        missing += [f"set {str(name)!r}" for name in (tagger, nouns) if find_folder(name) is None]
        kind = "vocabulary" if missing else "nouns"
        if missing:
            logger.warning("objects are found by the vocabulary alone: there is no %s", missing[0])
    if kind == "vocabulary":
        alone = VocabularyExtractor(words)
        return alone, {"rule": alone.rule, "words": _checksum(words.groups)}
    reader, table = Tagger.load(tagger), NounTable.load(nouns)
    joined = NounExtractor(words, reader, table)
    return joined, {
        "rule": joined.rule,
        "words": _checksum(words.groups),
        "nouns": _checksum([sorted(table.classes.items()), sorted(table.plurals.items())]),
    }


def _checksum(value: object) -> str:
    """Checksum (SHA-256) of a value of lists and texts."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
