"""Objects of COCO in captions as published implementations find them: WordNet's lemmas, phrases of two words."""

from __future__ import annotations

import re
from typing import NamedTuple

from vision_suite.text.coco import coco_groups, double_words, without_seats
from vision_suite.text.lexicon import Mention
from vision_suite.text.nouns import NounTable

# What the Treebank's tokenizer splits off wherever it stands; a comma or colon stays before a digit.
SPLIT = re.compile(r"[;@#$%&?!()\[\]{}<>\"“”‘«»„—]|--|\.\.+|[,:](?!\d)|(?<=\s)'|''|`")  # noqa: RUF001
CLITIC = re.compile(r"(?:'(?:s|m|d|ll|re|ve)|n't|'|’)$")  # noqa: RUF001


class Token(NamedTuple):
    """A word of a caption and its offsets."""

    text: str
    start: int
    end: int


class WordNetCocoWords:
    """Objects of COCO in captions, each word brought to WordNet's lemma, as ports of CHAIR do.

    Plurals that WordNet damages or does not know are lost: ``men``, ``vases``, ``smartphones``. Use it to compare with
    published numbers, and `CocoWords` else.

    Args:
        nouns: Nouns of WordNet.
        refined: Take the words that RLHF-V and RLAIF-V add for Object HalBench.

    Example:
        >>> nouns = NounTable({"man": "person", "men": "group", "dog": "animal"}, {"men": ("man",)})
        >>> [mention.name for mention in WordNetCocoWords(nouns).find("Two men and a man walk dogs.")]
        ['person', 'dog']
    """

    def __init__(self, nouns: NounTable, *, refined: bool = False) -> None:
        self._nouns = nouns
        self._names = {word: group[0] for group in coco_groups(refined=refined) for word in group}
        self._double = double_words()
        self.rule = f"CHAIR, {'refined' if refined else 'original'} words of COCO, lemmas of WordNet"

    def find(self, text: str) -> list[Mention]:
        """Mentions in one caption, in their order; a seat does not count where a toilet is named."""
        tokens = [token._replace(text=self._nouns.lemma(token.text)) for token in tokenize(text)]
        found: list[Mention] = []
        place = 0
        while place < len(tokens):
            pair = " ".join(token.text for token in tokens[place : place + 2])
            size = 2 if pair in self._double else 1
            word = self._double.get(pair, tokens[place].text)
            start, end = tokens[place].start, tokens[place + size - 1].end
            if word in self._names:
                found.append(Mention(self._names[word], text[start:end], start, end, word))
            place += size
        return without_seats(found)


def tokenize(text: str) -> list[Token]:
    """Words of a text in lower case, split as the Treebank's tokenizer splits single sentences; marks are left out.

    A full stop behind a word never sticks to it, so that no word at the end of a sentence is lost. Words that a hyphen
    or slash joins stay one.

    Example:
        >>> [token.text for token in tokenize("The dog's well-kept hot-dog, isn't it?")]
        ['the', 'dog', 'well-kept', 'hot-dog', 'is', 'it']
    """
    found = []
    # Each mark becomes as many blanks, and lower case keeps lengths but for a few letters outside of English.
    plain = SPLIT.sub(lambda mark: " " * len(mark[0]), f" {text}")[1:]
    for piece in re.finditer(r"\S+", plain):
        word = piece[0].rstrip(".")
        while (shorter := CLITIC.sub("", word)) != word:
            word = shorter.rstrip(".")
        if word:
            found.append(Token(word.lower(), piece.start(), piece.start() + len(word)))
    return found
