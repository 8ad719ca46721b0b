"""Captions and short answers that a model writes, and what of them is made up: evaluation and prediction."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vision_suite.errors import check_number
from vision_suite.lit_modules.base import SPLITS, EvalStage, PerStage, plain_containers
from vision_suite.lit_modules.in_parts import BatchT
from vision_suite.lit_modules.mllm_base import LitMllm
from vision_suite.metrics.hallucination.report import hallucination_report
from vision_suite.metrics.instruct_metric import InstructMetric
from vision_suite.models.mllm import Mllm
from vision_suite.models.mllm.parts import select_rows
from vision_suite.models.mllm.sampling import Candidate, sample_sentences
from vision_suite.models.mllm.scoring import continued, with_features, written_answers
from vision_suite.types.conversations import Chat, InstructBatch
from vision_suite.types.instruct import InstructPrediction
from vision_suite.types.preference import HallucinationReport, PreferenceSource

SPREAD = 1_000_003  # between the seeds of two pictures, whose captions are shorter
Judge = Callable[[int, str, Sequence[str]], Sequence[bool]]
"""Function that is given the index of a picture's question, the caption so far and sentences that may follow it, and
tells of each sentence whether all that it names is in the picture."""


@dataclass(frozen=True)
class CaptionConfig:
    """Writing of captions and answers.

    Attributes:
        max_new_tokens: Longest caption or answer in ids.
        samples: Sentences among which a judge chooses at each step of a prediction (App. A.2: 5).
        temperature: Temperature at which they are sampled.
        seed: Seed of the samples.
        before: File positions.csv of an earlier test, whose curves are drawn beside those of this one.
    """

    max_new_tokens: int = 512
    samples: int = 5
    temperature: float = 0.7
    seed: int = 0
    before: str = ""

    def __post_init__(self) -> None:
        """Refuse numbers that make no caption."""
        check_number("captions.max_new_tokens", self.max_new_tokens, low=1, whole=True)
        check_number("captions.samples", self.samples, low=1, whole=True)
        check_number("captions.temperature", self.temperature, low=0)


class LitCaptions(LitMllm[BatchT]):
    """Base of modules that are evaluated by the captions and answers that they write.

    Attributes:
        captions: Settings.
        judge: Judge of sentences in predictions (the paper's App. A.2), set from outside; None writes the likeliest
            ids.
    """

    data: PreferenceSource
    captions: CaptionConfig
    evaluated_at_start = True

    def collect_captions(self, captions: CaptionConfig) -> None:
        """Get ready to collect; a constructor calls it."""
        self.captions = captions
        self.judge: Judge | None = None
        self.written = PerStage({stage: InstructMetric() for stage in ("val", "test")})

    def validation_step(self, batch: InstructBatch, batch_idx: int) -> None:
        """Collect captions and answers."""
        self.written["val"].add_answers(batch["index"], self._write(batch))

    def test_step(self, batch: InstructBatch, batch_idx: int) -> None:
        """Collect captions and answers."""
        self.written["test"].add_answers(batch["index"], self._write(batch))

    def predict_step(self, batch: InstructBatch, batch_idx: int) -> InstructPrediction:
        """Captions and answers; with a judge, captions of sentences that it has found clean where there were any."""
        if self.judge is None:
            ids = self._write(batch)
        else:
            ids = judged_captions(self.model, self.data.chat, batch, self.judge, self.captions)
        return {"index": batch["index"].cpu(), "answer_ids": ids.cpu()}

    def make_report(self, stage: EvalStage) -> HallucinationReport:
        """Objects that are made up and those that are found, by task, with lengths beside them."""
        answers = self.written[stage].collected().answers
        chat, split = self.data.chat, SPLITS[stage]
        self.report = hallucination_report(
            self.data.hallucination_items(split),
            {index: chat.decode(ids) for index, ids in answers.items()},
            protocol={**self.data.protocol, "stage": stage, "captions": plain_containers(self.captions)},
            words=self.data.lexicons(split),
            ended={index: bool(ids) and ids[-1] in chat.end_ids for index, ids in answers.items()},
        )
        return self.report

    def logged_metrics(self, report: Any) -> Mapping[str, float]:
        """Finite metrics of tasks, and the means that are drawn."""
        found = {**report.metrics, **object_means(report.metrics)}
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def _write(self, batch: InstructBatch) -> Tensor:
        chat = self.data.chat
        return written_answers(
            self.model, batch, chat.end_ids, chat.pad_id, max_new_tokens=self.captions.max_new_tokens, do_sample=False
        )


def object_means(metrics: Mapping[str, float]) -> dict[str, float]:
    """Means over tasks of precision, recall and F1 of the objects that captions name, and of their words.

    Saying less makes fewer things up; F1 falls with either fault.

    Args:
        metrics: ``chair_i/<task>`` and ``recall/<task>``, as fractions; other names are passed over.

    Example:
        >>> object_means({"chair_i/scenes": 0.2, "recall/scenes": 0.8, "words/scenes": 9.0})["object_f1"]
        0.8
    """
    tasks = [name.partition("/")[2] for name in metrics if name.startswith("chair_i/")]
    found: dict[str, list[float]] = {}
    for task in tasks:
        precision, recall = 1 - metrics[f"chair_i/{task}"], metrics.get(f"recall/{task}", math.nan)
        total = precision + recall
        f1 = 2 * precision * recall / total if total > 0 else 0.0 * total
        columns = {"object_f1": f1, "object_precision": precision, "object_recall": recall}
        for name, value in {**columns, "words": metrics.get(f"words/{task}", math.nan)}.items():
            if math.isfinite(value):
                found.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}


@torch.no_grad()
def judged_captions(model: Mllm, chat: Chat, batch: InstructBatch, judge: Judge, config: CaptionConfig) -> Tensor:
    """Captions (B, T) int64 of sentences that a judge found clean, -1 behind the end.

    At each step the first clean one of several sampled sentences is taken (the paper's App. A.2). Where none is clean
    the caption ends, but for its first sentence, which is then the first one sampled.

    Args:
        model: Network.
        chat: Format of the conversations.
        batch: Prompts.
        judge: Judge.
        config: Settings.
    """
    captions = []
    for row, index in enumerate(batch["index"].tolist()):
        prompt = with_features(model, select_rows(batch, [row]))
        ids: list[int] = []
        while (left := config.max_new_tokens - len(ids)) > 0:
            candidates = sample_sentences(
                model, chat, continued(prompt, [ids], chat.pad_id), config.samples,
                seed=config.seed + SPREAD * index + len(ids), temperature=config.temperature, max_new_tokens=left,
            )  # fmt: skip
            chosen = _first_clean(candidates, judge, index, chat.decode(ids).strip(), needed=not ids)
            ids += () if chosen is None else chosen.ids
            if chosen is None or chosen.ended or not chosen.ids:
                ids.append(chat.end_ids[0])
                break
        captions.append(torch.tensor(ids))
    return torch.nn.utils.rnn.pad_sequence(captions, batch_first=True, padding_value=-1)


def _first_clean(
    candidates: Sequence[Candidate], judge: Judge, index: int, context: str, *, needed: bool
) -> Candidate | None:
    """The first clean sentence; an end of the answer is clean."""
    clean = judge(index, context, [each.text for each in candidates])
    for candidate, is_clean in zip(candidates, clean, strict=True):
        if is_clean or not candidate.text:
            return candidate
    return candidates[0] if needed else None
