"""AMBER: the oracle of captions and questions, the released script written out, and the released files."""

import json
from collections import Counter

import pytest
from folders import ROOT

from vision_suite.errors import DataError
from vision_suite.metrics.hallucination import amber
from vision_suite.metrics.hallucination.amber import AmberAnswer, amber_finding, noun_finding, question_percentages
from vision_suite.metrics.hallucination.captions import caption_counts
from vision_suite.text.amber import AmberWords

FOLDER = ROOT.parent / "shared" / "data" / "amber"
needs_files = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"AMBER's files are not in {FOLDER}")
SHOWN = "sky forest grass person lake mountain road".split()
EXPECTED = "cloud sun bird dog flower".split()
RELATED = {
    "sky": [], "forest": ["tree", "leave", "bush"], "grass": ["ground"], "lake": ["water"], "mountain": ["hill"],
    "person": ["people", "individual", "man", "woman", "boy", "girl"], "road": ["path", "street", "ground"],
    "cloud": [], "sun": [], "bird": [], "dog": [], "flower": [], "car": ["vehicle"], "light": [], "banana": [],
}  # fmt: skip
NOUNS = (
    "man sky mountain mountain dog car light tree banana zzz".split(),
    "sky grass person".split(),
)
PERCENTAGES = {"CHAIR": 25.0, "Cover": 50.0, "Hal": 50.0, "Cog": 10.0}


def words(**settings):
    return AmberWords(RELATED, ["light", "orange"], **settings)


def test_the_oracle_of_captions():
    found = [noun_finding(nouns, SHOWN, EXPECTED, words()) for nouns in NOUNS]
    assert [len(finding.named) for finding in found] == [9, 3]
    wrong = [name for name, made_up in zip(found[0].named, found[0].made_up, strict=True) if made_up]
    assert wrong == ["dog", "car", "banana"]
    assert [name for name, covered in zip(SHOWN, found[0].covered, strict=True) if covered] == [
        "sky", "forest", "person", "mountain",
    ]  # fmt: skip
    assert amber.amber_percentages(caption_counts(found)) == PERCENTAGES
    assert amber.amber_scores(found) == {
        "amber_chair": 0.25, "amber_cover": 0.5, "amber_hal": 0.5, "amber_cog": 0.1,
    }  # fmt: skip


def test_texts_give_the_same_as_their_nouns():
    """Without a tagger every word of the vocabulary counts, in the plural too."""
    texts = (
        "A man, sky, mountains. A mountain and dogs; the car, light, trees and bananas, zzz.",
        "Sky, grass, a person.",
    )
    found = [amber_finding(text, SHOWN, EXPECTED, words()) for text in texts]
    assert amber.amber_percentages(caption_counts(found)) == PERCENTAGES
    assert found[0].sentences == 2
    assert found[0].sentence == (0, 0, 0, 1, 1, 1, 1, 1, 1)


def test_a_tagger_decides_what_counts():
    def tagger(text):
        return [("dog", 4, 8), ("leaves", 0, 3)]

    assert [mention.text for mention in words(tagger=tagger).find("The dogs leave")] == ["dogs"]


def test_a_related_word_marks_the_first_object_that_has_it_and_only_that():
    """Related words come before the objects themselves, as in the released script."""
    finding = noun_finding(["ground", "road"], ["grass", "road"], [], words())
    assert finding.covered == (True, True)
    assert noun_finding(["ground"], ["road", "grass", "road"], [], words()).covered == (True, False, False)
    assert noun_finding(["sky"], ["sky", "sky"], [], words()).covered == (True, False), "the second is not named"


def test_a_similar_word_excuses_a_mention_and_still_marks_an_expected_one():
    pairs = {("car", "road"), ("car", "dog")}
    alike = words(similarity=lambda one, two: 0.9 if (one, two) in pairs else 0.8)
    finding = noun_finding(["car"], ["road"], ["dog"], alike)
    assert finding.made_up == (False,)
    assert (finding.covered, finding.expected) == ((True,), (True,))
    assert "similar word vectors" in alike.rule
    assert "equal words" in words().rule


def test_the_oracle_of_questions():
    truths = ["yes"] * 4 + ["no"] * 6
    given = "Yes, Yes, No, maybe, No, No, No, No, Yes, Yes".split(", ")
    answers = [
        AmberAnswer("relation", truth, amber.reference_answer(text)) for truth, text in zip(truths, given, strict=True)
    ]
    found = question_percentages(answers)
    assert found["all"] == {"accuracy": 60.0, "precision": 80.0, "recall": 66.7, "f1": 72.7}
    assert found["relation"] == found["all"]


