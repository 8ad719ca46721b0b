"""One step of mining: sentences that the model writes next, their objects, the detectors' scores, pairs, the context.

A step knows no store and keeps no state, so that it may run in any process: what it needs of a picture's earlier steps
comes in as a `State`, and what it found goes out as `StepRows`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from PIL import Image

from vision_suite.mining.decide import (
    Classes,
    Rules,
    Threshold,
    classify,
    distinct,
    next_sentence,
    too_uniform,
    verdict,
)
from vision_suite.mining.pairing import Pair, pairs_of

GREEDY = -1  # number of the likeliest sentence, which is in no pair


class Sampled(Protocol):
    """Part of `vision_suite.models.mllm.sampling.Candidate` that mining uses."""

    @property
    def text(self) -> str:
        """The sentence; empty if the answer ends at once."""

    @property
    def ids(self) -> Sequence[int]:
        """Its ids."""

    @property
    def logp(self) -> float:
        """Log-probability of the ids."""

    @property
    def ended(self) -> bool:
        """The answer ended behind it."""


class Sampler(Protocol):
    """Model that writes the next sentence of an answer several times."""

    def __call__(
        self, image: Image.Image, question: str, context: str, *, count: int, seed: int, greedy: bool = False
    ) -> Sequence[Sampled]:
        """Sentences; none if the model has no room for another one."""


class Extractor(Protocol):
    """Names of the objects in a sentence."""

    def names(self, sentence: str, context: str = "") -> list[str]:
        """Representatives in the order of mention."""


class Scorer(Protocol):
    """Part of a detector that mining uses."""

    def score(self, images: Sequence[Image.Image], queries: Sequence[Sequence[str]]) -> list[dict[str, float]]:
        """Score of each query for each picture, NaN where the detector does not know the name."""


@dataclass(frozen=True)
class MiningImage:
    """A picture to mine.

    Attributes:
        id: Name in its list.
        path: File of the picture.
        question: What is asked about it.
    """

    id: str
    path: str
    question: str


@dataclass(frozen=True)
class State:
    """State of a picture after a step, which the next one needs.

    Attributes:
        step: Number of the next step.
        context: Answer so far.
        named: Objects that it names.
        scores: Known scores of the picture's objects, by detector and name.
    """

    step: int = 0
    context: str = ""
    named: tuple[str, ...] = ()
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class CandidateRow:
    """A sampled sentence.

    Attributes:
        k: Number in its step; -1 for the likeliest one of natural growth.
        text: The sentence.
        n_tokens: Its number of ids.
        logp: Log-probability of the ids.
        ended_with_eos: The model ended its answer behind it.
        names: Its objects in the order of mention, repetitions included.
    """

    k: int
    text: str
    n_tokens: int
    logp: float
    ended_with_eos: bool
    names: tuple[str, ...]


@dataclass(frozen=True)
class StepRows:
    """Findings of a step.

    Attributes:
        image_id: Picture.
        step: Number of the step.
        context: Answer before the step.
        seed: Seed of its draws.
        candidates: Sampled sentences.
        scores: New scores by detector and name.
        chosen: Number of the sentence that extends the context, None for none.
        stop: Why the picture ends here (ended, diversity, no_sentence, no_room, longest), empty if it goes on.
        pairs: Pairs by the step's own rules and thresholds.
    """

    image_id: str
    step: int
    context: str
    seed: int
    candidates: tuple[CandidateRow, ...]
    scores: Mapping[str, Mapping[str, float]]
    chosen: int | None
    stop: str
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class MiningStep:
    """The step, with everything that it asks.

    Attributes:
        sampler: Model.
        extractor: Names of objects in sentences.
        detectors: Detectors by name; all score every object, those with a threshold decide.
        thresholds: Limits of the detectors that decide.
        rules: Rules.
        count: Sentences of a step (paper: 10).
        seed: Seed of the run.
    """

    sampler: Sampler
    extractor: Extractor
    detectors: Mapping[str, Scorer]
    thresholds: Mapping[str, Threshold]
    rules: Rules = field(default_factory=Rules)
    count: int = 10
    seed: int = 0

    def __call__(self, item: MiningImage, image: Image.Image, state: State) -> StepRows:
        """Run the next step of a picture.

        Args:
            item: Picture.
            image: Its pixels, RGB.
            state: What its earlier steps left; a new `State` for the first one.
        """
        seed = seed_of(self.seed, item.id, state.step)
        found = self.sampler(image, item.question, state.context, count=self.count, seed=seed)
        drawn = list(enumerate(found))
        if found and self.rules.growth == "natural":
            likeliest = self.sampler(image, item.question, state.context, count=1, seed=seed, greedy=True)
            drawn = [(GREEDY, likeliest[0]), *drawn]
        names: dict[str, tuple[str, ...]] = {}
        for _, each in drawn:
            text = each.text.strip()
            if text not in names:
                names[text] = tuple(self.extractor.names(text, state.context)) if text else ()
        rows = tuple(
            CandidateRow(k, text := each.text.strip(), len(each.ids), float(each.logp), bool(each.ended), names[text])
            for k, each in drawn
        )
        new = self._scores(image, [name for each in rows for name in each.names], state)
        scores = joined(state.scores, new)
        classes, pairs = decide(rows, state.named, not state.context, scores, self.thresholds, self.rules)
        chosen, stop = self._next(rows, classes, state.step, seed_of(self.seed, item.id, state.step, "context"))
        return StepRows(item.id, state.step, state.context, seed, rows, new, chosen, stop, tuple(pairs))

    def whole(self, item: MiningImage, image: Image.Image, state: State | None = None) -> Iterator[StepRows]:
        """Run the steps of a picture to its end, from a state or from the beginning."""
        state = state or State()
        while True:
            rows = self(item, image, state)
            yield rows
            if rows.stop:
                return
            state = after(state, rows)

    def _scores(self, image: Image.Image, names: Sequence[str], state: State) -> dict[str, dict[str, float]]:
        """Scores that are not known yet."""
        found: dict[str, dict[str, float]] = {}
        for detector, scorer in self.detectors.items():
            known = state.scores.get(detector, {})
            asked = [name for name in dict.fromkeys(names) if name not in known]
            if asked:
                (scored,) = scorer.score([image], [asked])
                found[detector] = {name: float(scored[name]) for name in asked}
        return found

    def _next(self, rows: Sequence[CandidateRow], classes: Classes, step: int, seed: int) -> tuple[int | None, str]:
        """Number of the sentence that extends the context, and why the picture ends."""
        drawn = [row for row in rows if row.k != GREEDY]
        if not drawn:
            return None, "no_room"
        if self.rules.stop == "ended" and 2 * sum(not row.text and row.ended_with_eos for row in drawn) > len(drawn):
            return None, "ended"
        natural = self.rules.growth == "natural"
        chosen = (GREEDY if rows[0].text else None) if natural else next_sentence(classes, self.rules, seed)
        if self.rules.stop == "diversity" and too_uniform([row.text for row in drawn]):
            return chosen, "diversity"
        if chosen is None:
            return None, "ended" if natural and rows[0].ended_with_eos else "no_sentence"
        if self.rules.stop == "ended" and next(row for row in rows if row.k == chosen).ended_with_eos:
            return chosen, "ended"
        return chosen, "longest" if step + 1 >= self.rules.max_sentences else ""


def seed_of(run_seed: int, image_id: str, step: int, use: str = "sentences") -> int:
    """Seed of a step: a hash, so that it depends on no other step and on no order (0 to 2^63 - 1)."""
    digest = hashlib.sha256(f"{run_seed}\0{image_id}\0{step}\0{use}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def decide(
    rows: Sequence[CandidateRow],
    named: Sequence[str],
    first: bool,
    scores: Mapping[str, Mapping[str, float]],
    thresholds: Mapping[str, Threshold],
    rules: Rules,
) -> tuple[Classes, list[Pair]]:
    """Classes and pairs of a step's sentences, by any rules and thresholds.

    Args:
        rows: Candidates of the step.
        named: Objects that the context names.
        first: The context is empty.
        scores: Scores of all objects, by detector and name.
        thresholds: Limits of the detectors that decide.
        rules: Rules.
    """
    drawn = [row for row in rows if row.k != GREEDY]
    kept = [drawn[number] for number in distinct([row.text for row in drawn])]
    every = dict.fromkeys(name for row in kept for name in row.names)
    verdicts = {
        name: verdict(name, {each: scores[each][name] for each in thresholds}, thresholds, rules) for name in every
    }
    classes = classify({row.k: row.names for row in kept}, verdicts, set(named), rules)
    logps, texts = {row.k: row.logp for row in kept}, {row.k: row.text for row in kept}
    return classes, pairs_of(classes, rules, first=first, logps=logps, texts=texts)


def after(state: State, rows: StepRows) -> State:
    """The state behind a step that did not end its picture."""
    chosen = next((row for row in rows.candidates if row.k == rows.chosen), None)
    text, names = (chosen.text, chosen.names) if chosen else ("", ())
    return State(
        rows.step + 1,
        f"{state.context} {text}".strip(),
        tuple(dict.fromkeys((*state.named, *names))),
        joined(state.scores, rows.scores),
    )


def joined(
    known: Mapping[str, Mapping[str, float]], new: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Known and new scores by detector and name."""
    return {name: {**known.get(name, {}), **new.get(name, {})} for name in {**known, **new}}
