"""POPE: questions whether an object is in a picture (Li et al., 2023), with two ways to read an answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal

from vision_suite.errors import DataError
from vision_suite.metrics.hallucination.captions import ratio
from vision_suite.text.sentences import split_sentences

Answer = Literal["yes", "no", "invalid"]
FIRST = re.compile(r"[^\w]*(yes|yeah|yep|no|nope)\b(?!\s+(?:one|doubt)\b)")
REFUSAL = re.compile(
    r"\b(?:sorry|apologi[sz]e|unable to|unclear|uncertain|unsure|not (?:able|sure|clear|possible|certain|enough)"
    r"|(?:can(?:not|'t| not)|could(?:n't| not)) (?:be |\w+ly )?"
    r"(?:answer|tell|say|determine\w*|confirm\w*|assist|help|provide|view)"
    r"|(?:do|does)(?:n't| not) know|hard to (?:tell|say)|as an ai)\b"
)
NEGATION = re.compile(r"\b(?:no|not|none|never|without|cannot|nothing|absent|lacks?)\b|n't\b")
PRESENCE = re.compile(
    r"\bthere(?:'s| is| are)\b|\b(?:it|they)(?:'s| is|'re| are)\b|\bi(?: can)? see\b"
    r"|\bis (?:present|visible|shown|in the|on the)\b|\byes\b"
)


def reference_answer(text: str) -> Answer:
    """Answer as POPE's own script reads it: what does not deny affirms.

    Looks at the text before the first full stop, split at single blanks, for ``No``, ``not`` or ``no``; so ``NO``,
    ``There isn't a dog.`` and an empty text are ``yes``.

    Example:
        >>> reference_answer("No, there is none."), reference_answer("NO"), reference_answer("Yes, not only one")
        ('no', 'yes', 'no')
    """
    words = text.split(".", maxsplit=1)[0].replace(",", "").split(" ")
    return "no" if {"No", "not", "no"} & set(words) else "yes"


def strict_answer(text: str) -> Answer:
    """Answer that a text gives, ``invalid`` where it gives none.

    A first word ``yes`` or ``no`` decides. Else a refusal is invalid, as is a text in which some sentences deny and
    others state that something is there; a text that only denies is ``no``, one that only states so is ``yes``.

    Example:
        >>> [strict_answer(text) for text in ("NO", "There isn't a dog.", "Yes, not only one", "I cannot tell.")]
        ['no', 'no', 'yes', 'invalid']
    """
    written = text.replace("’", "'").strip()  # noqa: RUF001
    plain = written.casefold()
    if found := FIRST.match(plain):
        return "yes" if found[1].startswith("y") else "no"
    if REFUSAL.search(plain):
        return "invalid"
    denied = stated = False
    for sentence in map(str.casefold, split_sentences(written)):
        if NEGATION.search(sentence):
            denied = True
        elif PRESENCE.search(sentence):
            stated = True
    if denied == stated:
        return "invalid"
    return "no" if denied else "yes"


def pope_scores(
    labels: Mapping[int, str], texts: Mapping[int, str], parse: Callable[[str], Answer] = strict_answer
) -> dict[str, float]:
    """Scores of answers, matched by the number of their question; ``yes`` is the positive class.

    An invalid answer is wrong, and neither a ``yes`` nor a ``no``.

    Args:
        labels: Right answer, ``yes`` or ``no``, by question.
        texts: Given answers by question.
        parse: Way to read an answer, `strict_answer` or `reference_answer`.

    Returns:
        ``accuracy``, ``precision``, ``recall``, ``f1``, ``yes`` (share of such answers) and ``invalid`` (share).

    Raises:
        DataError: A question has no answer, or an answer no question.

    Example:
        >>> pope_scores({1: "yes", 2: "no"}, {1: "Yes.", 2: "Yes."})["f1"]
        0.6666666666666666
    """
    if missing := [number for number in labels if number not in texts]:
        raise DataError(f"{len(missing)} of {len(labels)} questions have no answer, the first {missing[0]}: answer all")
    if unknown := [number for number in texts if number not in labels]:
        raise DataError(
            f"{len(unknown)} answers are of no question, the first {unknown[0]}: give answers of this split"
        )
    answers = {number: parse(texts[number]) for number in labels}
    hits = sum(answers[number] == label == "yes" for number, label in labels.items())
    said, true = sum(answer == "yes" for answer in answers.values()), sum(label == "yes" for label in labels.values())
    return {
        "accuracy": ratio(sum(answers[number] == label for number, label in labels.items()), len(labels)),
        "precision": ratio(hits, said),
        "recall": ratio(hits, true),
        "f1": ratio(2 * hits, said + true),
        "yes": ratio(said, len(labels)),
        "invalid": ratio(sum(answer == "invalid" for answer in answers.values()), len(labels)),
    }
