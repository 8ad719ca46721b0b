"""The report against the oracles, and what must not change it: order, gaps, and lengths set equal."""

import math

import pytest

from vision_suite.errors import DataError
from vision_suite.metrics.hallucination.chair import chair_finding
from vision_suite.metrics.hallucination.matched import at_length, at_recall, by_length, cut
from vision_suite.metrics.hallucination.report import hallucination_report
from vision_suite.text.amber import AmberWords
from vision_suite.text.coco import CocoWords
from vision_suite.text.lexicon import Lexicon
from vision_suite.types.preference import HallucinationItem

SCENES = Lexicon([["fox"], ["pizza", "pie"], ["kite"]])
AMBER = AmberWords({"sky": [], "dog": [], "light": [], "forest": ["tree"]}, ["light"])
ITEMS = (
    HallucinationItem("c0", "chair", "scenes", objects=("fox", "kite")),
    HallucinationItem("c1", "chair", "scenes", objects=("pizza",)),
    HallucinationItem("h0", "object_halbench", "bench", objects=("person",)),
    HallucinationItem("a0", "amber", "captions", objects=("forest", "sky", "sky"), hallucinated=("dog",)),
    HallucinationItem("q0", "pope", "random", answer="yes"),
    HallucinationItem("q1", "pope", "random", answer="no"),
    HallucinationItem("d0", "amber_question", "questions", answer="no", type="discriminative-hallucination"),
    HallucinationItem("c2", "chair", "scenes", objects=("fox",)),
)
TEXTS = {
    0: "A fox. A pie and a kite.",
    1: "A pizza.",
    2: "A man and a pedestrian walk a dog.",
    3: "Trees, light and a dog below the sky.",
    4: "Yes.",
    5: "NO",
    6: "no",
}
WORDS = {"scenes": SCENES, "captions": AMBER}
ENDED = {0: True, 1: False, 2: True, 3: True}


def report(texts=TEXTS, **settings):
    given = {"protocol": {"warnings": ["from the data"]}, "words": WORDS, "ended": ENDED, **settings}
    return hallucination_report(ITEMS, texts, **given)


def test_every_rate_has_length_and_recall_beside_it():
    found = report().metrics
    assert found["chair_i/scenes"] == 1 / 4
    assert found["chair_s/scenes"] == 1 / 2
    assert found["recall/scenes"] == 3 / 3
    assert found["object_halbench_rule_mention/bench"] == 1 / 3
    assert found["amber_chair/captions"] == 1 / 4
    assert found["amber_cover/captions"] == found["recall/captions"] == 2 / 3
    assert found["amber_cog/captions"] == 1.0
    for task, words, sentences in (("scenes", 9 / 2, 3 / 2), ("bench", 8, 1), ("captions", 8, 1)):
        assert (found[f"words/{task}"], found[f"sentences/{task}"]) == (words, sentences)
        assert f"recall/{task}" in found
    assert (found["ended/scenes"], found["ended/bench"]) == (0.5, 1.0)


def test_questions_are_read_in_both_ways():
    found = report().metrics
    assert (found["pope_accuracy/random"], found["pope_accuracy_reference/random"]) == (1.0, 0.5)
    assert found["pope_invalid/random"] == 0.0
    assert found["amber_existence_accuracy/questions"] == pytest.approx(99.9)
    assert found["amber_existence_accuracy_reference/questions"] == 0.0, "the benchmark wants No, exactly"
    assert not any(math.isnan(value) for value in found.values())


def test_the_protocol_says_how_and_what_is_missing():
    facts = report().protocol
    assert facts["items"] == {"judged": 7, "not_reached": 1}
    assert facts["words"]["bench"].startswith("CHAIR, refined words")
    assert "equal words" in facts["words"]["captions"]
    assert facts["warnings"] == ["from the data", "scenes: 1 of 2 captions reached the limit of their length"]


def test_answers_hold_what_a_picture_of_them_shows():
    first, second = report().answers[:2]
    assert (first["named"], first["made_up"], first["missed"]) == (["fox", "pizza", "kite"], ["pizza"], [])
    assert (first["sentences"], second["sentences"]) == ([(1, 0), (1, 1)], [(1, 0)])
    assert report().answers[3]["missed"] == ["sky"], "AMBER's annotation has the sky twice, a mention covers one"
    assert report().positions["scenes"] == [(2, 0), (1, 1)]
    assert [answer["index"] for answer in report().answers] == [0, 1, 2, 3, 4, 5, 6]


def test_the_order_of_texts_does_not_matter():
    assert report(dict(reversed(TEXTS.items()))) == report()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: report({}), "no text was judged"),
        (lambda: report({99: "A fox."}), "a text of item 99 of 8"),
        (lambda: report(words={}), "task 'captions' needs AMBER's words"),
        (
            lambda: hallucination_report(
                [ITEMS[0], HallucinationItem("x", "pope", "scenes", answer="no")], {0: "", 1: ""}, protocol={}
            ),
            "task 'scenes' has items of chair and pope",
        ),
        (
            lambda: hallucination_report([HallucinationItem("x", "pope", "t", answer="No")], {0: "No"}, protocol={}),
            "question 'x' has the answer 'No': give yes or no",
        ),
    ],
)
def test_wrong_inputs_are_one_line(call, said):
    with pytest.raises(DataError, match=said):
        call()


def rows(texts, objects=("dog", "person", "bench")):
    return by_length(lambda _, text: chair_finding(text, objects, CocoWords()), dict(enumerate(texts)))


def test_captions_are_cut_behind_each_number_of_sentences():
    found = rows(["A dog. A man. A cat.", "A dog."])
    assert [row["reached"] for row in found] == [2, 1, 1]
    assert [row["made_up"] for row in found] == [0.0, 0.0, 1 / 4]
    assert [row["recall"] for row in found] == [2 / 6, 3 / 6, 3 / 6]
    assert [row["words"] for row in found] == [2.0, 3.0, 4.0]
    assert cut("One. Two", 5) == "One. Two"
    assert report().protocol["by_length"]["scenes"][-1]["made_up"] == report().metrics["chair_i/scenes"]


def test_models_are_compared_at_equal_length_and_recall():
    """The long one makes more up only because it says more: cut to the other's recall, it makes up as little."""
    models = {"long": rows(["A dog. A man and a bench. A cat and a bus."]), "short": rows(["A dog."])}
    assert at_length(models, 1)["long"]["made_up"] == at_length(models, 1)["short"]["made_up"] == 0.0
    assert at_length(models, 9)["long"] == models["long"][-1]
    assert at_recall(models) == {"long": 0.0, "short": 0.0}
    assert math.isnan(at_recall(models, 0.9)["short"])
    half = at_recall({"mixed": rows(["A dog. A cat and a man."])}, 0.5)["mixed"]
    assert half == pytest.approx(1 / 6), "half of the way from recall 1/3 to 2/3, and from 0 to 1/3"
    assert at_recall({}) == {}
