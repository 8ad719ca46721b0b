"""Written answers against references: names by exact match, captions by their words."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

# Words, and numbers with their sign and decimals.
_WORDS = re.compile(r"(?:(?<![\w.])[-\u2212](?=\d))?\w+(?:['\u2019-]\w+|(?<=\d)\.\d+)*")
ARTICLES = frozenset({"a", "an", "the"})
EXACT = "exact match of the words, without case, punctuation and a leading article"


def bare(text: str) -> str:
    """A text by which answers are compared: its words in lower case, without punctuation and a leading article.

    Example:
        >>> bare(" The Red fox. ")
        'red fox'
        >>> bare("A."), bare("It is -3.5.")
        ('a', 'it is -3.5')
    """
    words = _words(text)
    return " ".join(words[1:] if len(words) > 1 and words[0] in ARTICLES else words)


def same_answer(answer: str, reference: str) -> bool:
    """Tell whether an answer says the same as its reference, word for word; a reference of signs alone, sign for sign.

    Example:
        >>> same_answer("no +", "+"), same_answer(" + ", "+")
        (False, True)
        >>> same_answer("A red fox.", "red fox"), same_answer("fox", "red fox")
        (True, False)
    """
    words = bare(reference)
    return bare(answer) == words if words else answer.strip() == reference.strip()


def word_f1(answer: str, reference: str) -> float:
    """Harmonic mean of the precision and the recall of words, each counted as often as it occurs; articles left out.

    Of a text without words it is 1 where both are the same, else 0.

    Example:
        >>> round(word_f1("a fox left of a car", "a red fox left of the car"), 4)
        0.8889
    """
    one, two = (Counter(w for w in _words(t) if w not in ARTICLES) for t in (answer, reference))
    total = one.total() + two.total()
    return 2.0 * (one & two).total() / total if total else float(answer.strip() == reference.strip())


def _words(text: str) -> list[str]:
    """Words in lower case; an accent is part of its letter, however the text writes it."""
    return [word.replace("\u2212", "-") for word in _WORDS.findall(unicodedata.normalize("NFC", text).casefold())]
