import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_suite.datasets.emoji.rules import (
    PROTOCOLS,
    Picture,
    closed_task,
    market_splits,
    names_digest,
    shared_names,
    slug,
    split_of,
    subgroup_task,
    subgroups_by_name,
    without_gendered,
    without_twins,
)

names = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)


def test_names_must_be_in_all_core_designs():
    assert shared_names([["b", "a", "c"], ["c", "b"], ["b", "c", "d"]]) == ["b", "c"]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("waving-hand", True),
        ("waving-hand-light-skin-tone", False),
        ("waving-hand-medium-dark", False),
        ("couple-medium-light-heart", False),
        ("skin-tone-palette", False),
        ("light-bulb", True),  # a leading token is no skin tone
        ("flashlight", True),
        ("darkness", True),
        ("moon-dark", False),
    ],
)
def test_skin_tones_are_dropped(name, kept):
    assert (shared_names([[name]]) == [name]) is kept


def test_gendered_names_are_dropped_by_prefix_only():
    assert without_gendered(["man-cook", "woman-cook", "men-x", "women-x", "man", "snowman-hat", "human-man-x"]) == [
        "man",
        "snowman-hat",
        "human-man-x",
    ]


def test_twins_are_dropped_both_and_only_within_a_design():
    rasters = [{"a": "1", "b": "2", "c": "3", "d": "4"}, {"a": "2", "b": "1", "c": "9", "d": "9"}]
    assert without_twins(["a", "b", "c", "d"], rasters) == ["a", "b"]


@given(names)
def test_the_split_is_the_sha256_modulo_100(name):
    bucket = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100
    assert split_of(name) == ("train" if bucket <= 49 else "val" if bucket <= 59 else "test")


def test_the_digest_is_of_the_sorted_names():
    assert names_digest(["b", "a"]) == hashlib.sha256(b"a\nb").hexdigest()


def all_pictures(count=60):
    """Every identity on cameras 0..3, every third also on 4..7."""
    return [
        Picture(f"n{number}", number + 1, camera)
        for number in range(count)
        for camera in range(8 if number % 3 == 0 else 4)
    ]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_identity_is_in_two_splits_and_none_is_lost(protocol):
    pictures = all_pictures()
    splits = market_splits(protocol, pictures)
    groups = [
        {p.name for p in splits["bounding_box_train"]},
        {p.name for p in splits["query"] + splits["bounding_box_test"]},
        {p.name for p in splits["query_val"] + splits["bounding_box_val"]},
    ]
    assert sum(len(group) for group in groups) == 60
    assert set.union(*groups) == {p.name for p in pictures}


def test_protocols_a_and_b_query_every_test_picture():
    pictures = all_pictures()
    a, b = market_splits("a", pictures), market_splits("b", pictures)
    assert a["query"] == a["bounding_box_test"] == [p for p in b["query"] if p.camera < 4]
    assert b["query"] == b["bounding_box_test"]
    assert sum(map(len, (b["bounding_box_train"], b["query"], b["query_val"]))) == len(pictures)
    assert {p.camera for p in a["bounding_box_train"]} == {0, 1, 2, 3}


@pytest.mark.parametrize("camera", range(8))
def test_protocol_c_never_trains_on_its_query_camera(camera):
    splits = market_splits(f"c{camera}", all_pictures())
    others = set(range(8)) - {camera}
    assert {p.camera for p in splits["bounding_box_train"]} == others
    assert {p.camera for p in splits["query"]} == {camera}
    assert {p.camera for p in splits["bounding_box_test"]} == others
    assert {p.camera for p in splits["query_val"]} == {camera}


def test_market_names_count_from_one():
    assert Picture("x", 12, 2).market_name == "0012_c3s1_000000_00.png"


def test_subgroups_need_four_training_and_two_test_identities():
    by_split: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for number in range(200):
        by_split[split_of(f"n{number}")].append(f"n{number}")
    enough = by_split["train"][:4] + by_split["test"][:2] + by_split["val"][:1]
    few_train = by_split["train"][4:7] + by_split["test"][2:9]
    few_test = by_split["train"][10:20] + by_split["test"][9:10]
    subgroups = {
        **dict.fromkeys(enough, "enough"),
        **dict.fromkeys(few_train, "few-train"),
        **dict.fromkeys(few_test, "few-test"),
    }
    used = [*enough, *few_train, *few_test, by_split["train"][30]]
    pictures = [Picture(name, number, camera) for number, name in enumerate(used, 1) for camera in (0, 5)]
    classes, members, unlabelled = subgroup_task(pictures, subgroups)
    assert classes == ["enough"]
    assert unlabelled == [by_split["train"][30]]
    assert Counter((m.picture.name, m.train) for m in members) == Counter(
        {**{(name, True): 2 for name in enough[:4]}, **{(name, False): 2 for name in enough[4:6]}}
    )


def test_the_closed_task_tests_on_design_3():
    classes, members = closed_task(all_pictures(5))
    assert classes == ["n0", "n1", "n2", "n3", "n4"]
    assert {m.picture.camera for m in members if not m.train} == {3}
    assert {m.picture.camera for m in members if m.train} == {0, 1, 2, 4, 5, 6, 7}
    assert all(classes[m.label] == m.picture.name for m in members)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("black heart", "black-heart"),
        ("Mrs. Claus", "mrs-claus"),
        ("woman\u2019s hat", "womans-hat"),
        ("man's shoe", "mans-shoe"),
        ("A button (blood type)", "a-button-blood-type"),
    ],
)
def test_labels_become_icon_names(label, name):
    assert slug(label) == name


def test_subgroups_join_by_slug_and_skip_components():
    table = [{"label": "Red Apple", "subgroup": 1}, {"label": "regional indicator A"}]
    assert subgroups_by_name(table, {"1": "food-fruit"}) == {"red-apple": "food-fruit"}
