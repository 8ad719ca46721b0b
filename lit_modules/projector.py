"""Stage 0 of a language model that reads pictures: its projector learns the words of the answers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vision_suite.errors import ConfigError, check_number
from vision_suite.lit_modules.instruct_evaluation import AnswerConfig
from vision_suite.lit_modules.wings import OPTIM, LitWings, accuracy_curves
from vision_suite.losses.alignment import alignment_loss
from vision_suite.models.mllm import ProjectorConfig, TowerConfig
from vision_suite.models.mllm.answer_words import AnswerWords
from vision_suite.models.mllm.projector import embedding_std
from vision_suite.models.wings.build import DecoderConfig
from vision_suite.optim import OptimConfig
from vision_suite.types.curves import CurvePanel
from vision_suite.types.instruct import IGNORED, InstructBatch


class LitProjector(LitWings):
    """A projector learns to give pictures in the decoder's words, while the decoder does not run.

    Each token of a picture becomes like the mean embedding of the answer's ids, and unlike those of the other answers
    of the training data (`vision_suite.losses.alignment`). Other modules start from it with ``--init_from``: beside a
    frozen decoder, a projector takes far longer to tell one picture from another. Answers should name what is seen,
    since a token cannot know what is asked. Evaluation is that of `LitWings`, and runs the decoder.

    Args:
        vocabulary_size: Number of ids; comes from the data on the command line.
        image_tokens: Tokens of one picture; comes from the data on the command line.
        decoder: Language model, frozen.
        tower: Vision tower, frozen.
        projector: Projector from the tower's tokens to the decoder's.
        sharpness: Factor on the cosines of tokens and answers.
        answers: Scoring of questions and texts.
        optim: Optimiser and schedule.
    """

    def __init__(
        self,
        vocabulary_size: int = 0,
        image_tokens: int = 0,
        *,
        decoder: DecoderConfig | None = None,
        tower: TowerConfig | None = None,
        projector: ProjectorConfig | None = None,
        sharpness: float = 20.0,
        answers: AnswerConfig | None = None,
        optim: OptimConfig = OPTIM,
    ) -> None:
        check_number("sharpness", sharpness, above=0)
        if tower is None or projector is None:
            raise ConfigError(
                "a projector is trained between a tower and a decoder: give --model.tower and --model.projector"
            )
        super().__init__(
            vocabulary_size, image_tokens, decoder=decoder, tower=tower, projector=projector, train=("projector",),
            answers=answers, recover_memory=False, optim=optim,
        )  # fmt: skip
        self.sharpness = sharpness

    @property
    def panels(self) -> Sequence[CurvePanel]:
        """Loss of right answers, accuracy, and the loss of alignment."""
        return (
            CurvePanel(
                "Loss of right answers and texts", {"val/loss": "all", "val/loss_answers": "answers"}, "nats per id"
            ),
            CurvePanel("Right answers", accuracy_curves(self.report), share=True),
            CurvePanel("Training loss", {"train/loss": "alignment"}, "loss"),
        )

    def on_fit_start(self) -> None:
        """Look the answers of the training data up in the embeddings, which are there only now."""
        super().on_fit_start()
        self._scale = embedding_std(self.model.embedding)
        chat = self.data.chat
        said = (
            [str(part) for message in row.messages if message.role == "assistant" for part in message.parts]
            for row in self.data.rows("fit")
            if row.images
        )
        answers = (tuple(each for text in texts for each in chat.answer(text, end_of_turn=False)) for texts in said)
        self._answers = AnswerWords(self.model.embedding, answers, chat.end_ids)

    def part_loss(self, batch: InstructBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of alignment, as the share of the optimiser step that the batch's supervised ids have."""
        count = (batch["labels"][:, 1:] != IGNORED).sum()
        pictures = self.model.picture_embeddings(batch)
        if pictures is None:
            loss = 0.0 * next(each for each in self.parameters() if each.requires_grad).sum()
        else:
            words, own = self._answers.of(batch)
            loss = alignment_loss(pictures, words, own, scale=self._scale, sharpness=self.sharpness)
        processes = self.trainer.accumulate_grad_batches * self.trainer.world_size
        return loss * count * (processes / batch["step_targets"]), {"nll": loss.detach() * count, "count": count}
