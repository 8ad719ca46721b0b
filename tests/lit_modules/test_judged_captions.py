"""Captions of sentences that a judge chooses among samples, and the filter whose judges are detectors."""

import math

import instruct_tiny
import preference_tiny
import pytest
import torch
from PIL import Image

from vision_suite.callbacks.sentence_filter import SentenceFilter
from vision_suite.errors import ConfigError
from vision_suite.lit_modules import captions
from vision_suite.lit_modules.captions import CaptionConfig, judged_captions, object_means
from vision_suite.models.mllm.sampling import Candidate
from vision_suite.text.lexicon import Lexicon
from vision_suite.types.conversations import ImageRef, Row


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return instruct_tiny.squares(instruct_tiny.write_squares(tmp_path_factory.mktemp("set") / "squares"))


@pytest.fixture
def told(data, monkeypatch):
    """Sentences by the caption so far, in place of samples; the captions that were asked for."""
    answers = {
        "": ["one", "two"], "two": ["red", "one"], "two one": ["green", ""], "one": ["red"],
    }  # fmt: skip
    asked = []

    def sample(model, chat, prompt, count, *, seed, temperature, max_new_tokens):
        start = int((prompt["labels"] == -100).sum(1))
        context = chat.decode(prompt["input_ids"][0, start:].tolist()).strip()
        asked.append((context, seed))
        texts = answers[context]
        return [Candidate(text, tuple(chat.answer(text, end_of_turn=False)), 0.0, not text) for text in texts]

    monkeypatch.setattr(captions, "sample_sentences", sample)
    return asked


def written(data, judge, **settings):
    net = preference_tiny.module(data)
    batch = {**preference_tiny.batch(data, [4], context=""), "index": torch.tensor([4])}
    ids = judged_captions(net.model, data.chat, batch, judge, CaptionConfig(**settings))[0]
    return data.chat.decode(ids[ids >= 0].tolist()).strip(), int(ids[-1]) in data.chat.end_ids


def test_the_first_clean_sentence_is_taken(data, told):
    def judge(index, context, texts):
        return [each == "two" or (each == "one" and context != "") for each in texts]

    assert written(data, judge) == ("two one", True), "an empty sentence ends the answer"
    assert [context for context, _ in told] == ["", "two", "two one"]
    assert len({seed for _, seed in told}) == len(told), "each step has a seed of its own"


def test_a_caption_ends_where_nothing_is_clean(data, told):
    assert written(data, lambda index, context, texts: [each == "two" for each in texts]) == ("two", True)


def test_the_first_sentence_is_written_anyway(data, told):
    assert written(data, lambda index, context, texts: [False] * len(texts)) == ("one", True)


def test_a_caption_is_cut_at_its_longest(data, told):
    assert written(data, lambda index, context, texts: [True] * len(texts), max_new_tokens=1) == ("one", False)


def test_means_of_tasks():
    metrics = {"chair_i/a": 0.5, "recall/a": 0.5, "words/a": 10.0, "chair_i/b": 0.0, "recall/b": 1.0, "words/b": 20.0,
               "pope_f1/c": 0.1}  # fmt: skip
    found = object_means(metrics)
    assert found == {"object_f1": 0.75, "object_precision": 0.75, "object_recall": 0.75, "words": 15.0}
    assert object_means({"chair_i/a": 1.0, "recall/a": 0.0})["object_f1"] == 0.0
    assert object_means({"pope_f1/c": 0.1}) == {}


class Table:
    """A detector that has a table of scores, and counts its questions."""

    def __init__(self, scores):
        self.scores, self.asked = scores, []

    def score(self, images, queries):
        self.asked += queries[0]
        return [{name: self.scores.get(name, math.nan) for name in names} for names in queries]


def test_the_filter_wants_every_detector_to_find_everything(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    Image.new("RGB", (8, 8)).save(path)
    judge = SentenceFilter({"a": "a.ckpt", "b": "b.ckpt"})
    one, two = Table({"dog": 0.9, "cat": 0.9, "cow": 0.2}), Table({"dog": 0.6, "cat": 0.1})
    judge._detectors = [(one, 0.5), (two, 0.5)]
    judge._rows = [Row("r", images=(ImageRef(path),), source="scenes")]
    judge._words = {"scenes": Lexicon([["dog", "puppy"], ["cat"], ["cow"], ["owl"]])}
    texts = ["A puppy.", "A dog and a cat.", "A cow.", "An owl.", "Blue sky."]
    assert judge.clean(0, "", texts) == [True, False, False, False, True]
    assert judge.clean(0, "A puppy.", texts[:2]) == [True, False]
    assert sorted(one.asked) == ["cat", "cow", "dog", "owl"], "each name is asked once a picture"
    lines = []
    monkeypatch.setattr("vision_suite.callbacks.sentence_filter.rank_zero_info", lines.append)
    judge.on_predict_end(None, None)
    assert lines == ["SentenceFilter: refused 4 of 7 sentences"]


def test_a_filter_without_detectors():
    with pytest.raises(ConfigError, match="SentenceFilter has no detectors"):
        SentenceFilter({})
