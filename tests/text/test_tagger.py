"""The tagger: nouns on parses written by hand, what is refused before anything loads, sentences against the rules."""

import json
import subprocess
import sys

import pytest
from hand_parsed import HandParsed, hand_tagger
from test_sentences import BY_HAND

from vision_suite.errors import DataError, MissingDependencyError
from vision_suite.prepared import data_dir
from vision_suite.text import tagger
from vision_suite.text.tagger import Agreement, Noun, Pronoun, Tagger

spacy = pytest.importorskip("spacy")
pytest.importorskip("inflect")
PREPARED = pytest.mark.skipif(
    not (data_dir() / "tagger").is_dir(), reason="prepare it: vision-suite data prepare tagger"
)


@pytest.fixture(scope="module")
def hand():
    return hand_tagger()


@pytest.fixture
def folder(tmp_path):
    """An untrained pipeline with the parts that are needed."""
    pipeline = spacy.blank("en")
    for part in ("tagger", "parser", "attribute_ruler", "lemmatizer"):
        pipeline.add_pipe(part)
    pipeline.config.to_disk(tmp_path / "config.cfg")
    (tmp_path / "meta.json").write_text(json.dumps(pipeline.meta))
    return tmp_path


def test_nouns_have_their_words_places_and_roles(hand):
    text = "There are two vases and a joy."
    assert hand.read(text)[0] == [
        Noun(("vase",), 14, 19, True, True, False, 14),
        Noun(("joy",), 26, 29, False, True, False, 14),
    ]
    text = "It is near a red fire hydrant."
    assert hand.read(text) == ([Noun(("fire", "hydrant"), 17, 29, False, False, False, 22)], [Pronoun(0, False)])
    assert hand.read("The animal is a dog.")[0][1].complement
    assert hand.name == "hand 1"


def test_a_pronoun_that_stands_for_nothing_is_none(hand):
    assert hand.read("It is there.") == ([], [])
    assert hand.read("They lie near a bench.")[1] == [Pronoun(0, True)]


def test_agreement_counts_ends_inside_of_texts(monkeypatch):
    class Sentences:
        meta = HandParsed.meta

        def __call__(self, text):
            document = spacy.blank("en").make_doc(text)
            for token in document:
                token.is_sent_start = token.i == 0 or document[token.i - 1].text in (".", ":")
            return document

    found = Tagger(Sentences())
    assert found.sentence_ends("A dog: a cat. A bird.") == [6, 13]
    counts = found.agreement(["A dog: a cat. A bird.", "Really? A cat.", "One."])
    assert counts == Agreement(both=1, rules=1, tagger=1)
    assert counts.share == pytest.approx(1 / 3)
    assert found.agreement(["One."]).share == 1


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"components": {"tagger": {"factory": "my_tagger"}}}, "part 'tagger'"),
        ({"components": {"parser": {"source": "another_package"}}}, "part 'parser'"),
        ({"components": {"tagger": {"factory": "tagger", "model": {"@architectures": "other.Net.v1"}}}}, "other.Net"),
        ({"nlp": {"before_creation": {"@callbacks": "spacy.copy_from_base_model.v1"}}}, "copy_from_base_model"),
        ({"nlp": {"tokenizer": {"@tokenizers": "other.Tokenizer.v1"}}}, "other.Tokenizer"),
        ({"nlp": {"pipeline": ["tagger"]}}, "has no parser"),
        ({"nlp": 3}, r"no \[nlp\]"),
    ],
)
def test_parts_of_others_are_refused_before_anything_loads(folder, monkeypatch, change, line):
    monkeypatch.setattr(spacy.util, "load_model_from_path", lambda *_, **__: pytest.fail("loaded"))
    config = dict(spacy.util.load_config(folder / "config.cfg"))
    for section, values in change.items():
        if not isinstance(values, dict):
            config[section] = values
            continue
        for name, value in values.items():
            config[section][name] = value
    monkeypatch.setattr(spacy.util, "load_config", lambda path: config)
    with pytest.raises(DataError, match=line) as caught:
        Tagger.load(folder)
    assert "\n" not in str(caught.value)


def test_broken_and_missing_folders_are_one_line(folder, tmp_path):
    with pytest.raises(DataError, match="cannot be read") as caught:
        Tagger.load(folder)  # it has no weights
    assert "\n" not in str(caught.value)
    (folder / "config.cfg").write_text("[nlp\n")
    with pytest.raises(DataError, match="cannot be read"):
        Tagger.load(folder)
    with pytest.raises(DataError, match="data prepare tagger"):
        Tagger.load(tmp_path / "none")


def test_missing_packages_are_named_with_their_extra(monkeypatch):
    monkeypatch.setattr(tagger.importlib.util, "find_spec", lambda name: None if name == "inflect" else object())
    with pytest.raises(
        MissingDependencyError, match=r"needs the package inflect: pip install 'vision-suite\[sentinel\]'"
    ):
        Tagger.load()


def test_the_module_loads_no_spacy():
    code = "import sys, vision_suite.text.tagger; print('spacy' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@PREPARED
@pytest.mark.real_data
def test_the_trained_tagger_reads_and_cuts_as_measured():
    trained = Tagger.load()
    nouns, _ = trained.read("A black cat sits on a wooden table next to a red fire hydrant and two wine glasses.")
    assert [" ".join(noun.words) for noun in nouns] == ["cat", "table", "fire hydrant", "wine glass"]
    assert [noun.plural for noun in nouns] == [False, False, False, True]
    counts = trained.agreement([" ".join(sentences) for sentences in BY_HAND])
    assert counts == Agreement(both=17, rules=2, tagger=2), "the rules are right in all 19 of them"
