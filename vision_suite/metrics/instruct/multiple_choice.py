"""Multiple choice: the likeliest choice, and the choice that a written answer names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from vision_suite.text.choices import letters_of

NO_CHOICE = -1
WRITTEN_TOKENS = 32  # most tokens of an answer that is parsed
LOGLIK = "loglik: the choice of the highest log-probability, equal ones by letter"
GENERATE = f"generate: greedy, at most {WRITTEN_TOKENS} tokens; the first valid letter, else the first choice's text"
_LETTER = re.compile(r"\b([A-Z])\b")
_SIGNS = re.compile(r"\W+")


class Parsed(NamedTuple):
    """Choice that a written answer names.

    Attributes:
        choice: Index of the choice, -1 if it names none.
        by: Part that told: a letter, the text of a choice, or nothing.
    """

    choice: int
    by: Literal["letter", "text", "nothing"]


def likeliest(scores: Sequence[float]) -> int:
    """The choice with the highest score, the first of equal ones; -1 if a score is not a number.

    Args:
        scores: Log-probability of each choice; minus infinity is allowed.

    Example:
        >>> likeliest([-2.0, -1.0, -1.0]), likeliest([-2.0, float("nan")])
        (1, -1)
    """
    values = np.asarray(scores, dtype=np.float64)
    if not len(values) or np.isnan(values).any() or np.isposinf(values).any():
        return NO_CHOICE
    return int(values.argmax())


def parsed(text: str, choices: Sequence[str], *, lettered: bool = True) -> Parsed:
    """The choice that a written answer names.

    It is the first capital letter that stands alone and is a choice's, or a small one if the answer is nothing else;
    else the choice whose text occurs first, in whole words and whatever case, of those at one place the longest.

    Args:
        text: Written answer.
        choices: Texts of the choices.
        lettered: The question lists its choices by letters; else only their texts are looked for, since the article
            "A" is no choice.

    Example:
        >>> parsed("The answer is (B).", ["cat", "dog"])
        Parsed(choice=1, by='letter')
        >>> parsed("it shows a Dog", ["cat", "dog"])
        Parsed(choice=1, by='text')
        >>> parsed("Cats", ["cat", "dog"])
        Parsed(choice=-1, by='nothing')
    """
    valid = letters_of(len(choices))
    for match in _LETTER.finditer(text) if lettered else ():
        if match[1] in valid:
            return Parsed(valid.index(match[1]), "letter")
    bare = _SIGNS.sub("", text).upper()  # of a model whose vocabulary has small letters only
    if lettered and len(bare) == 1 and bare in valid:
        return Parsed(valid.index(bare), "letter")
    found: list[tuple[int, int, int]] = []
    for index, choice in enumerate(choices):
        if choice.strip():
            words = re.escape(choice.strip().casefold())
            place = re.search(rf"(?<!\w){words}(?!\w)", text.casefold())
            found += [(place.start(), -len(words), index)] if place else []
    return Parsed(min(found)[2], "text") if found else Parsed(NO_CHOICE, "nothing")
