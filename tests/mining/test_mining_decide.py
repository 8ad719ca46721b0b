"""Verdicts, classes, pairs and ends, against the document's oracles and hand calculations."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_suite.errors import ConfigError
from vision_suite.mining.decide import (
    Classes,
    Rules,
    Threshold,
    classify,
    distinct,
    next_sentence,
    rules_of,
    too_uniform,
    verdict,
)
from vision_suite.mining.pairing import Pair, pairs_of

HALF = Threshold(0.5, 0.5)
# Oracle O-PAIR.
FACTS = dict.fromkeys(["table", "chair", "vase", "light", "window", "flower"], "factual")
VERDICTS = {**FACTS, "fork": "hallucinated", "knife": "hallucinated", "lamp": "uncertain"}
SENTENCES = {
    0: ["table", "vase"], 1: ["light"], 2: ["table", "fork"], 3: ["window", "table"], 4: [], 5: ["vase", "flower"],
    6: ["knife", "light"], 7: ["table", "lamp"],
}  # fmt: skip
CLASSES = Classes((0, 3), (1, 5), (2, 6), (4,), (7,))


def test_oracle_of_pairs():
    assert classify(SENTENCES, VERDICTS, {"table", "chair"}, Rules()) == CLASSES
    assert pairs_of(CLASSES, Rules(), first=False) == [Pair(0, 2, "y+"), Pair(3, 6, "y+")]


def test_sentences_that_name_nothing_new_can_be_left_out():
    named = {"table", "window"}
    assert classify(SENTENCES, VERDICTS, named, Rules()).coherent == (0, 3)
    new = classify(SENTENCES, VERDICTS, named, Rules(repeats="unused"))
    assert new == classify(SENTENCES, VERDICTS, named, Rules())._replace(coherent=(0,), repeated=(3,))
    assert pairs_of(new, Rules(repeats="unused"), first=False) == [Pair(0, 2, "y+")]
    two = new._replace(coherent=(0, 8), hallucinated=(6,))
    assert pairs_of(two, Rules(repeats="rejected"), first=False) == [Pair(0, 3, "y+"), Pair(8, 6, "y+")]


def test_sentences_alike_in_their_words_are_paired_first():
    texts = {
        0: "a vase is left of the table.", 3: "there is a window.",
        2: "there is a fork.", 6: "a knife is left of the table.",
    }  # fmt: skip
    pairs = pairs_of(CLASSES, Rules(pairing="alike"), first=False, texts=texts)
    assert sorted(pairs) == [Pair(0, 6, "y+"), Pair(3, 2, "y+")]
    one = CLASSES._replace(hallucinated=(6,))
    assert pairs_of(one, Rules(pairing="alike"), first=False, texts=texts) == [Pair(0, 6, "y+")]


def test_a_sentence_that_names_nothing_new_extends_the_context_last():
    repeated = Classes((), (), (2,), (4,), (), (3,))
    assert next_sentence(repeated, Rules(repeats="rejected"), 0) == 3
    assert next_sentence(repeated._replace(agnostic=(1,)), Rules(repeats="rejected"), 0) == 1
    assert next_sentence(repeated, Rules(repeats="rejected", otherwise="stop"), 0) is None


def test_positives_of_table_3():
    agnostic = pairs_of(CLASSES, Rules(positives="agnostic"), first=False)
    assert agnostic == [Pair(1, 2, "y-"), Pair(5, 6, "y-")]
    three = CLASSES._replace(coherent=(0,), hallucinated=(2, 6, 8))
    assert pairs_of(three, Rules(positives="both"), first=False) == [
        Pair(0, 2, "y+"), Pair(1, 6, "y-"), Pair(5, 8, "y-"),
    ]  # fmt: skip


def test_the_likely_ones_are_paired_first():
    logps = {0: -3.0, 3: -1.0, 2: -9.0, 6: -2.0}
    assert pairs_of(CLASSES, Rules(pairing="likely"), first=False, logps=logps) == [Pair(3, 6, "y+"), Pair(0, 2, "y+")]


def test_first_sentences_make_pairs_in_the_paper_alone():
    first = classify(SENTENCES, VERDICTS, set(), Rules())
    assert first.coherent == ()
    assert first.agnostic == (0, 1, 3, 5)
    assert pairs_of(first, rules_of({}), first=True) == [Pair(0, 2, "y+"), Pair(1, 6, "y+")]
    assert pairs_of(first, rules_of({"mode": "released"}), first=True) == []


@pytest.mark.parametrize(
    ("texts", "stops"),
    [
        (["a"] * 6 + list("bcde"), False),
        (["a"] * 7 + list("bcd"), True),
        ([""] * 5 + list("abcde"), False),
        ([""] * 6 + list("abcd"), True),
    ],
)
def test_oracle_of_the_end(texts, stops):
    assert too_uniform(texts) == stops


def test_duplicates_keep_the_order_of_drawing():
    assert distinct(["b", "", "a", "b ", " ", "c", "a"]) == [0, 2, 5]


@pytest.mark.parametrize(
    ("scores", "paper", "released"),
    [
        ((0.9, 0.9), "factual", "factual"),
        ((0.5, 0.5), "factual", "factual"),
        ((0.1, 0.49), "hallucinated", "hallucinated"),
        ((0.9, 0.1), "uncertain", "uncertain"),
        ((0.9, math.nan), "uncertain", "factual"),
        ((0.1, math.nan), "uncertain", "uncertain"),
    ],
)
def test_two_detectors_decide_together(scores, paper, released):
    found = dict(zip("ab", scores, strict=True))
    limits = {"a": HALF, "b": HALF}
    assert verdict("x", found, limits, rules_of({})) == paper
    assert verdict("x", found, limits, rules_of({"mode": "released"})) == released


def test_uncertain_objects_of_table_9_and_one_detector_of_table_8():
    scores = {"a": 0.9, "b": 0.1}
    limits = {"a": HALF, "b": HALF}
    for policy in ("factual", "hallucinated"):
        assert verdict("x", scores, limits, Rules(uncertain=policy)) == policy
    assert verdict("x", scores, {"b": HALF}, Rules()) == "hallucinated"


def test_a_detector_abstains_between_its_limits_and_names_have_their_own():
    limits = {"a": Threshold(0.2, 0.6, {"dog": (0.1, 0.3)})}
    assert [verdict("cat", {"a": score}, limits, Rules()) for score in (0.1, 0.2, 0.59, 0.6)] == [
        "hallucinated", "uncertain", "uncertain", "factual",
    ]  # fmt: skip
    assert verdict("dog", {"a": 0.3}, limits, Rules()) == "factual"
    with pytest.raises(ConfigError, match="threshold"):
        Threshold(0.6, 0.5)


def choices(rules, classes=CLASSES):
    return {next_sentence(classes, rules, seed) for seed in range(20)}


def test_the_context_grows_as_in_table_4():
    assert choices(rules_of({})) == {0, 3}, "coherent first, as in the paper"
    assert choices(rules_of({"mode": "released"})) == {1, 5}, "agnostic first, as in the released code"
    assert choices(Rules(growth="hallucinated")) == {2, 6}
    poor = CLASSES._replace(coherent=(), agnostic=())
    assert choices(Rules(), poor) == {4}, "without objects, before uncertain ones"
    assert choices(Rules(), poor._replace(plain=())) == {7}
    assert choices(Rules(otherwise="stop"), poor) == {None}
    assert choices(rules_of({"mode": "released"}), poor) == {2, 4, 6, 7}, "anything, even hallucinated"
    assert choices(Rules(), Classes((), (), (2,), (), ())) == {None}


@pytest.mark.parametrize(
    ("pairing", "known", "message"),
    [
        ("likely", {}, r"pairing='likely' needs the log-probability of each sentence, and sentence 0 has none"),
        ("likely", {"logps": {0: -1.0, 3: -1.0, 2: -1.0}}, "sentence 6 has none"),
        ("alike", {}, r"pairing='alike' needs the text of each sentence, and sentence 0 has none"),
        ("alike", {"texts": {0: "a", 2: "b", 6: "c"}}, "sentence 3 has none"),
    ],
)
def test_an_order_of_pairs_needs_what_it_orders_by(pairing, known, message):
    with pytest.raises(ConfigError, match=message):
        pairs_of(CLASSES, Rules(pairing=pairing), first=False, **known)
    assert pairs_of(CLASSES._replace(coherent=(), hallucinated=()), Rules(pairing=pairing), first=False, **known) == []


def test_unknown_rules_are_refused():
    with pytest.raises(ConfigError, match=r"rules.growth='wild'.*natural"):
        rules_of({"growth": "wild"})
    with pytest.raises(ConfigError, match=r"'grows'.*growth"):
        rules_of({"grows": "natural"})
    with pytest.raises(ConfigError, match=r"rules.mode='both'"):
        rules_of({"mode": "both"})


@given(
    st.dictionaries(st.integers(0, 20), st.lists(st.sampled_from(sorted(VERDICTS)), max_size=3)),
    st.sets(st.sampled_from(sorted(VERDICTS))),
    st.sampled_from(["coherent", "agnostic", "both"]),
    st.booleans(),
)
def test_pairs_obey_their_law(sentences, named, positives, first):
    """Each sentence is in one class and in at most one pair; winners are all factual, losers hallucinate."""
    classes = classify(sentences, VERDICTS, named, Rules())
    assert sorted(number for each in classes for number in each) == sorted(sentences)
    pairs = pairs_of(classes, Rules(positives=positives), first=first)
    used = [number for pair in pairs for number in pair[:2]]
    assert len(used) == len(set(used))
    for win, lose, kind in pairs:
        assert {VERDICTS[name] for name in sentences[win]} == {"factual"}
        assert "hallucinated" in {VERDICTS[name] for name in sentences[lose]}
        assert first or (kind == "y+") == bool(named & set(sentences[win]))
