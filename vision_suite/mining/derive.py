"""Pairs of stored candidates and scores by any rules and thresholds, without model or detector, and their counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from vision_suite.mining.decide import Classes, Rules, Threshold, distinct, verdict
from vision_suite.mining.pairing import Pair
from vision_suite.mining.reading import MinedImage
from vision_suite.mining.step import GREEDY, State, after, decide

Pairs = dict[tuple[str, int], list[Pair]]


@dataclass
class Summary:
    """Counts of a run by certain rules and thresholds.

    Attributes:
        images: Pictures of the run.
        done: Those that came to their end.
        problems: Reason of each picture that could not be read, by its name.
        stops: Pictures by the reason of their end.
        steps: Steps.
        steps_with_context: Those behind a first sentence.
        steps_without_coherent: Those of them without a coherent sentence, which make no pair in the paper.
        steps_with_hallucinated: Steps with a hallucinated sentence.
        candidates: Sentences that were sampled.
        distinct: Distinct ones of each step.
        empty: Answers that ended at once.
        sentences: Distinct sentences by their class.
        objects: Distinct objects of pictures by their verdict.
        pairs: Pairs.
        first_pairs: Those without a context.
        agnostic_pairs: Those whose preferred sentence is not coherent.
        ended_pairs: Those with a sentence behind which the model ended its answer.
        chosen_tokens: Mean length of preferred sentences in tokens.
        rejected_tokens: Mean length of the others.
    """

    images: int = 0
    done: int = 0
    problems: dict[str, str] = field(default_factory=dict)
    stops: dict[str, int] = field(default_factory=dict)
    steps: int = 0
    steps_with_context: int = 0
    steps_without_coherent: int = 0
    steps_with_hallucinated: int = 0
    candidates: int = 0
    distinct: int = 0
    empty: int = 0
    sentences: dict[str, int] = field(default_factory=lambda: dict.fromkeys(Classes._fields, 0))
    objects: dict[str, int] = field(default_factory=lambda: {"factual": 0, "hallucinated": 0, "uncertain": 0})
    pairs: int = 0
    first_pairs: int = 0
    agnostic_pairs: int = 0
    ended_pairs: int = 0
    chosen_tokens: float = 0.0
    rejected_tokens: float = 0.0

    def lines(self) -> list[str]:
        """The counts for a terminal."""
        stops = ", ".join(f"{count} {name}" for name, count in sorted(self.stops.items()))
        objects = ", ".join(f"{count} {name}" for name, count in self.objects.items())
        sentences = ", ".join(f"{count} {name}" for name, count in self.sentences.items())
        share = self.steps_without_coherent / max(self.steps_with_context, 1)
        problems = f", {len(self.problems)} unreadable" if self.problems else ""
        lines = [
            f"pictures    {self.images:,}: {self.done:,} done{problems}" + (f" ({stops})" if stops else ""),
            f"steps       {self.steps:,}, {self.steps_with_hallucinated:,} with a hallucinated sentence",
            f"candidates  {self.candidates:,}: {self.distinct:,} distinct, {self.empty:,} empty",
            f"sentences   {sentences}",
            f"objects     {objects}",
            f"coherence   {self.steps_without_coherent:,} of {self.steps_with_context:,} steps with a context "
            f"({share:.1%}) have no coherent sentence",
            f"pairs       {self.pairs:,}: {self.first_pairs:,} without a context, {self.agnostic_pairs:,} agnostic, "
            f"{self.ended_pairs:,} where an answer ends; mean tokens {self.chosen_tokens:.1f} preferred, "
            f"{self.rejected_tokens:.1f} rejected",
        ]
        return lines + [f"unreadable: {name}: {reason}" for name, reason in sorted(self.problems.items())]


def derive(images: Iterable[MinedImage], thresholds: Mapping[str, Threshold], rules: Rules) -> tuple[Pairs, Summary]:
    """Make the pairs of mined pictures.

    The contexts are those that were grown when the pictures were mined; only verdicts, classes and pairs are new.

    Args:
        images: Pictures with their steps.
        thresholds: Limits of the detectors that decide.
        rules: Rules.

    Returns:
        Pairs by picture and step, and the counts.
    """
    found: Pairs = {}
    summary = Summary()
    stops: Counter[str] = Counter()
    named: set[tuple[str, str]] = set()
    tokens = [0, 0]
    for image in images:
        summary.images += 1
        summary.done += bool(image.stop)
        stops.update([image.stop] if image.stop else [])
        if image.problem:
            summary.problems[image.item.id] = image.problem
        state = State()
        for rows in image.steps:
            first = not rows.context
            classes, pairs = decide(rows.candidates, state.named, first, image.scores, thresholds, rules)
            found[image.item.id, rows.step] = pairs
            drawn = [row for row in rows.candidates if row.k != GREEDY]
            summary.steps += 1
            summary.steps_with_context += not first
            summary.steps_without_coherent += not first and not classes.coherent
            summary.steps_with_hallucinated += bool(classes.hallucinated)
            summary.candidates += len(drawn)
            summary.distinct += len(distinct([row.text for row in drawn]))
            summary.empty += sum(not row.text for row in drawn)
            for name, numbers in classes._asdict().items():
                summary.sentences[name] += len(numbers)
            summary.pairs += len(pairs)
            summary.first_pairs += len(pairs) if first else 0
            summary.agnostic_pairs += sum(pair.kind == "y-" for pair in pairs)
            row_of = {row.k: row for row in drawn}
            for pair in pairs:
                sides = row_of[pair.win], row_of[pair.lose]
                tokens = [total + row.n_tokens for total, row in zip(tokens, sides, strict=True)]
                summary.ended_pairs += any(row.ended_with_eos for row in sides)
            for each in {name for row in drawn for name in row.names}:
                if (image.sha256, each) not in named:
                    named.add((image.sha256, each))
                    scores = {detector: image.scores[detector][each] for detector in thresholds}
                    summary.objects[verdict(each, scores, thresholds, rules)] += 1
            state = after(state, rows)
    summary.stops = dict(stops)
    summary.chosen_tokens, summary.rejected_tokens = (total / max(summary.pairs, 1) for total in tokens)
    return found, summary
