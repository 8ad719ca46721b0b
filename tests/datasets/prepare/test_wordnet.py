"""WordNet's files read from a few lines in their format."""

import pytest

from vision_suite.datasets.prepare import wordnet
from vision_suite.errors import DataError

INDEX = b"""cat%1:05:00:: 00000001 1 18
cat%1:18:00:: 00000004 2 3
car%1:06:00:: 00000002 1 71
automobile%1:06:00:: 00000002 1 5
auto%1:06:00:: 00000002 1 2
paris%1:15:00:: 00000003 1 9
gossip%1:18:00:: 00000004 1 1
run%2:38:00:: 00000009 1 106
circular%1:06:00:: 00000005 1 4
"""
NOUNS = b"""  1 This software and database is provided as is
00000001 05 n 01 cat 0 001 @ 00000004 n 0000 | feline mammal with soft fur; "a cat's purr"  
00000002 06 n 03 car 0 auto 0 automobile 1 000 | a motor vehicle with four wheels (usually); "he needs a car"  
00000003 15 n 01 Paris 0 000 | the capital of France  
00000004 18 n 01 gossip 0 000 | a person given to gossip about others  
00000005 06 n 01 circular 0 000 | an advertisement  
"""


def test_frequent_words_with_their_meaning_and_kind():
    found = wordnet.nouns(INDEX, NOUNS, 4)
    assert [(noun.word, noun.kind, noun.uses) for noun in found] == [
        ("automobile", "object", 5),
        ("car", "object", 71),
        ("cat", "animal", 18),
        ("circular", "object", 4),
    ], "neither a proper name, nor a rare sense, nor a verb"
    assert [noun.meaning for noun in found] == [
        "a motor vehicle with four wheels",
        "a motor vehicle with four wheels",
        "feline mammal with soft fur",
        "an advertisement",
    ]


def test_a_meaning_that_names_the_word_is_left_out():
    assert "gossip" not in [noun.word for noun in wordnet.nouns(INDEX, NOUNS, 1)]


def test_words_of_one_sense_are_synonyms_once():
    assert wordnet.synonyms(INDEX, NOUNS, wordnet.NOUN, 1) == [("auto", "car")]
    assert wordnet.synonyms(INDEX, NOUNS, wordnet.NOUN, 3) == [("automobile", "car")], "auto is used twice only"


@pytest.mark.parametrize("data", [NOUNS[:200], NOUNS.replace(b"01 cat 0", b"0f cat 0")])
def test_a_damaged_file_is_one_line(data):
    with pytest.raises(DataError, match=r"WordNet: a data file is malformed"):
        wordnet.nouns(INDEX, data, 4)


def test_a_damaged_index_is_one_line():
    with pytest.raises(DataError, match=r"WordNet: index.sense is malformed"):
        wordnet.nouns(b"cat 1\n", NOUNS, 4)


INDEX_NOUN = b"""  1 This software and database is provided as is
bank n 2 2 @ ~ 2 2 00000006 00000003
cat n 1 1 @ 1 1 00000001
hot_dog n 1 0 1 0 00000005
"""
SYNSETS = NOUNS + b"00000006 17 n 01 bank 0 000 | sloping land  \n"


def test_the_first_sense_gives_the_class_of_words_and_phrases():
    found = wordnet.noun_classes(INDEX_NOUN, SYNSETS)
    assert found == {"bank": "object", "cat": "animal", "hot dog": "artifact"}


@pytest.mark.parametrize("index", [b"cat n 1 1 @ 1 1 00000009\n", b"cat n 1\n", b"cat n x 1 @ 1 1 00000001\n?"])
def test_a_damaged_noun_index_is_one_line(index):
    with pytest.raises(DataError, match=r"WordNet: index.noun is malformed"):
        wordnet.noun_classes(index, SYNSETS)


def test_irregular_plurals_keep_the_order_of_their_singulars():
    found = wordnet.irregular_plurals(b"men man\nbases-on-balls base_on_balls\naxes ax axis\n")
    assert found == {"men": ("man",), "bases-on-balls": ("base on balls",), "axes": ("ax", "axis")}
    with pytest.raises(DataError, match=r"noun.exc is malformed \('men' has no singular\)"):
        wordnet.irregular_plurals(b"men\n")
