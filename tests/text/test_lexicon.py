"""Things named in texts: the oracle of CHAIR's extractor, plurals, and a slow search to compare with."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_suite.errors import ConfigError
from vision_suite.text.lexicon import Lexicon, plurals

# The part of COCO's synonym groups (Rohrbach et al., CHAIR) that the oracle's captions touch.
GROUPS = [
    ["person", "man", "woman", "people", "children", "child"],
    ["motorcycle", "scooter", "motor bike", "motor cycle", "motorbike"],
    ["train", "locomotive"],
    ["stop sign"],
    ["bench", "pew"],
    ["dog", "puppy", "labrador"],
    ["elephant"],
    ["tie", "necktie"],
    ["wine glass"],
    ["cup"],
    ["hot dog"],
    ["couch", "sofa"],
    ["dining table", "table"],
    ["toilet", "urinal"],
    ["laptop", "computer", "laptop computer"],
    ["sink"],
    ["toothbrush"],
    ["bus", "minibus"],
    ["vase"],
    ["cell phone", "iPhone"],
    ["oven", "stove", "stove top oven"],
    ["plate"],
    ["knife", "pocketknife"],
    ["scissors"],
]
PHRASES = {
    "baby elephant": "elephant",
    "passenger train": "train",
    "bow tie": "tie",
    "toilet seat": "toilet",
    "home plate": "",
}
LEXICON = Lexicon(GROUPS, PHRASES)


@pytest.mark.parametrize(
    ("caption", "names"),
    [
        (
            "A man rides a motor bike past a stop sign and two dogs.",
            ["person", "motorcycle", "stop sign", "dog"],
        ),
        (
            "A baby elephant stands near a bench. There is a bow tie on the toilet seat.",
            ["elephant", "bench", "tie", "toilet"],
        ),
        (
            "Two men sit on a couch with a laptop and a cup of coffee, next to a wine glass.",
            ["person", "couch", "laptop", "cup", "wine glass"],
        ),
        ("The sky is blue and calm.", []),
        (
            "A passenger train passes a hot dog stand; a dog and another dog watch a puppy.",
            ["train", "hot dog", "dog", "dog", "dog"],
        ),
        (
            "The bathroom has a toilet with a white seat, a sink and a toothbrush.",
            ["toilet", "sink", "toothbrush"],
        ),
    ],
)
def test_oracle_of_the_extractor(caption, names):
    """Oracle O-CHAIR of the method document, with "men" found."""
    assert LEXICON.names(caption) == names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Stop signs, hot-dogs and WINE GLASSES", ["stop sign", "hot dog", "wine glass"]),
        ("a hot, dog", ["dog"]),
        ("a stop sign. Dog", ["stop sign", "dog"]),
        ("three buses, minibuses and vases", ["bus", "bus", "vase"]),
        ("the man's dog and the dogs’ sofas", ["person", "dog", "dog", "couch"]),  # noqa: RUF001
        ("at home plate, on a plate and plates", ["plate", "plate"]),
        ("an iphone, iPhones, a stove top oven", ["cell phone", "cell phone", "oven"]),
        ("women, puppies, knives, pocketknives, scissors", ["person", "dog", "knife", "knife", "scissors"]),
        ("doghouse catdog", []),
        ("", []),
    ],
)
def test_forms(text, names):
    assert LEXICON.names(text) == names


def test_mentions_are_where_they_are_written():
    text = "The Hot-Dogs near two men."
    found = LEXICON.find(text)
    assert [(mention.name, mention.text) for mention in found] == [("hot dog", "Hot-Dogs"), ("person", "men")]
    assert all(text[mention.start : mention.end] == mention.text for mention in found)


def test_names_of_words():
    assert LEXICON.name("Motor bikes") == "motorcycle"
    assert LEXICON.name("people") == "person"
    assert LEXICON.name("home plate") is None
    assert LEXICON.name("cloud") is None


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("dog", "dogs"), ("bus", "buses"), ("box", "boxes"), ("bench", "benches"), ("toothbrush", "toothbrushes"),
        ("puppy", "puppies"), ("monkey", "monkeys"), ("potato", "potatoes"), ("radio", "radios"), ("zoo", "zoos"),
        ("piano", "pianos"), ("wolf", "wolves"), ("knife", "knives"), ("scarf", "scarves"), ("roof", "roofs"), 
        ("bookshelf", "bookshelves"), ("chief", "chiefs"), ("octopus", "octopi"), ("octopus", "octopuses"),
        ("giraffe", "giraffes"), ("policeman", "policemen"), ("human", "humans"), ("grandchild", "grandchildren"),
        ("goose", "geese"), ("mongoose", "mongooses"), ("mouse", "mice"), ("tooth", "teeth"), ("sheep", "sheep"),
        ("vase", "vases"), ("kite", "kites"), ("corgi", "corgis"), ("limo", "limos"), ("suv", "suvs"), ("ax", "axes"),
        ("quiz", "quizzes"),
    ],
)  # fmt: skip
def test_plurals(one, many):
    assert many in plurals(one)


def test_a_word_of_the_lexicon_is_no_plural_of_another():
    lexicon = Lexicon([["glass"], ["glasses", "spectacles"], ["new", "news item"]])
    assert lexicon.names("glasses and a glass") == ["glasses", "glass"]
    assert Lexicon([["glass"]]).names("glasses") == ["glass"]


def test_what_a_lexicon_cannot_hold():
    with pytest.raises(ConfigError, match="'Dog' is in the groups 'dog' and 'pet'"):
        Lexicon([["dog"], ["pet", "Dog"]])
    with pytest.raises(ConfigError, match="empty word"):
        Lexicon([["dog", " - "]])
    with pytest.raises(ConfigError, match="'-' stands for 'dog'"):
        Lexicon([["dog"]], {"-": "dog"})
    with pytest.raises(ConfigError, match="stands for 'cow'"):
        Lexicon([["dog"]], {"baby cow": "cow"})
    assert Lexicon([]).names("a dog") == []


WORDS = st.sampled_from(["hot", "dog", "dogs", "stop", "sign", "cat", "wine"])


@settings(max_examples=100, deadline=None)
@given(
    entries=st.sets(st.lists(WORDS, min_size=1, max_size=3).map(" ".join), max_size=6),
    text=st.lists(WORDS, max_size=12).map(" ".join),
)
def test_equal_to_a_search_with_a_regular_expression(entries, text):
    """Alternatives sorted by their number of words find the same, from left to right."""
    lexicon = Lexicon([[entry] for entry in sorted(entries)])
    forms = {entry: entry for entry in entries}
    for entry in sorted(entries):
        forms.setdefault(f"{entry}es" if entry.endswith("s") else f"{entry}s", entry)
    ordered = sorted(forms, key=lambda form: -len(form.split()))
    found = re.findall(r"\b(?:" + "|".join(ordered) + r")\b", text) if forms else []
    assert lexicon.names(text) == [forms[form] for form in found]
