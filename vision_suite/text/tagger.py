"""Nouns and sentences of English text by a trained tagger: spaCy's pipeline, read from a folder as data."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vision_suite.errors import DataError, MissingDependencyError
from vision_suite.prepared import find_folder
from vision_suite.text.sentences import sentence_ends

if TYPE_CHECKING:
    from inflect import engine
    from spacy.language import Language
    from spacy.tokens import Doc, Token

FEATURE, EXTRA = "a tagger of English", "sentinel"
COMMAND = "run `vision-suite data prepare tagger`, or give a folder of an English pipeline of spaCy 3.8"
# Parts of a pipeline that only compute from weights and tables; others may be anything that is installed.
PARTS = frozenset("tok2vec tagger morphologizer parser senter sentencizer attribute_ruler lemmatizer ner".split())
NEEDED = ("tagger", "parser", "attribute_ruler", "lemmatizer")
UNUSED = ("ner", "senter")
# Registered functions that a configuration may name; a callback could load another package.
KINDS, OWN = ("@architectures", "@layers", "@scorers", "@tokenizers", "@vectors"), "spacy."
NOUNS = ("NOUN", "PROPN")
SUBJECTS = ("nsubj", "nsubjpass")
# Things that have no singular, which a singulariser makes up.
PAIRS = frozenset(
    "binoculars clothes goggles headphones jeans leggings overalls pants pajamas scissors shorts sunglasses tights "
    "trousers".split()
)
THINGS = {"it": False, "its": False, "itself": False, "they": True, "them": True, "their": True, "themselves": True}


class Noun(NamedTuple):
    """A noun with the compound modifiers before it: ``a red fire hydrant`` is ``fire hydrant``.

    Attributes:
        words: Words in lower case, the last one in the singular.
        start: Offset of its first character.
        end: Offset behind its last character.
        plural: The noun is a plural.
        subject: It is a subject, or what ``there is``, or ``and`` joins it to one.
        complement: It tells what something else is: ``dog`` in ``The animal is a dog``.
        group: Offset of the first of the nouns that ``and`` joins; its own if it stands alone.
    """

    words: tuple[str, ...]
    start: int
    end: int
    plural: bool
    subject: bool
    complement: bool
    group: int


class Pronoun(NamedTuple):
    """A pronoun that stands for things.

    Attributes:
        start: Offset of its first character.
        plural: It stands for several.
    """

    start: int
    plural: bool


class Agreement(NamedTuple):
    """Ends of sentences inside of texts, by the rules and by a tagger.

    Attributes:
        both: Number of ends that both find.
        rules: Number that only the rules find.
        tagger: Number that only the tagger finds.
    """

    both: int
    rules: int
    tagger: int

    @property
    def share(self) -> float:
        """Share of all ends that both find; 1 if there are none."""
        return self.both / total if (total := sum(self)) else 1.0


class Tagger:
    """Tagger and parser of English.

    Args:
        pipeline: Loaded pipeline; see `load`.

    Attributes:
        name: Name and version of the pipeline.
    """

    def __init__(self, pipeline: Language) -> None:
        self.name = f"{pipeline.meta['name']} {pipeline.meta['version']}"
        self._pipeline = pipeline

    @classmethod
    def load(cls, source: str | Path = "tagger") -> Tagger:
        """Read a pipeline from a folder; no code of the folder is run, no package of it imported.

        Args:
            source: Name of the prepared set, or a folder with ``config.cfg``.

        Raises:
            DataError: The folder is missing or malformed, has a part that is not spaCy's own, or lacks one.
            MissingDependencyError: spaCy or inflect is not installed.
        """
        if package := missing_package():
            raise MissingDependencyError(FEATURE, package, EXTRA)
        folder = find_folder(source)
        if folder is None or not (folder / "config.cfg").is_file():
            raise DataError(f"the tagger {str(source)!r} is no prepared set and no folder with config.cfg: {COMMAND}")
        import spacy

        try:
            config = spacy.util.load_config(folder / "config.cfg")
            _check(config, folder)
            left_out = [name for name in UNUSED if name in config["nlp"]["pipeline"]]
            pipeline = spacy.util.load_model_from_path(folder, exclude=left_out)
        except DataError:
            raise
        except Exception as error:  # a broken file raises whatever its parser raises
            reason = " ".join(str(error).split())[:160]
            raise DataError(
                f"the tagger in {folder} cannot be read ({type(error).__name__}: {reason}): {COMMAND}"
            ) from error
        return cls(pipeline)

    @cached_property
    def _inflect(self) -> engine:
        import inflect

        return inflect.engine()

    def read(self, text: str) -> tuple[list[Noun], list[Pronoun]]:
        """Nouns of a text, and pronouns that stand for things, each in their order."""
        document = self._pipeline(text)
        nouns = []
        for head in _heads(document):
            first = head
            while first.i > 0 and first.nbor(-1).dep_ == "compound":
                first = first.nbor(-1)
            words = (*(token.lower_ for token in document[first.i : head.i]), self._singular(head))
            place = first.idx, head.idx + len(head)
            nouns.append(Noun(words, *place, _plural(head), _subject(head), _complement(head), _first(head).idx))
        pronouns = [
            Pronoun(token.idx, THINGS[token.lower_])
            for token in document
            if token.lower_ in THINGS and token.pos_ == "PRON" and token.dep_ != "expl"
        ]
        return nouns, pronouns

    def sentence_ends(self, text: str) -> list[int]:
        """Offsets behind each sentence but the last, as `vision_suite.text.sentences.sentence_ends` gives them."""
        sentences = list(self._pipeline(text).sents)
        return [len(text[: sentence.end_char].rstrip()) for sentence in sentences[:-1]]

    def agreement(self, texts: list[str]) -> Agreement:
        """Count the ends of sentences inside of texts that the rules and the tagger find."""
        both = rules = tagger = 0
        for text in texts:
            by_rules = {end for end in sentence_ends(text) if end < len(text.rstrip())}
            by_tagger = set(self.sentence_ends(text))
            both += len(by_rules & by_tagger)
            rules += len(by_rules - by_tagger)
            tagger += len(by_tagger - by_rules)
        return Agreement(both, rules, tagger)

    def _singular(self, noun: Token) -> str:
        """A noun in the singular. The pipeline's own lemmas are not taken where inflect knows: its ``vases`` is vas."""
        word = noun.lower_
        if not _plural(noun) or word in PAIRS:
            return word
        found = self._inflect.singular_noun(word)
        return found if isinstance(found, str) else noun.lemma_.lower()


