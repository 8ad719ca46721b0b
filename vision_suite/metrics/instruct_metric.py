"""Results of conversations, gathered over batches and processes."""

from __future__ import annotations

import torch
from torch import Tensor

from vision_suite.errors import DataError
from vision_suite.metrics.instruct.collected import KINDS, Collected, Kind, unpacked
from vision_suite.metrics.rows import SequenceRows


class InstructMetric(SequenceRows):
    """Results by the index of the row of the data set, each row once, whatever process saw it.

    Hand on each batch by the calls below, then build the report of `collected` with
    `vision_suite.metrics.instruct.report.instruct_report`.

    Example:
        >>> metric = InstructMetric()
        >>> metric.add_choices(torch.tensor([4, 2]), torch.tensor([[-2.0, -1.0], [-1.0, -3.0]]))
        >>> metric.add_answers(torch.tensor([7]), torch.tensor([[5, 6, -1]]))
        >>> metric.collected().answers
        {7: [5, 6]}
    """

    def add_choices(self, index: Tensor, scores: Tensor, *, own_history: bool = False) -> None:
        """Take log-probabilities of choices.

        Args:
            index: (B,) index of each row.
            scores: (B, K) log-probability of each choice; what lies beyond a row's choices is not looked at.
            own_history: The earlier turns held the model's own answers, not the right ones.
        """
        self._add("own_choices" if own_history else "choices", index, scores)

    def add_answers(self, index: Tensor, ids: Tensor, *, own_history: bool = False) -> None:
        """Take written answers.

        Args:
            index: (B,) index of each row.
            ids: (B, T) int64 ids, -1 behind the end.
            own_history: The earlier turns held the model's own answers, not the right ones.
        """
        self._add("own_answers" if own_history else "answers", index, ids)

    def add_text(
        self, index: Tensor, nll: Tensor, tokens: Tensor, kl: Tensor | None = None, agreed: Tensor | None = None
    ) -> None:
        """Take plain texts.

        Args:
            index: (B,) index of each row.
            nll: (B,) negative log-likelihoods, sums over the tokens of a row, in nats.
            tokens: (B,) number of these tokens.
            kl: (B,) KL divergences from the untouched model, sums over the tokens; None if it was not run.
            agreed: (B,) tokens at which the likeliest one is the untouched model's; None if it was not run.
        """
        without = torch.full_like(nll.double(), float("nan"))
        columns = [nll, tokens, without if kl is None else kl, without if agreed is None else agreed]
        self._add("text", index, torch.stack([column.double() for column in columns], dim=1))

    def add_masses(self, index: Tensor, masses: Tensor) -> None:
        """Take the attention of rows with pictures.

        Args:
            index: (B,) index of each row.
            masses: (B, L, 4) mean shares of attention, see `vision_suite.metrics.instruct.attention_shift`.
        """
        self._add("masses", index, masses.flatten(1))

    def collected(self) -> Collected:
        """Everything that all processes collected; all must call this together.

        Raises:
            DataError: Nothing was collected.
        """
        try:
            index, columns = self.compute()
        except DataError as error:
            raise DataError("no conversation was evaluated: the evaluation split is empty") from error
        return unpacked(index.numpy(), columns.numpy())

    def _add(self, kind: Kind, index: Tensor, values: Tensor) -> None:
        """Take rows of numbers, each as its length and its numbers, one below the other."""
        if values.ndim != 2 or len(values) != len(index):
            raise DataError(f"{kind} {tuple(values.shape)} of {len(index)} rows: give one line of numbers a row")
        if not len(index):
            return
        values = values.detach().double()
        length = values.new_full((len(values), 1), values.shape[1])
        lines = torch.cat([length, values], dim=1)
        kinds = torch.full_like(lines, float(KINDS.index(kind)))
        columns = torch.stack([kinds, lines], dim=2).flatten(0, 1)
        self.update(index.to(values.device).repeat_interleave(lines.shape[1]), columns)
