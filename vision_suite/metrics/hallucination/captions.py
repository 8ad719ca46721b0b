"""Findings on single captions, and their sums, from which every rate is made."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from vision_suite.text.lexicon import Mention
from vision_suite.text.sentences import sentence_ends

NO_OBJECT = re.compile(r"\bthere (?:is|are) no\b", re.IGNORECASE)


class Finding(NamedTuple):
    """One judged caption.

    Attributes:
        named: Objects in the order of mention.
        made_up: Flags of these objects, true where the picture does not show one.
        sentence: Numbers of the sentences that name them, from 0.
        covered: Flags of the objects of the picture, true where the caption names one.
        expected: Flags of the words that AMBER expects models to make up, true where the caption has one.
        sentences: Number of sentences.
        words: Number of words.
    """

    named: tuple[str, ...]
    made_up: tuple[bool, ...]
    sentence: tuple[int, ...]
    covered: tuple[bool, ...]
    expected: tuple[bool, ...]
    sentences: int
    words: int


class Counts(NamedTuple):
    """Sums over captions; sums of parts may be added.

    Attributes:
        captions: Number of captions.
        with_made_up: Captions with at least one object made up.
        with_objects: Captions that name at least one object.
        named: Objects named.
        made_up: Those that their picture does not show.
        covered: Objects of pictures that their caption names.
        objects: Objects of pictures.
        expected_named: Words that AMBER expects models to make up, and that a caption has.
        expected: Words that AMBER expects models to make up.
        sentences: Number of sentences.
        words: Number of words.
    """

    captions: int
    with_made_up: int
    with_objects: int
    named: int
    made_up: int
    covered: int
    objects: int
    expected_named: int
    expected: int
    sentences: int
    words: int


def caption_counts(findings: Iterable[Finding]) -> Counts:
    """Add up judged captions.

    Example:
        >>> finding = Finding(("dog", "cat"), (False, True), (0, 0), (True, False), (), 1, 6)
        >>> counts = caption_counts([finding, finding])
        >>> counts.made_up, counts.named, counts.with_made_up, counts.covered, counts.objects
        (2, 4, 2, 2, 4)
    """
    rows = [
        (
            1,
            any(each.made_up),
            bool(each.named),
            len(each.named),
            sum(each.made_up),
            sum(each.covered),
            len(each.covered),
            sum(each.expected),
            len(each.expected),
            each.sentences,
            each.words,
        )
        for each in findings
    ]
    return Counts(*(sum(column) for column in zip(*rows, strict=True))) if rows else Counts(*[0] * len(Counts._fields))


def sentence_counts(finding: Finding) -> list[tuple[int, int]]:
    """Factual and made-up objects of each sentence of a caption.

    Example:
        >>> sentence_counts(Finding(("dog", "cat"), (False, True), (0, 2), (True,), (), 3, 9))
        [(1, 0), (0, 0), (0, 1)]
    """
    made_up, factual = [0] * finding.sentences, [0] * finding.sentences
    for place, invented in zip(finding.sentence, finding.made_up, strict=True):
        (made_up if invented else factual)[place] += 1
    return list(zip(factual, made_up, strict=True))


def sentences_of(text: str, mentions: Sequence[Mention]) -> tuple[tuple[int, ...], int]:
    """Number of each mention's sentence, from 0, and the number of sentences.

    Sentences are those of `vision_suite.text.sentences.split_sentences`.

    Example:
        >>> from vision_suite.text.lexicon import Lexicon
        >>> text = "A dog runs. A cat and a dog sleep."
        >>> sentences_of(text, Lexicon([["dog"], ["cat"]]).find(text))
        ((0, 1, 1), 2)
    """
    ends = [0]
    for end in (*sentence_ends(text), len(text)):
        if text[ends[-1] : end].strip():
            ends.append(end)
    return tuple(bisect_right(ends, mention.start) - 1 for mention in mentions), len(ends) - 1


def length_without_denials(sentences: Iterable[str]) -> int:
    """Words of a caption without sentences such as "There are no people", as Object HalBench measures length.

    Example:
        >>> length_without_denials(["A dog runs.", "There is no cat."])
        3
    """
    return sum(len(sentence.split()) for sentence in sentences if not NO_OBJECT.search(sentence))


def ratio(part: float, whole: float) -> float:
    """Share of a whole, NaN if it is 0.

    Example:
        >>> ratio(1, 4), ratio(0, 0)
        (0.25, nan)
    """
    return part / whole if whole else float("nan")
