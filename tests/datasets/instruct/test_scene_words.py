"""Words of Emoji-Scenes: articles, plurals, synonyms; layouts that keep things apart and together."""

import pytest

from vision_suite.datasets.instruct.scenes.layout import Sizes, lay_out
from vision_suite.datasets.instruct.scenes.rows import Single, chosen_names, kinds
from vision_suite.datasets.instruct.scenes.synonyms import SYNONYMS, synonym_groups
from vision_suite.datasets.instruct.scenes.things import CLOSED, Thing, things_of
from vision_suite.errors import DataError

THINGS = [Thing(f"thing-{number}", "k", f"group{number % 5}", ()) for number in range(40)]
DRAWN = {"one": [thing.name for thing in THINGS], "two": [thing.name for thing in THINGS]}


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("cat", "a cat"),
        ("owl", "an owl"),
        ("unicorn", "a unicorn"),
        ("scissors", "scissors"),
        ("bus", "a bus"),
        ("smiling-face-with-sunglasses", "a smiling face with sunglasses"),
        ("crossed-swords", "crossed swords"),
        ("1st-place-medal", "a 1st place medal"),
    ],
)
def test_articles_and_plurals(name, phrase):
    assert Thing(name, "", "", ()).phrase == phrase


def test_things_get_kind_and_tags_by_their_label():
    labels = [{"label": "Cat\u2019s Face", "group": 3, "tags": ["Pet"]}, {"label": "flag", "group": 9}]
    cat, flag, other = things_of(["cats-face", "flag", "zzz"], labels, {"cats-face": "animal-mammal"})
    assert cat == Thing("cats-face", "animal", "animal-mammal", ("pet",))
    assert (flag.kind, other.kind, other.subgroup) == ("", "", "other")


def test_synonyms_are_other_names_of_one_thing():
    things = [
        Thing("cat", "animal", "", ("animal", "kitten", "pet")),
        Thing("dog", "animal", "", ("pet", "cat", "gang", "puppy")),
        Thing("bicycle", "place", "", ("class", "gang", "spin", "bike")),
        Thing("handbag", "object", "", ("purse", "lady", "bag")),
        Thing("backpack", "object", "", ("bag", "rucksack")),
    ]
    found = synonym_groups(things)
    assert found == [
        ["cat", "kitten"],
        ["dog", "puppy"],
        ["bicycle", "bike"],
        ["handbag", "purse"],
        ["backpack", "rucksack"],
    ]
    words = [word for own in SYNONYMS.values() for word in own]
    assert len(set(words)) == len(words), "no word is listed for two things"


def test_the_closed_names_are_forty_single_words():
    names = [name for own in CLOSED.values() for name in own]
    assert len(set(names)) == 40
    assert all(name.isalpha() for name in names)


@pytest.mark.parametrize(
    ("split", "low", "high"), [("train", 0.72, 0.92), ("adversarial", 0.0, 0.0), ("mining", 0.3, 0.5)]
)
def test_neighbours_of_one_subgroup_are_as_frequent_as_asked(split, low, high):
    scenes = lay_out(0, split, 7, 300, THINGS, DRAWN, Sizes(100, 15, 25, 3))
    pairs = [placed.thing.subgroup == scene.placed[0].thing.subgroup for scene in scenes for placed in scene.placed[1:]]
    assert low <= sum(pairs) / len(pairs) <= high
    assert [scene.number for scene in scenes] == list(range(7, 307))
    assert {len(scene.placed) for scene in scenes} == {1, 2, 3}
    assert {scene.design for scene in scenes} == {"one", "two"}


def test_things_are_different_inside_and_apart():
    for scene in lay_out(0, "train", 0, 100, THINGS, DRAWN, Sizes(64, 20, 28, 4)):
        cells = [(x, y) for p in scene.placed for x in range(p.x, p.x + p.side) for y in range(p.y, p.y + p.side)]
        assert len(set(cells)) == len(cells)
        assert max(map(max, cells)) < 64
        assert len({placed.thing.name for placed in scene.placed}) == len(scene.placed)


def test_things_that_do_not_fit_are_one_line():
    with pytest.raises(DataError, match=r"things of 40 pixels do not fit into 64"):
        lay_out(0, "train", 0, 20, THINGS, DRAWN, Sizes(64, 40, 40, 3))


def test_wrong_names_are_of_other_subgroups():
    shown = [Single(thing.name, f"{thing.name}.png", thing) for thing in THINGS]
    subgroup = {thing.words: thing.subgroup for thing in THINGS}
    for asked, each in zip(chosen_names(0, "name", shown, THINGS), shown, strict=True):
        assert asked.answer == each.thing.words
        assert asked.answer in asked.choices
        assert len({subgroup[name] for name in asked.choices}) == len(asked.choices) == 4


def test_things_without_a_kind_have_no_question_of_kind():
    shown = [Single("a", "a.png", Thing("a", "", "", ())), Single("b", "b.png", Thing("b", "food", "", ()))]
    (asked,) = kinds("group", shown, ["food", "face"])
    assert (asked.id, asked.answer, asked.choices) == ("group-b", "food", ("food", "face"))
