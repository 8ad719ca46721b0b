"""AMBER: captions against lists of what is shown and what models make up, and yes/no questions (Wang et al., 2023).

Every rule is that of the benchmark's ``inference.py``; its percentages are those of `amber_percentages` and
`question_percentages`, while reports hold exact shares.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from vision_suite.metrics.hallucination.captions import Counts, Finding, caption_counts, ratio, sentences_of
from vision_suite.text.amber import LEAST_SIMILARITY, AmberWords
from vision_suite.text.lexicon import Mention

START = 0.001  # of every denominator, so that an empty one gives 0
EXISTENCE = "discriminative-hallucination"
ATTRIBUTES = {
    "state": "discriminative-attribute-state",
    "number": "discriminative-attribute-number",
    "action": "discriminative-attribute-action",
}


def amber_finding(text: str, objects: Sequence[str], hallucinated: Sequence[str], words: AmberWords) -> Finding:
    """Judge one caption.

    Args:
        text: Caption.
        objects: Words of the annotation for what is shown, repetitions kept.
        hallucinated: Words of the annotation that models are expected to make up.
        words: AMBER's words.

    Raises:
        DataError: The annotation has a word that AMBER's table lacks.

    Example:
        >>> words = AmberWords({"forest": ["tree"], "dog": [], "sky": []}, safe=["sky"])
        >>> finding = amber_finding("Trees below the sky, and a dog.", ["forest"], ["dog"], words)
        >>> finding.named, finding.made_up, finding.covered, finding.expected
        (('tree', 'sky', 'dog'), (False, False, True), (True,), (True,))
    """
    mentions = words.find(text)
    places, sentences = sentences_of(text, mentions)
    return _finding(mentions, objects, hallucinated, words)._replace(
        sentence=places, sentences=sentences, words=len(text.split())
    )


def noun_finding(
    nouns: Iterable[str], objects: Sequence[str], hallucinated: Sequence[str], words: AmberWords
) -> Finding:
    """Judge the lemmas of the nouns of one caption that a tagger found; those outside of the vocabulary do not count.

    Args:
        nouns: Lemmas in the order of mention.
        objects: See `amber_finding`.
        hallucinated: See `amber_finding`.
        words: AMBER's words.

    Example:
        >>> words = AmberWords({"forest": ["tree"], "dog": []})
        >>> noun_finding(["tree", "dog", "unicorn"], ["forest"], ["dog"], words).made_up
        (False, True)
    """
    known = set(words.vocabulary)
    mentions = [Mention(noun, noun, 0, 0, noun) for noun in nouns if noun in known]
    return _finding(mentions, objects, hallucinated, words)


def amber_scores(findings: Iterable[Finding]) -> dict[str, float]:
    """Exact shares over all captions.

    Returns:
        ``amber_chair``, made-up mentions among all mentions; ``amber_cover``, words of annotations that are covered;
        ``amber_hal``, captions with a made-up mention; ``amber_cog``, expected hallucinations that are made.

    Example:
        >>> words = AmberWords({"forest": ["tree"], "dog": []})
        >>> amber_scores([noun_finding(["tree", "dog"], ["forest"], ["dog"], words)])["amber_chair"]
        0.5
    """
    counts = caption_counts(findings)
    return {
        "amber_chair": ratio(counts.made_up, counts.named),
        "amber_cover": ratio(counts.covered, counts.objects),
        "amber_hal": ratio(counts.with_made_up, counts.captions),
        "amber_cog": ratio(counts.expected_named, counts.expected),
    }


def amber_percentages(counts: Counts) -> dict[str, float]:
    """CHAIR, Cover, Hal and Cog in percent with one decimal, as the benchmark prints them.

    Example:
        >>> words = AmberWords({"forest": ["tree"], "dog": []})
        >>> amber_percentages(caption_counts([noun_finding(["tree", "dog"], ["forest"], ["dog"], words)]))
        {'CHAIR': 50.0, 'Cover': 99.9, 'Hal': 100.0, 'Cog': 99.9}
    """
    return {
        "CHAIR": _percent(counts.made_up, counts.named),
        "Cover": _percent(counts.covered, counts.objects),
        "Hal": round(100 - (counts.captions - counts.with_made_up) / (START + counts.captions) * 100, 1),
        "Cog": _percent(counts.expected_named, counts.expected),
    }


class AmberAnswer(NamedTuple):
    """One answered question.

    Attributes:
        type: Kind of question, as AMBER names it; unknown ones count as relations.
        truth: Right answer, ``yes`` or ``no``.
        answer: Given answer, ``yes``, ``no`` or something else, which is wrong.
    """

    type: str
    truth: str
    answer: str


def reference_answer(text: str) -> str:
    """Answer as AMBER reads it: exactly ``Yes`` or ``No``; empty for anything else.

    Example:
        >>> reference_answer("No"), reference_answer("no."), reference_answer("Yes")
        ('no', '', 'yes')
    """
    return text.lower() if text in ("Yes", "No") else ""


def question_percentages(answers: Iterable[AmberAnswer]) -> dict[str, dict[str, float]]:
    """Accuracy, precision, recall and F1 in percent with one decimal by dimension; ``no`` is the positive class.

    Dimensions are ``all``, ``existence``, ``attribute`` with its parts ``state``, ``number`` and ``action``, and
    ``relation``; those without a question are left out.

    Example:
        >>> found = question_percentages([AmberAnswer("relation", "no", "no"), AmberAnswer("relation", "yes", "yes")])
        >>> sorted(found), found["all"]["accuracy"]
        (['all', 'relation'], 100.0)
    """
    given = list(answers)
    return {name: _scores(part, 0.001 if name == "existence" else 0.0001) for name, part in _dimensions(given) if part}


def dimension_of(kind: str) -> str:
    """Dimension of a kind of question: ``existence``, ``state``, ``number``, ``action`` or ``relation``.

    Example:
        >>> dimension_of("discriminative-attribute-state"), dimension_of("anything else")
        ('state', 'relation')
    """
    return {EXISTENCE: "existence", **{value: name for name, value in ATTRIBUTES.items()}}.get(kind, "relation")


def _dimensions(answers: Sequence[AmberAnswer]) -> Iterator[tuple[str, list[AmberAnswer]]]:
    parts = {name: [each for each in answers if dimension_of(each.type) == name] for name in ("existence", *ATTRIBUTES)}
    yield "all", list(answers)
    yield "existence", parts["existence"]
    yield "attribute", [each for each in answers if dimension_of(each.type) in ATTRIBUTES]
    yield from ((name, parts[name]) for name in ATTRIBUTES)
    yield "relation", [each for each in answers if dimension_of(each.type) == "relation"]


def _scores(answers: Sequence[AmberAnswer], epsilon: float) -> dict[str, float]:
    """The four numbers of one dimension; F1 is that of the rounded percentages."""
    hits = sum(each.truth == each.answer == "no" for each in answers)
    precision = _percent(hits, sum(each.answer == "no" for each in answers))
    recall = _percent(hits, sum(each.truth == "no" for each in answers))
    product, total = (precision / 100) * (recall / 100), precision / 100 + recall / 100
    return {
        "accuracy": _percent(sum(each.truth == each.answer for each in answers), len(answers)),
        "precision": precision,
        "recall": recall,
        "f1": round(2 * product / (total + epsilon) * 100, 1),
    }


def _percent(part: int, whole: int) -> float:
    return round(part / (START + whole) * 100, 1)


def _finding(
    mentions: Sequence[Mention], objects: Sequence[str], hallucinated: Sequence[str], words: AmberWords
) -> Finding:
    shown, expected = _Slots(objects, words), _Slots(hallucinated, words)
    made_up = []
    for mention in mentions:
        word, invented = mention.word, False
        if word not in words.safe and not shown.mark(word):
            # An expected word is marked even where a similar word of the picture then excuses it.
            expected.mark(word)
            expected.mark_similar(word)
            invented = not shown.mark_similar(word)
        made_up.append(invented)
    named = tuple(mention.word for mention in mentions)
    none = (0,) * len(named)
    return Finding(named, tuple(made_up), none, tuple(shown.marked), tuple(expected.marked), min(len(named), 1), 0)


class _Slots:
    """Words of an annotation, each marked once it or a related word is named."""

    def __init__(self, objects: Sequence[str], words: AmberWords) -> None:
        # Related words of all objects come before the objects, and the first that fits is marked.
        related = [(word, place) for place, name in enumerate(objects) for word in words.related_to(name)]
        self._places = related + [(name, place) for place, name in enumerate(objects)]
        self._similarity = words.similarity
        self.marked = [False] * len(objects)

    def mark(self, noun: str) -> bool:
        """Mark the place of a word; False if it is not there."""
        return self._mark(next((place for word, place in self._places if word == noun), None))

    def mark_similar(self, noun: str) -> bool:
        """Mark the place of the first word that is similar enough; False if there is none."""
        similarity = self._similarity
        if similarity is None:
            return False
        alike = (place for word, place in self._places if similarity(noun, word) > LEAST_SIMILARITY)
        return self._mark(next(alike, None))

    def _mark(self, place: int | None) -> bool:
        if place is not None:
            self.marked[place] = True
        return place is not None
