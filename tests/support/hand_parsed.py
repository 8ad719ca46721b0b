"""Sentences parsed by hand, and a pipeline that knows these alone: rules on parses are tested without a trained one."""

from vision_suite.text.tagger import Tagger

POS = {"NN": "NOUN", "NNS": "NOUN", "NNP": "PROPN", "PRP": "PRON", "PRP$": "PRON", "EX": "PRON", "WDT": "PRON"}
# Word, tag, dependency and number of the head; a word that begins with ~ follows without a blank.
PARSES = """
A DT det 3 | little JJ amod 3 | black JJ amod 3 | cat NN nsubj 4 | sits VBZ ROOT 4 | on IN prep 4 | a DT det 7
 | chair NN pobj 5 | next RB advmod 4 | to IN prep 8 | a DT det 11 | table NN pobj 9 | ~. . punct 4

The DT det 1 | animal NN nsubj 2 | is VBZ ROOT 2 | a DT det 4 | dog NN attr 2 | ~. . punct 2

There EX expl 1 | are VBP ROOT 1 | two CD nummod 3 | vases NNS attr 1 | and CC cc 3 | a DT det 6 | joy NN conj 3
 | ~. . punct 1

It PRP nsubj 1 | is VBZ ROOT 1 | near IN prep 1 | a DT det 6 | red JJ amod 6 | fire NN compound 6
 | hydrant NN pobj 2 | ~. . punct 1

They PRP nsubj 1 | lie VBP ROOT 1 | near IN prep 1 | a DT det 4 | bench NN pobj 2 | ~. . punct 1

A DT det 1 | cat NN nsubj 6 | and CC cc 1 | a DT det 4 | dog NN conj 1 | are VBP aux 6 | sleeping VBG ROOT 6
 | ~. . punct 6

The DT det 1 | cat NN poss 3 | ~'s POS case 1 | tail NN nsubj 4 | touches VBZ ROOT 4 | the DT det 7
 | TV NN compound 7 | stand NN dobj 4 | and CC cc 4 | it PRP nsubj 10 | shakes VBZ conj 4 | ~. . punct 4

A DT det 1 | variety NN nsubj 7 | of IN prep 1 | books NNS pobj 2 | in IN prep 3 | the DT det 6
 | background NN pobj 4 | lie VBP ROOT 7 | ~. . punct 7

The DT det 1 | picture NN nsubj 2 | shows VBZ ROOT 2 | blue JJ amod 4 | shorts NNS dobj 2 | in IN prep 2
 | a DT det 8 | living VBG compound 8 | room NN pobj 5 | ~. . punct 2

It PRP expl 1 | is VBZ ROOT 1 | there RB advmod 1 | ~. . punct 1
"""


class HandParsed:
    """A pipeline of spaCy for the texts of `PARSES`."""

    meta = {"name": "hand", "version": "1"}  # noqa: RUF012

    def __init__(self):
        import spacy
        from spacy.tokens import Doc

        vocab = spacy.blank("en").vocab
        self._documents = {}
        for entry in PARSES.strip().split("\n\n"):
            words, tags, deps, heads = zip(*(cell.split() for cell in entry.split("|")), strict=True)
            spaces = [not word.startswith("~") for word in (*words[1:], "~")]
            bare = [word.removeprefix("~") for word in words]
            lemmas = [
                "be" if word in ("is", "are") and dep == "ROOT" else word for word, dep in zip(bare, deps, strict=True)
            ]
            document = Doc(
                vocab,
                words=bare,
                spaces=spaces,
                tags=list(tags),
                pos=[POS.get(tag, "X") for tag in tags],
                deps=list(deps),
                heads=[int(head) for head in heads],
                lemmas=lemmas,
            )
            self._documents[document.text] = document

    def __call__(self, text):
        return self._documents[text]


def hand_tagger():
    """A tagger for the texts of `PARSES`."""
    return Tagger(HandParsed())
