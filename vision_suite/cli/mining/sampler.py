"""A trained model as the sampler of mining."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from vision_suite.cli.trainer.language_model import LanguageModel, model_of_checkpoint
from vision_suite.errors import ConfigError
from vision_suite.models.mllm.dialogue import user_parts
from vision_suite.models.mllm.sampling import Candidate, sample_sentences
from vision_suite.models.wings.folder import longest_row
from vision_suite.types.conversations import InstructBatch, Message
from vision_suite.video.backbones import pick_device

if TYPE_CHECKING:
    from collections.abc import Sequence


class CheckpointSampler:
    """Sentences of a trained language model; the model is loaded on first use, once in each process.

    Copies in other processes carry the settings only and load the checkpoint themselves.

    Args:
        path: Checkpoint of a run.
        temperature: Temperature of sampling (paper: 0.7).
        max_new_tokens: Longest sentence in tokens (paper: 512).
        device: Device: auto, cpu, cuda ...
    """

    def __init__(
        self, path: Path, *, temperature: float = 0.7, max_new_tokens: int = 512, device: str = "auto"
    ) -> None:
        self.path, self.temperature, self.max_new_tokens, self.device = path, temperature, max_new_tokens, device
        self._model: LanguageModel | None = None
        self._seen: tuple[Image.Image, Tensor] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """The settings."""
        return {**self.__dict__, "_model": None, "_seen": None}

    def __call__(
        self, image: Image.Image, question: str, context: str, *, count: int, seed: int, greedy: bool = False
    ) -> Sequence[Candidate]:
        """Sample the next sentence of an answer.

        Args:
            image: Picture, RGB.
            question: What is asked about it.
            context: Answer so far.
            count: Number of sentences.
            seed: Seed of the draws.
            greedy: Take the likeliest id each time.

        Returns:
            The sentences; none if a row of the model has no room for another one.
        """
        net, chat, _ = model = self._opened()
        encoded = chat.prompt([Message("user", user_parts(question, 0, 1))], context=context)
        room = longest_row(net) - len(encoded.ids)
        if room < 1:
            return []
        batch: InstructBatch = {
            "input_ids": torch.tensor([encoded.ids], device=net.embedding.weight.device),
            "features": self._features(model, image),
        }
        return sample_sentences(
            net, chat, batch, count, seed=seed, temperature=0.0 if greedy else self.temperature,
            max_new_tokens=min(self.max_new_tokens, room),
        )  # fmt: skip

    def _opened(self) -> LanguageModel:
        if self._model is None:
            self._model = model_of_checkpoint(self.path)
            if self._model.net.tower is None:
                raise ConfigError(f"{self.path} reads no pictures: give a model with a vision tower")
            self._model.net.eval().to(pick_device(self.device))
        return self._model

    @torch.no_grad()
    def _features(self, model: LanguageModel, image: Image.Image) -> Tensor:
        """Tower tokens (1, T, W) of a picture, kept for its next step."""
        if self._seen is None or self._seen[0] is not image:
            net, _, form = model
            pixels = form.normalise(form.pixels(image)[None]).to(net.embedding.weight.device)
            self._seen = (image, net.tower_features(pixels))
        return self._seen[1]
