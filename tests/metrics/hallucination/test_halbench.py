"""Object HalBench's rule on the oracle, whose names are given, and on texts."""

import pytest

from vision_suite.metrics.hallucination.halbench import extracted_finding, halbench_finding, halbench_scores
from vision_suite.text.coco import CocoWords

WORDS = CocoWords(refined=True)
ORACLE = [
    ("man, motorcycle, dog, dog", "person, motorcycle"),
    ("couch, seat, toilet, cat", "toilet, couch"),
    ("", "boat"),
    ("table, laptop", "dining table, laptop"),
]


def test_the_oracle():
    found = [
        extracted_finding([name for name in names.split(", ") if name], objects.split(", "), WORDS)
        for names, objects in ORACLE
    ]
    assert [len(finding.named) for finding in found] == [3, 3, 0, 2]
    assert halbench_scores(found) == {
        "object_halbench_rule_mention": 0.25,
        "object_halbench_rule_response": pytest.approx(2 / 3),
        "object_halbench_rule_all_responses": 0.5,
        "recall": pytest.approx(6 / 7),
    }


def test_two_words_for_a_class_are_two_names_and_two_mentions_of_a_word_are_one():
    finding = halbench_finding("A man and a lady. The men wave, a pedestrian waves.", ["person"], WORDS)
    assert finding.named == ("man", "lady", "pedestrian")
    assert finding.sentence == (0, 0, 1)
    assert not any(finding.made_up)


def test_sentences_that_deny_do_not_count_as_length():
    finding = halbench_finding("A dog runs. There are no people here.", ["dog"], WORDS)
    assert finding.words == 3
    assert finding.named == ("dog", "people"), "names are taken from every sentence"