def test_kinds_of_questions_fall_into_dimensions():
    kinds = ["discriminative-hallucination", *amber.ATTRIBUTES.values(), "discriminative-relation", "new"]
    answers = [AmberAnswer(kind, "no", "no") for kind in kinds]
    found = question_percentages(answers)
    assert list(found) == ["all", "existence", "attribute", "state", "number", "action", "relation"]
    assert question_percentages(answers[:1])["existence"]["f1"] == pytest.approx(99.9, abs=0.11)
    assert "attribute" not in question_percentages(answers[:1])


def test_a_word_that_the_table_lacks_is_one_line():
    with pytest.raises(DataError, match=r"AMBER's relation.json has no object 'yeti'"):
        noun_finding(["sky"], ["yeti"], [], words())


@pytest.mark.parametrize("text", ["[]", '{"a": "b"}', '{"a": [""]}', "{", '{"a": [1]}'])
def test_a_damaged_table_is_one_line(tmp_path, text):
    (tmp_path / "relation.json").write_text(text)
    (tmp_path / "safe_words.txt").write_text("light\n")
    with pytest.raises(DataError, match=r"relation.json .*give AMBER's folder data"):
        AmberWords.load(tmp_path)


def released_script(nouns, entry, related, safe):
    """Counts of one caption by the flags of AMBER's ``inference.py``, similarity left out."""
    known = {word for name, others in related.items() for word in (name, *others)}
    kept = [noun for noun in nouns if noun in known]

    def flags(names):
        listed = [(word, place) for place, name in enumerate(names) for word in related[name]]
        return listed + [(name, place) for place, name in enumerate(names)], set()

    (shown, covered), (likely, cog) = flags(entry["truth"]), flags(entry["hallu"])
    wrong = 0
    for noun in kept:
        if noun in safe:
            continue
        for listed, marked in ((shown, covered), (likely, cog)):
            place = next((place for word, place in listed if word == noun), None)
            if place is not None:
                marked.add(place)
            if marked is covered and place is not None:
                break
        else:
            wrong += 1
    return len(kept), wrong, len(covered), len(cog)


@needs_files
def test_the_released_annotations_are_counted_and_judged():
    entries = json.loads((FOLDER / "annotations.json").read_text())
    kinds = Counter(entry["type"] for entry in entries)
    assert kinds == {
        "generative": 1004, "discriminative-hallucination": 4924, "discriminative-attribute-state": 4764,
        "discriminative-attribute-number": 2072, "discriminative-attribute-action": 792,
        "discriminative-relation": 975, "relation": 689,
    }  # fmt: skip
    table = AmberWords.load(FOLDER)
    assert (len(table.related), len(table.vocabulary), len(table.safe)) == (340, 418, 9)
    pool = list(table.vocabulary)
    found, expected = [], []
    for number, entry in enumerate(entries[:1004]):
        nouns = [
            *entry["truth"][::2],
            *entry["hallu"][::2],
            *(pool[(number * 7 + step * 31) % 418] for step in range(5)),
        ]
        finding = noun_finding([*nouns, "zzz"], entry["truth"], entry["hallu"], table)
        found.append((len(finding.named), sum(finding.made_up), sum(finding.covered), sum(finding.expected)))
        expected.append(released_script(nouns, entry, table.related, table.safe))
    assert found == expected
    assert sum(wrong for _, wrong, *_ in found) > 1000


@needs_files
def test_the_oracle_with_the_released_words():
    entry = json.loads((FOLDER / "annotations.json").read_text())[0]
    table = AmberWords.load(FOLDER)
    found = [noun_finding(nouns, entry["truth"], entry["hallu"], table) for nouns in NOUNS]
    assert amber.amber_percentages(caption_counts(found)) == PERCENTAGES


@needs_files
def test_always_no_on_the_released_questions():
    """Existence is all no, so that answer is right there; the attributes are half and half."""
    entries = [
        entry for entry in json.loads((FOLDER / "annotations.json").read_text()) if entry["type"] != "generative"
    ]
    found = question_percentages(AmberAnswer(entry["type"], entry["truth"], "no") for entry in entries)
    assert found["existence"]["accuracy"] == 100.0
    assert found["state"]["accuracy"] == 50.0
    assert found["relation"]["accuracy"] == round(689 / (975 + 689) * 100, 1)
    assert found["all"]["recall"] == 100.0
