"""Pairs of a store with everything that is known about them, in the order of pictures and steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vision_suite.mining.decide import verdict
from vision_suite.mining.pairing import Kind
from vision_suite.mining.reading import derivation_of, mined_images, pairs_in
from vision_suite.mining.step import CandidateRow, MiningImage, State, after
from vision_suite.mining.store import MINED, Store
from vision_suite.types.conversations import ImageRef, Message
from vision_suite.types.preference import PreferenceRow


@dataclass(frozen=True)
class MinedPair:
    """A pair.

    Attributes:
        item: Picture and question.
        step: Number of the sentence in the answer.
        context: Beginning of the answer.
        win: Preferred sentence.
        lose: Hallucinated sentence.
        kind: ``y+`` where the preferred one is coherent with the context, or there is none; ``y-`` otherwise.
        factual: Objects of the picture that the step's and the earlier steps' sentences name rightly.
        context_objects: Objects that the context names.
        context_hallucinated: Those of them that are not in the picture.
        made_up: Objects of the hallucinated sentence that are not in the picture.
        is_last: The answer ended at this step.
    """

    item: MiningImage
    step: int
    context: str
    win: CandidateRow
    lose: CandidateRow
    kind: Kind
    factual: tuple[str, ...]
    context_objects: tuple[str, ...]
    context_hallucinated: tuple[str, ...]
    made_up: tuple[str, ...]
    is_last: bool

    @property
    def id(self) -> str:
        """Name of the pair: picture, step, and the numbers of both sentences."""
        return f"{self.item.id}-{self.step}-{self.win.k}-{self.lose.k}"

    def row(self, source: str = "") -> PreferenceRow:
        """The pair as a row to train on, with the picture before the question, on a line of its own.

        Args:
            source: Name of the run.
        """
        return PreferenceRow(
            id=self.id,
            messages=(Message("user", (0, f"\n{self.item.question}")),),
            images=(ImageRef(Path(self.item.path)),),
            context=self.context,
            chosen=self.win.text,
            rejected=self.lose.text,
            chosen_ends=self.win.ended_with_eos,
            rejected_ends=self.lose.ended_with_eos,
            source=source,
            chosen_objects=_once(self.win.names),
            rejected_objects=_once(self.lose.names),
        )

    def facts(self) -> dict[str, object]:
        """Fields that SENTINEL's generator writes beside the texts."""
        return {
            "image_id": self.item.id,
            "step": self.step,
            "nonhallu_objects": list(self.factual),
            "context_gen_objects": list(self.context_objects),
            "context_gen_hallu_objects": list(self.context_hallucinated),
            "hallu_objects_of_y_lose": list(self.made_up),
            "is_last_sent": self.is_last,
            "type": self.kind,
        }


def mined_pairs(store: Store, run: str, derivation: str = MINED) -> Iterator[MinedPair]:
    """Pairs of a derivation in the order of pictures and steps.

    Args:
        store: File of mining.
        run: Name of the run.
        derivation: Name of the derivation.

    Raises:
        ConfigError: There is no such derivation.
    """
    rules, thresholds = derivation_of(store, run, derivation)
    pairs = pairs_in(store, run, derivation)
    for image in mined_images(store, run):
        state = State()
        seen: dict[str, str] = {}
        for rows in image.steps:
            by_number = {row.k: row for row in rows.candidates}
            for name in (name for row in rows.candidates for name in row.names):
                scores = {detector: image.scores[detector][name] for detector in thresholds}
                seen[name] = verdict(name, scores, thresholds, rules)
            for pair in pairs.get((image.item.id, rows.step), ()):
                win, lose = by_number[pair.win], by_number[pair.lose]
                yield MinedPair(
                    image.item, rows.step, rows.context, win, lose, pair.kind,
                    factual=tuple(name for name, kind in seen.items() if kind == "factual"),
                    context_objects=state.named,
                    context_hallucinated=tuple(name for name in state.named if seen[name] == "hallucinated"),
                    made_up=tuple(name for name in _once(lose.names) if seen[name] == "hallucinated"),
                    is_last=bool(rows.stop),
                )  # fmt: skip
            state = after(state, rows)


def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
