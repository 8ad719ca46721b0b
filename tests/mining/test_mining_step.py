"""The step: what it asks, how the context grows, why a picture ends."""

import pickle

import pytest
from mining_tiny import Sentence, TinySampler, WordExtractor, read_tiny, tiny_items, tiny_step

from vision_suite.mining.decide import Threshold, rules_of
from vision_suite.mining.step import GREEDY, MiningImage, MiningStep, State, after, seed_of

ITEM = MiningImage("p", "1", "What is there?")
IMAGE, _ = read_tiny("1")
CAT = Sentence("A cat sits.")


class Scripted:
    """Sampler with given sentences for each step; a list of its calls."""

    def __init__(self, *steps, greedy=CAT):
        self.steps, self.greedy, self.calls = steps, greedy, []

    def __call__(self, image, question, context, *, count, seed, greedy=False):
        self.calls.append((question, context, count, seed, greedy))
        return [self.greedy] if greedy else self.steps[min(len(self.calls), len(self.steps)) - 1]


class Facts:
    """Detector of a cat and a dog; a list of what it was asked."""

    def __init__(self):
        self.asked = []

    def score(self, images, queries):
        self.asked.append(queries[0])
        return [{name: float(name in ("cat", "dog")) for name in queries[0]}]


def step_of(*steps, **rules):
    sampler = Scripted(
        *([Sentence(*each) if isinstance(each, tuple) else Sentence(each) for each in step] for step in steps)
    )
    return MiningStep(sampler, WordExtractor(), {"truth": Facts()}, {"truth": Threshold(0.5, 0.5)}, rules_of(rules), 4)


def test_two_steps_by_hand():
    step = step_of(
        ["A cat sits.", "A bus waits.", "A cat sits.", "A fork lies."],
        [" The cat sees a dog. ", ("The cat has a fork.", (1, 2, 3), -4.0, True), "A dog.", ""],
    )
    first = step(ITEM, IMAGE, State())
    assert [row.names for row in first.candidates] == [("cat",), ("bus",), ("cat",), ("fork",)]
    assert first.pairs == ((0, 1, "y+"),), "a repeated sentence counts once"
    assert (first.chosen, first.stop) == (0, "")
    assert first.scores == {"truth": {"cat": 1.0, "bus": 0.0, "fork": 0.0}}
    state = after(State(), first)
    assert state == State(1, "A cat sits.", ("cat",), first.scores)
    second = step(ITEM, IMAGE, state)
    assert step.detectors["truth"].asked == [["cat", "bus", "fork"], ["dog"]], "known objects are not asked again"
    assert second.pairs == ((0, 1, "y+"),), "the coherent one, not the agnostic one"
    assert second.candidates[1].ended_with_eos
    assert second.candidates[1].n_tokens == 3
    assert after(state, second).context == "A cat sits. The cat sees a dog."
    asked = [(question, context, count) for question, context, count, _, _ in step.sampler.calls]
    assert asked == [("What is there?", "", 4), ("What is there?", "A cat sits.", 4)]


def ending(*steps, **rules):
    rows = list(step_of(*steps, **rules).whole(ITEM, IMAGE))
    return len(rows), rows[-1].stop, rows[-1].chosen


def test_a_picture_ends_with_its_answer():
    over = ("", (), -0.1, True)
    last = ("A dog.", (1,), -1.0, True)
    assert ending(["A cat sits."] * 4, [over, over, over, "A dog."]) == (2, "ended", None)
    assert ending(["A cat sits."] * 4, [over, over, last, last]) == (2, "ended", 2), "half of them is not enough"
    assert ending(["A bus waits."] * 4) == (1, "no_sentence", None)
    assert ending(["A cat sits."], max_sentences=3) == (3, "longest", 0)
    assert ending([]) == (1, "no_room", None)


def test_the_released_end_is_low_diversity():
    many = ["A cat sits.", "A dog.", "A cat and a dog.", "A bus."]
    few = ["A dog."] * 3 + [""]
    assert ending(many, few, mode="released")[:2] == (2, "diversity")
    assert ending(["A bus waits.", "A fork.", "A bus.", "Forks."], few, mode="released")[0] == 2, "anything goes on"


def test_natural_growth_takes_the_likeliest_sentence():
    step = step_of(["A dog.", "A bus waits.", "A dog.", "A fork."], growth="natural")
    rows = step(ITEM, IMAGE, State())
    assert rows.candidates[0].k == rows.chosen == GREEDY
    assert step.sampler.calls[1][2:] == (1, rows.seed, True)
    assert after(State(), rows).context == "A cat sits."
    assert [pair[:2] for pair in rows.pairs] == [(0, 1)], "it is in no pair"
    step.sampler.greedy = Sentence("", (), 0.0, True)
    assert step(ITEM, IMAGE, State()).stop == "ended"


def test_seeds_depend_on_run_picture_step_and_use():
    seeds = [
        seed_of(1, "p", 0),
        seed_of(2, "p", 0),
        seed_of(1, "q", 0),
        seed_of(1, "p", 1),
        seed_of(1, "p", 0, "context"),
    ]
    assert len(set(seeds)) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of(1, "p", 0) == 1567995520963437564, "written down once: stored runs go on with equal draws"


def test_a_step_is_the_same_in_another_process():
    step = tiny_step()
    copy = pickle.loads(pickle.dumps(step))
    for item in tiny_items(3):
        image, _ = read_tiny(item.path)
        assert repr(list(copy.whole(item, image))) == repr(list(step.whole(item, image)))  # NaN is not equal to itself


@pytest.mark.parametrize("rules", [{}, {"mode": "released"}, {"growth": "hallucinated"}, {"otherwise": "stop"}])
def test_every_picture_ends(rules):
    for item in tiny_items(6):
        steps = list(tiny_step(TinySampler(), **rules).whole(item, read_tiny(item.path)[0]))
        assert [bool(rows.stop) for rows in steps] == [False] * (len(steps) - 1) + [True]
        assert [rows.step for rows in steps] == list(range(len(steps)))
