"""CHAIR on the oracle's captions, in both modes, and rates that do not depend on how captions are shared out."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_suite.metrics.hallucination.captions import caption_counts, sentence_counts
from vision_suite.metrics.hallucination.chair import chair_finding, chair_scores
from vision_suite.prepared import find_folder
from vision_suite.text.coco import CocoWords
from vision_suite.text.coco_wordnet import WordNetCocoWords
from vision_suite.text.nouns import NounTable
from vision_suite.text.sentences import split_sentences

ORACLE = [
    ("A man rides a motor bike past a stop sign and two dogs.", "motorcycle, stop sign, person", "dog"),
    ("A baby elephant stands near a bench. There is a bow tie on the toilet seat.", "elephant, toilet", "bench, tie"),
    (
        "Two men sit on a couch with a laptop and a cup of coffee, next to a wine glass.",
        "person, couch, laptop, dining table",
        "cup, wine glass",
    ),
    ("The sky is blue and calm.", "boat", ""),
    (
        "A passenger train passes a hot dog stand; a dog and another dog watch a puppy.",
        "train, dog, person",
        "hot dog",
    ),
    ("The bathroom has a toilet with a white seat, a sink and a toothbrush.", "toilet, sink", "toothbrush"),
]


def findings(words):
    return [chair_finding(text, objects.split(", "), words) for text, objects, _ in ORACLE]


def made_up(finding):
    return ", ".join(name for name, wrong in zip(finding.named, finding.made_up, strict=True) if wrong)


@pytest.mark.parametrize("refined", [False, True])
def test_the_oracle(refined):
    found = findings(CocoWords(refined=refined))
    assert [made_up(finding) for finding in found] == [wrong for *_, wrong in ORACLE]
    scores = chair_scores(found)
    assert (caption_counts(found).made_up, caption_counts(found).named) == (7, 21)
    assert scores["chair_i"] == pytest.approx(0.333333, abs=1e-6)
    assert scores["chair_s"] == pytest.approx(0.833333, abs=1e-6)
    assert scores["chair_s_named"] == 1.0
    # 3 + 2 + 3 + 0 + 2 + 2 objects named of 3 + 2 + 4 + 1 + 3 + 2.
    assert scores["recall"] == 12 / 15


@pytest.mark.skipif(find_folder("wordnet") is None, reason="the set wordnet is not prepared")
def test_the_oracle_by_wordnet():
    found = findings(WordNetCocoWords(NounTable.load()))
    assert [made_up(finding) for finding in found] == [wrong for *_, wrong in ORACLE]
    assert (caption_counts(found).made_up, caption_counts(found).named) == (7, 20)
    assert chair_scores(found)["chair_i"] == 0.35
    assert chair_scores(found)["chair_s"] == pytest.approx(5 / 6)


def test_sentences_of_a_caption_hold_their_own_objects():
    text = "A dog runs. Dr. Cat (a cat) sleeps! No. 5 is a bus, and there is a man\nA kite"
    finding = chair_finding(text, ["dog", "person"], CocoWords())
    counts = sentence_counts(finding)
    assert finding.sentences == len(split_sentences(text)) == len(counts)
    each = [sentence_counts(chair_finding(part, ["dog", "person"], CocoWords()))[0] for part in split_sentences(text)]
    assert counts == each


def test_nothing_named_is_not_a_number():
    scores = chair_scores([chair_finding("", [], CocoWords())])
    assert math.isnan(scores["chair_i"])
    assert scores["chair_s"] == 0.0
    assert math.isnan(chair_scores([])["chair_s"])


WORDS = st.lists(st.sampled_from("dog cat man kite seat toilet blue runs . the".split()), max_size=12).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=6), st.integers(0, 6))
def test_sums_of_parts_are_sums_of_all(texts, cut):
    found = [chair_finding(text, ["dog", "toilet"], CocoWords()) for text in texts]
    parts = [caption_counts(found[:cut]), caption_counts(found[cut:])]
    assert tuple(map(sum, zip(*parts, strict=True))) == tuple(caption_counts(found))
    assert chair_scores(reversed(found)) == pytest.approx(chair_scores(found), nan_ok=True)
