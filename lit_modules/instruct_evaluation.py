"""Evaluation of conversations: likelihoods, written answers, perplexity, and drift from the untouched decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from vision_suite.errors import check_literals, check_number
from vision_suite.lit_modules.instruct_history import with_own_history
from vision_suite.metrics.instruct.forgetting import hidden_drift
from vision_suite.metrics.instruct.multiple_choice import WRITTEN_TOKENS
from vision_suite.metrics.instruct_metric import InstructMetric
from vision_suite.metrics.rows import SequenceRows
from vision_suite.models.mllm import Mllm
from vision_suite.models.mllm.parts import select_rows
from vision_suite.models.mllm.scoring import answer_logps, choice_logps, continued, with_features, written_answers
from vision_suite.models.wings.attach import routing, row_masses
from vision_suite.models.wings.config import WingsConfig
from vision_suite.models.wings.untouched import Untouched
from vision_suite.text.choices import letters_of
from vision_suite.types.instruct import IGNORED, Chat, InstructBatch, InstructPrediction, Row


@dataclass(frozen=True)
class AnswerConfig:
    """Scoring of questions and texts.

    Attributes:
        choices: The likeliest choice counts (``loglik``), or the one that a written answer names (``generate``), or
            both are reported.
        max_new_tokens: Longest written answer.
        beams: Beams of written answers; 1 takes the likeliest id each time.
        write: Write answers to questions without choices; without, only the likelihood of the right answer is known.
        drift: Compare next-token distributions on plain text with those of the untouched model.
        history: Answers in the earlier turns of a chain of questions: the right ones (``gold``), those that the model
            writes (``model``), or both are reported.
        attention: Measure the attention on text and pictures in conversations with pictures, which wings read.
    """

    choices: Literal["loglik", "generate", "both"] = "loglik"
    max_new_tokens: int = WRITTEN_TOKENS
    beams: int = 1
    write: bool = True
    drift: bool = True
    history: Literal["gold", "model", "both"] = "gold"
    attention: bool = True

    def __post_init__(self) -> None:
        """Refuse unknown words, and numbers that make no answer."""
        check_literals(self, "answers")
        check_number("answers.max_new_tokens", self.max_new_tokens, low=1, whole=True)
        check_number("answers.beams", self.beams, low=1, whole=True)

    def generation(self, chat: Chat) -> dict[str, Any]:
        """Arguments of `vision_suite.models.mllm.scoring.written_answers`."""
        return {
            "end_ids": chat.end_ids, "pad_id": chat.pad_id, "max_new_tokens": self.max_new_tokens,
            "num_beams": self.beams, "do_sample": False,
        }  # fmt: skip


class InstructEvaluation:
    """Evaluation of batches of one split.

    Args:
        model: Network.
        chat: Format of the conversations.
        rows: Rows of the split, by the index of batches.
        config: Way of scoring.
        untouched: The decoder before training; None if there is none to compare with.
        wings: Settings of the wings; None without wings.
    """

    def __init__(
        self,
        model: Mllm,
        chat: Chat,
        rows: Sequence[Row],
        config: AnswerConfig,
        untouched: Untouched | None,
        wings: WingsConfig | None,
    ) -> None:
        self.model, self.chat, self.rows, self.config = model, chat, rows, config
        self.untouched, self.has_wings = untouched, wings is not None
        self.has_router = wings is not None and wings.stage == 2

    def collect(self, batch: InstructBatch, metric: InstructMetric, losses: SequenceRows) -> None:
        """Evaluate a batch.

        Args:
            batch: Prompts and plain texts, padded on the right.
            metric: Takes the results.
            losses: Takes the negative log-likelihood of each right answer and text, and its number of ids.
        """
        rows = [self.rows[index] for index in batch["index"].tolist()]
        texts = [place for place, row in enumerate(rows) if row.text]
        questions = [place for place, row in enumerate(rows) if not row.text]
        if texts:
            self._texts(select_rows(batch, texts), metric, losses)
        if questions:
            part = with_features(self.model, select_rows(batch, questions))
            self._in_histories(part, [rows[place] for place in questions], metric, losses)

    def predict(self, batch: InstructBatch) -> InstructPrediction:
        """Answers that the model writes, and the wings' weights at each written id; plain texts get no answer."""
        texts = [bool(self.rows[index].text) for index in batch["index"].tolist()]
        asked = [place for place, is_text in enumerate(texts) if not is_text]
        width = self.config.max_new_tokens
        answers = torch.full((len(texts), width), -1, dtype=torch.int64)
        prediction: InstructPrediction = {"index": batch["index"].cpu(), "answer_ids": answers}
        if not asked:
            return prediction
        part = with_features(self.model, select_rows(batch, asked))
        written = written_answers(self.model, part, **self.config.generation(self.chat))
        answers[asked, : written.shape[1]] = written.cpu()
        if self.has_router:
            ids = [[number for number in row if number >= 0] for row in written.tolist()]
            self.model.hidden(continued(part, ids, self.chat.pad_id))
            weights = routing(self.model.decoder).float().cpu()
            start = part["attention_mask"].sum(1).tolist()
            kept = torch.full((len(texts), weights.shape[1], width, 2), torch.nan)
            for row, (place, first, own) in enumerate(zip(asked, start, ids, strict=True)):
                # The id before writes an id: its weights count.
                kept[place, :, : len(own)] = weights[row, :, first - 1 : first - 1 + len(own)]
            prediction["routing"] = kept
        return prediction

    def _texts(self, batch: InstructBatch, metric: InstructMetric, losses: SequenceRows) -> None:
        hidden = self.model.hidden(batch)
        nll = -answer_logps(self.model, batch, hidden)
        supervised = batch["labels"][:, 1:] != IGNORED
        tokens = supervised.sum(1)
        kl = agreed = None
        if self.untouched is not None and self.config.drift:
            reference, head = self.untouched.states(batch)
            found = hidden_drift(
                (reference[:, :-1][supervised], head), (hidden[:, :-1][supervised], self.model.head_weight)
            )
            row = torch.nonzero(supervised)[:, 0]
            kl, agreed = (_sums(values, row, len(nll)) for values in (found.kl, found.agrees))
        metric.add_text(batch["index"], nll, tokens, kl, agreed)
        losses.update(batch["index"], torch.stack([nll.double(), tokens.double()], 1))

    def _in_histories(
        self, batch: InstructBatch, rows: Sequence[Row], metric: InstructMetric, losses: SequenceRows
    ) -> None:
        """Ask each question, and those of chains after the right answers, the model's own, or one and the other."""
        history = self.config.history
        chains = [place for place, row in enumerate(rows) if row.is_chain]
        after_gold = [place for place, row in enumerate(rows) if history != "model" or not row.is_chain]
        if after_gold:
            self._questions(select_rows(batch, after_gold), [rows[place] for place in after_gold], metric, losses)
        if chains and history != "gold":
            asked = [rows[place] for place in chains]
            generation = self.config.generation(self.chat)
            own = with_own_history(self.model, self.chat, select_rows(batch, chains), asked, generation)
            # Each row has one likelihood.
            self._questions(own, asked, metric, losses if history == "model" else None, own_history=True)

    def _questions(
        self,
        batch: InstructBatch,
        rows: Sequence[Row],
        metric: InstructMetric,
        losses: SequenceRows | None,
        *,
        own_history: bool = False,
    ) -> None:
        known = [place for place, row in enumerate(rows) if right_answer(row)]
        if known:
            part = select_rows(batch, known)
            self._likelihoods(part, [rows[place] for place in known], metric, losses, own_history)
        wanted = self.config.choices != "loglik"
        asked = [
            place
            for place, row in enumerate(rows)
            if (wanted if row.choices else self.config.write and bool(row.reference))
        ]
        if asked:
            part = select_rows(batch, asked)
            ids = written_answers(self.model, part, **self.config.generation(self.chat))
            metric.add_answers(part["index"], ids, own_history=own_history)

    def _likelihoods(
        self,
        batch: InstructBatch,
        rows: Sequence[Row],
        metric: InstructMetric,
        losses: SequenceRows | None,
        own_history: bool,
    ) -> None:
        """Likelihoods of the right answers, of the other choices, and the attention on the way."""
        nll = torch.zeros(len(rows), dtype=torch.float64, device=batch["input_ids"].device)
        answers = [self._ids(row, right_answer(row)) for row in rows]
        chosen = [place for place, row in enumerate(rows) if row.choices and self.config.choices != "generate"]
        if chosen:
            choices = [[self._ids(row, text) for text in spoken_choices(row)] for row in (rows[p] for p in chosen)]
            part = select_rows(batch, chosen)
            scores = choice_logps(self.model, part, choices)
            metric.add_choices(part["index"], scores, own_history=own_history)
            right = torch.tensor([rows[place].answer for place in chosen], device=scores.device)
            nll[chosen] = -scores.gather(1, right[:, None])[:, 0]
        pictures = (batch["image_of_token"] >= 0).any(1)
        masses = losses is not None and self.has_wings and self.config.attention
        whole = [place for place in range(len(rows)) if place not in chosen or (masses and bool(pictures[place]))]
        if whole:
            part = continued(select_rows(batch, whole), [answers[place] for place in whole], self.chat.pad_id)
            nll[whole] = -answer_logps(self.model, part, self.model.hidden(part)).double()
            if masses:
                seen = pictures[whole]
                metric.add_masses(part["index"][seen], row_masses(self.model.decoder)[seen])
        if losses is not None:
            tokens = torch.tensor([len(ids) for ids in answers], dtype=torch.float64, device=nll.device)
            losses.update(batch["index"], torch.stack([nll, tokens], 1))

    def _ids(self, row: Row, text: str) -> list[int]:
        """Ids of an answer; a letter is not followed by the end of the turn, so that letters alone are compared."""
        return list(self.chat.answer(text, end_of_turn=not (row.choices and row.lettered)))


def right_answer(row: Row) -> str:
    """The right answer as the assistant gives it; empty if it is not known."""
    if not row.choices:
        return row.reference
    return spoken_choices(row)[row.answer] if row.answer >= 0 else ""


def spoken_choices(row: Row) -> list[str]:
    """The choices as the assistant gives them: letters where the question lists them by letters."""
    return list(letters_of(len(row.choices))) if row.lettered else list(row.choices)


def _sums(values: Tensor, row: Tensor, rows: int) -> Tensor:
    """Sums (B,) of values (N,) by their rows (N,)."""
    return torch.zeros(rows, dtype=torch.float64, device=values.device).index_add(0, row, values.double())
