"""COCO's words: the oracle of CHAIR in both modes, the published list, and every plural of it."""

import pytest

from vision_suite.detectors.centernet import CLASSES
from vision_suite.text.coco import CocoWords, coco_groups
from vision_suite.text.coco_wordnet import WordNetCocoWords, tokenize
from vision_suite.text.nouns import NounTable

# As in WordNet 3.0, for the words of the oracle and of the plurals below.
NOUNS = NounTable(
    dict.fromkeys(
        "man men woman bike stop sign dog baby elephant bench bow tie toilet seat couch laptop cup wine glass sky "
        "passenger train stand puppy bathroom sink toothbrush vase vas bus class glasses goose scissors".split(),
        "artifact",
    ),
    {"men": ("man",), "geese": ("goose",)},
)
ORACLE = [
    ("A man rides a motor bike past a stop sign and two dogs.", "person, motorcycle, stop sign, dog"),
    ("A baby elephant stands near a bench. There is a bow tie on the toilet seat.", "elephant, bench, tie, toilet"),
    (
        "Two men sit on a couch with a laptop and a cup of coffee, next to a wine glass.",
        "person, couch, laptop, cup, wine glass",
    ),
    ("The sky is blue and calm.", ""),
    (
        "A passenger train passes a hot dog stand; a dog and another dog watch a puppy.",
        "train, hot dog, dog, dog, dog",
    ),
    ("The bathroom has a toilet with a white seat, a sink and a toothbrush.", "toilet, sink, toothbrush"),
]
IRREGULAR = {
    "men": "man", "women": "woman", "policemen": "policeman", "children": "children", "grandchildren": "grandchild",
    "ladies": "lady", "geese": "goose", "ponies": "pony", "calves": "calf", "oxen": "oxen", "sheep": "sheep",
    "buses": "bus", "minibuses": "minibus", "benches": "bench", "vases": "vase", "kites": "kite", "knives": "knife",
    "pocketknives": "pocketknife", "couches": "couch", "sandwiches": "sandwich", "mice": "mouse", "thieves": "thief",
    "smartphones": "smartphone", "firetrucks": "firetruck", "toothbrushes": "toothbrush", "huskies": "husky",
    "wine glasses": "wine glass", "hot dogs": "hot dog", "iPhones": "iPhone", "scissors": "scissors",
}  # fmt: skip


@pytest.mark.parametrize("refined", [False, True])
@pytest.mark.parametrize(("caption", "names"), ORACLE)
def test_names_of_the_oracle(caption, names, refined):
    assert ", ".join(CocoWords(refined=refined).names(caption)) == names


@pytest.mark.parametrize(("caption", "names"), ORACLE)
def test_names_of_the_oracle_by_wordnet(caption, names):
    """Men stay men, which WordNet has as a noun, and are lost."""
    found = ", ".join(mention.name for mention in WordNetCocoWords(NOUNS).find(caption))
    assert found == (names.removeprefix("person, ") if "men" in caption else names)


def test_the_list_is_cocos_80_classes_in_order():
    assert tuple(group[0] for group in coco_groups()) == CLASSES
    assert len({word for group in coco_groups() for word in group}) == 403
    added = {word for group in coco_groups(refined=True) for word in group} - {w for g in coco_groups() for w in g}
    assert added == {"brother", "pedestrian", "coffee table", "remote control"}


def test_every_word_stands_for_its_own_class():
    """No word is damaged by reading it as another one's plural, nor hidden by a phrase."""
    words = CocoWords()
    rule = {"bow tie": "tie"}  # CHAIR reads it as the tie it is
    for group in coco_groups():
        for word in group:
            (mention,) = words.find(f"There is {word}.")
            assert (mention.name, mention.word) == (group[0], rule.get(word, word))


@pytest.mark.parametrize(("plural", "singular"), IRREGULAR.items())
def test_plurals_are_found_as_their_singular(plural, singular):
    (mention,) = CocoWords().find(f"Here are two {plural}.")
    assert mention.word == singular


def test_phrases_hide_words_that_are_no_objects():
    words = CocoWords()
    assert words.names("A passenger jet, an adult bear and a baby animal.") == ["airplane", "bear"]
    assert words.names("He slides to home plate near the train tracks.") == []
    assert words.names("A seat beside a chair.") == ["chair", "chair"], "no toilet, so a seat is a chair"


def test_the_treebank_splits_words_as_nltk_does():
    """Tokens in the order of NLTK's Treebank tokenizer of each sentence, without marks."""
    text = "The dogs. \"A hot-dog,\" he said: it's 3,5 cats/dogs -- the men's (two) vases...bus!"
    assert [token.text for token in tokenize(text)] == (
        "the dogs a hot-dog he said it 3,5 cats/dogs the men two vases bus".split()
    )


def test_tokens_know_where_they_stand():
    text = "Two dogs' bowls, a cat's."
    assert [text[token.start : token.end].lower() for token in tokenize(text)] == [
        token.text for token in tokenize(text)
    ]
