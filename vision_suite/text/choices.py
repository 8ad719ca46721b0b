"""Questions with choices: their letters, and the question that lists them."""

from __future__ import annotations

from collections.abc import Sequence

from vision_suite.errors import DataError

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
REQUEST = "Answer with the letter of the right choice."


def letters_of(count: int) -> str:
    """The letters of ``count`` choices.

    Raises:
        DataError: There are more choices than letters, or none.

    Example:
        >>> letters_of(4)
        'ABCD'
    """
    if not 1 <= count <= len(LETTERS):
        raise DataError(f"a question with {count} choices: give 1 to {len(LETTERS)}")
    return LETTERS[:count]


def listed_choices(question: str, choices: Sequence[str]) -> str:
    """A question with its choices in lettered lines and the request for a letter.

    Raises:
        DataError: There are more choices than letters, or none.

    Example:
        >>> print(listed_choices("Which one barks?", ["cat", "dog"]))
        Which one barks?
        A. cat
        B. dog
        Answer with the letter of the right choice.
    """
    lines = [f"{letter}. {choice}" for letter, choice in zip(letters_of(len(choices)), choices, strict=True)]
    return "\n".join([question, *lines, REQUEST])
