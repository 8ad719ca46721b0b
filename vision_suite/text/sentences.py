"""Sentences of English text, by rules: marks, abbreviations, numbers, line breaks."""

from __future__ import annotations

import re

# A mark or several, what closes behind them, and then white space or the end.
MARK = re.compile(r"(?:[.!?…]+[\"'”’)\]]*(?=\s|$))|[。！？]+[」』”’）]*")  # noqa: RUF001
BREAK = re.compile(r"[^\S\n]*\n\s*")
WORD = re.compile(r"[^\s\"'“‘(\[]+$")  # noqa: RUF001
NEXT = re.compile(r"[\s\"'“‘(\[*#-]*(\S?)")  # noqa: RUF001
LONGEST = 40  # letters of a word that are looked at

# A name or a further word follows these.
NEVER = frozenset(
    "mr mrs ms dr prof st mt gen col sgt capt lt rev hon gov sen rep pres e.g i.e cf vs viz approx resp ca".split()
)
# A number follows these, where they are abbreviations.
BEFORE_NUMBERS = frozenset("no nos fig figs eq eqs sec ch vol p pp art".split())
# These end a sentence only before a capital letter.
BEFORE_CAPITALS = frozenset("etc inc ltd corp co jr sr a.m p.m al ft oz lb dept est".split())


def split_sentences(text: str) -> list[str]:
    """Sentences of a text, without white space at their ends.

    A full stop ends none inside a number, behind a title, an initial or an abbreviation, or before a small letter,
    unless the text has no capital at all. Line breaks end one too, as in lists.

    Example:
        >>> split_sentences("Mr. Smith paid 3.5 dollars. He left! A dog, e.g. a pug, stayed")
        ['Mr. Smith paid 3.5 dollars.', 'He left!', 'A dog, e.g. a pug, stayed']
    """
    ends = [*sentence_ends(text), len(text)]
    pieces = [text[start:end].strip() for start, end in zip([0, *ends], ends, strict=False)]
    return [piece for piece in pieces if piece]


def sentence_ends(text: str) -> list[int]:
    """Offsets behind each sentence that ends in a text; the end of the text only where a mark or a line ends there."""
    small = text.islower()  # small letters say nothing in a text without capitals
    marks = [found.end() for found in MARK.finditer(text) if _ends(text, found, small)]
    breaks = [found.start() for found in BREAK.finditer(text) if text[: found.start()].strip()]
    return sorted({*marks, *breaks})


def ends_sentence(text: str, following: str = "") -> bool:
    """Tell whether a text that is being written may be cut where it ends.

    Args:
        text: Text so far; white space at its end does not count.
        following: What comes next, if that is known: ``3.`` ends a sentence, but not before ``5``.

    Example:
        >>> ends_sentence("It costs 3."), ends_sentence("It costs 3.", "50 dollars"), ends_sentence("It is by Mr.")
        (True, False, False)
    """
    written = text.rstrip()
    return len(written) in sentence_ends(text + following)


def _ends(text: str, mark: re.Match[str], small: bool) -> bool:
    """Tell whether a mark ends a sentence of a text, which may have small letters only."""
    following = NEXT.match(text, mark.end())
    after = following[1] if following else ""
    signs = mark[0].rstrip("\"'”’)]")  # noqa: RUF001
    if after.islower() and not small:
        return signs[-1:] in "。！？" or (signs not in (".", "…", "...") and mark[0] == signs)  # noqa: RUF001
    if signs != ".":
        return True
    found = WORD.search(text, max(mark.start() - LONGEST, 0), mark.start())
    word = found[0] if found else ""
    plain = word.lower()
    if plain in NEVER:
        return False
    if plain in BEFORE_NUMBERS:
        return not after.isdigit()
    if plain in BEFORE_CAPITALS:
        return not after or after.isupper()
    line = text[text.rfind("\n", 0, mark.start()) + 1 : mark.start()].strip()
    if word == line and (word.isdigit() or (len(word) == 1 and word.isalpha())):
        return not after  # "1." or "A." at the beginning of a line numbers it
    # An initial, alone or behind others: "J. Smith", "J.R.R. Tolkien".
    return not (re.fullmatch(r"(?:[A-Z]\.)*[A-HJ-Z]", word) and after.isupper())