def missing_package() -> str | None:
    """The first package that a tagger needs and that is not installed; None if all are there."""
    return next((name for name in ("spacy", "inflect") if importlib.util.find_spec(name) is None), None)


def _heads(document: Doc) -> Iterator[Token]:
    """Nouns that noun chunks are about, and owners: the cat of ``the cat's tail``."""
    heads = {chunk.root.i for chunk in document.noun_chunks}
    for token in document:
        if token.pos_ in NOUNS and (token.i in heads or token.dep_ == "poss"):
            yield token


def _plural(noun: Token) -> bool:
    return bool(noun.tag_ in ("NNS", "NNPS"))


def _first(noun: Token) -> Token:
    """First noun of those that ``and`` joins."""
    while noun.dep_ == "conj" and noun.head.pos_ in NOUNS:
        noun = noun.head
    return noun


def _predicate(noun: Token) -> tuple[bool, bool]:
    """Whether a noun stands behind a form of ``be``, and whether ``there`` stands before that."""
    first = _first(noun)
    if first.dep_ != "attr":
        return False, False
    verb = first.head
    return verb.lemma_ == "be", any(child.dep_ == "expl" for child in verb.children)


def _complement(noun: Token) -> bool:
    predicate, there = _predicate(noun)
    return predicate and not there


def _subject(noun: Token) -> bool:
    _, there = _predicate(noun)
    return there or _first(noun).dep_ in SUBJECTS


def _check(config: Mapping[str, object], folder: Path) -> None:
    """Refuse a configuration that names parts or functions that are not spaCy's own, or lacks a part."""
    parts, whole = config.get("components"), config.get("nlp")
    if not isinstance(parts, Mapping) or not isinstance(whole, Mapping):
        raise DataError(f"{folder / 'config.cfg'} has no [nlp] or [components]: {COMMAND}")
    if missing := [part for part in NEEDED if part not in whole.get("pipeline", [])]:
        raise DataError(f"the tagger in {folder} has no {missing[0]}: {COMMAND}")
    # A part without a factory is copied from another pipeline, which is imported.
    factories = {name: part.get("factory") for name, part in parts.items() if isinstance(part, Mapping)}
    foreign = [f"part {name!r}" for name, factory in factories.items() if factory not in PARTS]
    foreign += [
        f"function {name!r}"
        for kind, name in (*_functions(parts), *_functions(whole))
        if kind not in KINDS or not name.startswith(OWN)
    ]
    if foreign:
        raise DataError(f"the {foreign[0]} of the tagger in {folder} is not spaCy's own: {COMMAND}")


def _functions(section: object) -> Iterator[tuple[str, str]]:
    """Kinds and names of the registered functions that a configuration names, at any depth."""
    if isinstance(section, Mapping):
        for key, value in section.items():
            if str(key).startswith("@"):
                yield str(key), str(value)
            else:
                yield from _functions(value)
