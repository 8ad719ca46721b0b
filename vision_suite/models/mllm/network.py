"""A language model that reads pictures: decoder, vision tower and projector, and the decoder's own generation loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from vision_suite.errors import ConfigError, DataError
from vision_suite.layers.layouts import Layout
from vision_suite.models.mllm.prompts import PromptEmbeddings, left_padded
from vision_suite.types.instruct import InstructBatch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from vision_suite.layers.branches import Branches
    from vision_suite.models.mllm.projector import Projector
    from vision_suite.models.mllm.tower import Tower

BASE = ".base_layer."  # in the names of layers that LoRA wraps
NAME = "vision_suite"  # name of the suite's attention in transformers, which serves packed rows by their segments

# Names in files of LLaVA's code (haotian-liu/LLaVA) and ours; its files seldom hold the vision tower.
LLAVA = (
    ("model.mm_projector.*", "projector.layers.*"),
    ("model.vision_tower.vision_tower.*", "tower.network.encoder.*"),
    ("model.*", "decoder.model.*"),
    ("lm_head.*", "decoder.lm_head.*"),
)
# The layers of the projector in a LLaVA of transformers.
NUMBERED = (
    ("model.mm_projector.0.*", "projector.linear_1.*"),
    ("model.mm_projector.2.*", "projector.linear_2.*"),
)
# Settings of decoders whose logits are scaled or capped (Gemma 2, Cohere, Granite).
SHAPED = ("final_logit_softcapping", "logit_scale", "logits_scaling")


class Mllm(nn.Module):
    """Decoder with pictures in its rows (LLaVA, Liu et al., NeurIPS 2023): placeholders become projected tower tokens.

    The decoder is transformers' own and is called through its own forward; whatever is attached to it, such as wings or
    LoRA, goes along. It is handed two further keyword arguments: ``is_image`` (B, S) bool, true at a picture's tokens,
    and, for packed rows, ``segments`` (B, S) int64.

    A tower without trainable parameters runs without gradients and stays in evaluation mode.

    Args:
        decoder: Causal language model of transformers.
        tower: Vision tower, or None if batches bring the tower's ``features``, or hold no pictures.
        projector: Projector; None if there are no pictures at all.
        image_token_id: Id of a picture's placeholder in ``input_ids``.

    Raises:
        ConfigError: Tower without projector, or of other widths; a decoder whose logits are more than a product with
            the hidden states.
    """

    def __init__(
        self, decoder: PreTrainedModel, tower: Tower | None, projector: Projector | None, image_token_id: int
    ) -> None:
        super().__init__()
        if tower is not None and projector is None:
            raise ConfigError("a vision tower needs a projector: give both, or neither")
        _refuse_shaped_logits(decoder)
        self.decoder = cast("Any", decoder)
        self.tower = tower
        self.projector = projector
        self.image_token_id = image_token_id

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """Names of LLaVA's released code, and those of the same network without LoRA, where this one has LoRA."""
        names = list(self.state_dict())
        wrapped = [name for name in names if BASE in name]
        plain = tuple((name.replace(BASE, "."), name) for name in wrapped)
        theirs = tuple((name.removeprefix("decoder."), ours) for name, ours in plain)
        numbered = NUMBERED if any(name.startswith("projector.linear_1.") for name in names) else ()
        llava = Layout("LLaVA", "model.mm_projector.0.weight", (*theirs, *numbered, *LLAVA))
        if not wrapped:
            return (llava,)
        return (Layout("a network without LoRA", plain[0][0], (*plain, ("*", "*"))), llava)

    @property
    def text_model(self) -> nn.Module:
        """The decoder without its head."""
        return cast("nn.Module", self.decoder.get_decoder())

    @property
    def embedding(self) -> nn.Embedding:
        """Word embeddings."""
        return cast("nn.Embedding", self.decoder.get_input_embeddings())

    @property
    def head_weight(self) -> Tensor:
        """(V, d) weight of the head; the word embeddings' own where they are tied."""
        return cast("Tensor", self.decoder.get_output_embeddings().weight)

    def train(self, mode: bool = True) -> Mllm:
        """Set training mode, except in a frozen tower, whose batch statistics must not move."""
        super().train(mode)
        if self.tower is not None and _frozen(self.tower):
            self.tower.eval()
        return self

    def tower_features(self, image: Tensor) -> Tensor:
        """Tower tokens (N, T, W) of pictures (N, 3, H, W), normalised as the tower wants them: what may be cached."""
        if self.tower is None:
            raise ConfigError("the model has no vision tower: give it one, or batches with `features`")
        with torch.set_grad_enabled(torch.is_grad_enabled() and not _frozen(self.tower)):
            return cast("Tensor", self.tower(image))

    def encode(self, image: Tensor) -> Tensor:
        """Embeddings (N, T', d) of pictures (N, 3, H, W)."""
        return self.project(self.tower_features(image))

    def project(self, features: Tensor) -> Tensor:
        """Embeddings (N, T', d) of tower tokens (N, T, W)."""
        if self.projector is None:
            raise ConfigError("the model has no projector and reads no pictures: build it with a tower and a projector")
        return cast("Tensor", self.projector(features))

    def picture_embeddings(self, batch: InstructBatch) -> Tensor | None:
        """Embeddings (N, T', d) of a batch's pictures, by ``features`` or ``image``; None if it has none."""
        for name, way in (("features", self.project), ("image", self.encode)):
            pictures = cast("dict[str, Tensor]", batch).get(name)
            if pictures is not None and len(pictures):
                return way(pictures)
        return None

    def embed(self, ids: Tensor, pictures: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Embeddings of ids, with pictures in the place of their placeholders, in order.

        Args:
            ids: (B, S) int64.
            pictures: (N, T', d) embeddings of pictures, or None.

        Returns:
            Embeddings (B, S, d) and the placeholders (B, S) bool.

        Raises:
            DataError: The number of placeholders is not that of the pictures' tokens.
        """
        is_image = ids == self.image_token_id
        # A placeholder's id may lie beyond the embeddings, and its row gets no gradient.
        embeds = self.embedding(ids.masked_fill(is_image, 0))
        count = 0 if pictures is None else pictures.shape[0] * pictures.shape[1]
        if int(is_image.sum()) != count:
            raise DataError(
                f"the batch has {int(is_image.sum())} placeholders of pictures and {count} picture tokens: the data's "
                "image_tokens must be those of tower and projector"
            )
        if pictures is not None:
            embeds = embeds.masked_scatter(is_image.unsqueeze(-1), pictures.to(embeds.dtype))
        return embeds, is_image

    def hidden(self, batch: InstructBatch, *, dummy: bool = False, branches: Branches | None = None) -> Tensor:
        """Last hidden states (B, S, d) of a training batch, padded or packed; no cache is built.

        Args:
            batch: Conversations.
            dummy: Run one blank picture with weight zero through tower and projector where the batch has none, so that
                every process runs the same modules and no parameter is without a gradient.
            branches: Rows of one beginning and several continuations, see `vision_suite.models.mllm.branches`.
        """
        inputs = self._inputs(batch, dummy)
        if branches is not None:
            inputs["branches"] = branches
        output = self.text_model(**inputs)
        return cast("Tensor", output.last_hidden_state)

    def forward(self, batch: InstructBatch, *, dummy: bool = False) -> Tensor:
        """Logits (B, S, V) of a training batch, by the decoder's own head. See `hidden` for the arguments."""
        return cast("Tensor", self.decoder(**self._inputs(batch, dummy)).logits)

    def _inputs(self, batch: InstructBatch, dummy: bool) -> dict[str, Any]:
        """Arguments of the decoder for a training batch."""
        pictures = self.picture_embeddings(batch)
        embeds, is_image = self.embed(batch["input_ids"], pictures)
        if dummy and pictures is None and self.projector is not None:
            embeds = embeds + 0.0 * self._blank(batch).sum()
        inputs: dict[str, Any] = {"inputs_embeds": embeds, "is_image": is_image, "use_cache": False}
        if (positions := batch.get("position_ids")) is not None:
            inputs["position_ids"] = positions
        if (segments := batch.get("segments")) is None:
            inputs["attention_mask"] = batch.get("attention_mask")
            return inputs
        inputs["segments"] = segments
        if str(self.decoder.config._attn_implementation).endswith(NAME):
            # The operator cuts rows by their segments; a full mask keeps transformers from building one of its own.
            inputs["attention_mask"] = torch.ones_like(segments, dtype=torch.bool)
        return inputs  # Otherwise transformers finds the segments by positions that start again.

    def _blank(self, batch: InstructBatch) -> Tensor:
        """Embeddings of one blank picture; of blank features where batches bring those."""
        features = batch.get("features")
        if features is not None:
            return self.project(features.new_zeros(1, *features.shape[1:]))
        if self.tower is None:
            raise ConfigError("the model has no vision tower: a batch without pictures needs empty `features`")
        weight = next(self.tower.parameters())
        return self.encode(torch.zeros(1, 3, *self.tower.image_size, device=weight.device, dtype=weight.dtype))

    @torch.no_grad()
    def generate(self, batch: InstructBatch, **settings: Any) -> Tensor:
        """Answers to prompts, by transformers' own loop: greedy, sampling, beams, a streamer, any cache.

        Pictures are encoded once, before the loop. Prompts may be padded on either side. A picture's placeholder is
        never written.

        Args:
            batch: Prompts: ``input_ids``, ``attention_mask``, and ``image`` or ``features``.
            settings: Arguments of transformers' ``generate``, such as ``max_new_tokens``, ``num_beams``, ``do_sample``,
                ``eos_token_id``, ``pad_token_id``.

        Returns:
            (B, T) int64 ids that follow the prompts, padded with ``pad_token_id`` after the end; with
            ``num_return_sequences`` n, (B n, T).
        """
        if batch.get("segments") is not None:
            raise ConfigError("packed rows cannot be continued: give one prompt a row")
        pictures = self.picture_embeddings(batch)
        embeds, is_image = self.embed(batch["input_ids"], pictures)
        kept = batch.get("attention_mask")
        kept = torch.ones_like(is_image) if kept is None else kept.bool()
        ids, embeds, is_image, kept = left_padded(batch["input_ids"], embeds, is_image, kept)
        if self.image_token_id >= self.embedding.num_embeddings:
            ids = ids.masked_fill(is_image, 0)  # what looks ids up on the way must find them
        elif self.image_token_id >= 0:
            settings["suppress_tokens"] = [*(settings.get("suppress_tokens") or []), self.image_token_id]
        with PromptEmbeddings(self.decoder, embeds, is_image):
            written = self.decoder.generate(input_ids=ids, attention_mask=kept.long(), **settings)
        return cast("Tensor", written)[:, ids.shape[1] :]


def _refuse_shaped_logits(decoder: PreTrainedModel) -> None:
    """Losses and scores are computed from hidden states and the head's weight alone."""
    config, head = decoder.config.get_text_config(), cast("Any", decoder).get_output_embeddings()
    found = [name for name in SHAPED if getattr(config, name, None) not in (None, 1.0)]
    if getattr(head, "bias", None) is not None:
        found.append("bias of the head")
    if found:
        raise ConfigError(
            f"{type(decoder).__name__} shapes its logits ({found[0]}), which is not supported: use another"
        )


def _frozen(module: nn.Module) -> bool:
    """Tell whether no parameter is trained."""
    return not any(parameter.requires_grad for parameter in module.parameters())
