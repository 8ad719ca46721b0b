"""Words that a picture's tokens are compared with: answers in the decoder's embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

import torch
from torch import Tensor, nn

from vision_suite.errors import DataError
from vision_suite.types.instruct import IGNORED, InstructBatch

Answer = tuple[int, ...]


class AnswerWords:
    """Mean embeddings of answers: of those that a picture is told apart from, and of those of a batch.

    Batches hold conversations of like length, and answers of like length would be all that is told apart.

    Args:
        embedding: Word embeddings, which do not change.
        answers: Answers as ids, without what ends them.
        end_ids: Ids that end an answer, which are no words.
        most: Largest number of answers; of more, the first are taken.
    """

    def __init__(
        self, embedding: nn.Embedding, answers: Iterable[Answer], end_ids: Sequence[int], most: int = 4096
    ) -> None:
        self.embedding, self.ends = embedding, {IGNORED, *end_ids}
        different = dict.fromkeys(answer for answer in answers if answer)
        self.place = {answer: number for number, answer in enumerate(islice(different, most))}
        self.words = self._means(list(self.place))

    def of(self, batch: InstructBatch) -> tuple[Tensor, Tensor]:
        """Words (C, d), without a gradient, and the index (N,) int64 of that of each picture of a batch, in order.

        Args:
            batch: Conversations, not packed.

        Raises:
            DataError: The rows are packed, or a picture's row has no answer.
        """
        if batch.get("segments") is not None:
            raise DataError("packed rows hold several answers: set data.packed to false")
        of_picture: dict[int, Answer] = {}
        for labels, of_token in zip(batch["labels"].tolist(), batch["image_of_token"].tolist(), strict=True):
            answer = tuple(each for each in labels if each not in self.ends)
            of_picture |= {picture: answer for picture in of_token if picture >= 0}
        if not all(of_picture.values()):
            raise DataError("a picture's conversation has no words to answer: leave such rows out")
        answers = [of_picture[picture] for picture in sorted(of_picture)]
        new = list(dict.fromkeys(answer for answer in answers if answer not in self.place))
        place = self.place | {answer: len(self.place) + number for number, answer in enumerate(new)}
        words = torch.cat([self.words, self._means(new)]) if new else self.words
        return words, torch.tensor([place[answer] for answer in answers], device=words.device)

    @torch.no_grad()
    def _means(self, answers: Sequence[Answer]) -> Tensor:
        weight = self.embedding.weight
        means = [weight[list(answer)].mean(0) for answer in answers]
        return torch.stack(means) if means else weight.new_zeros(0, weight.shape[1])
