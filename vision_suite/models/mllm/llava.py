"""LLaVA models of transformers as the suite's: the same weights, so that all that works on `Mllm` works on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from timm.data.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from torch import Tensor, nn

from vision_suite.errors import ConfigError
from vision_suite.models.mllm.network import Mllm
from vision_suite.models.mllm.tower import Tower

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from vision_suite.models.mllm.projector import Projector

Colour = tuple[float, float, float]


class LlavaVision(nn.Module):
    """Picture encoder of a LLaVA model, with the choice of its layers and tokens.

    Args:
        encoder: Vision model of transformers.
        layers: Hidden states that are read, side by side; 0 is the embedding, -1 the last one.
        drop_first: Leave out the first token of each layer, the class token.
    """

    def __init__(self, encoder: nn.Module, layers: tuple[int, ...], drop_first: bool) -> None:
        super().__init__()
        self.encoder, self.layers, self.drop_first = encoder, layers, drop_first

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W), normalised, to tokens (N, T, W)."""
        states = self.encoder(image, output_hidden_states=True).hidden_states
        chosen = [states[layer][:, 1:] if self.drop_first else states[layer] for layer in self.layers]
        return chosen[0] if len(chosen) == 1 else torch.cat(chosen, -1)


def from_llava(model: nn.Module, *, mean: Colour = OPENAI_CLIP_MEAN, std: Colour = OPENAI_CLIP_STD) -> Mllm:
    """Network of the parts of a LLaVA model of transformers; both share their weights.

    What is trained in one is trained in the other, and the model's own ``save_pretrained`` writes it.

    Args:
        model: ``LlavaForConditionalGeneration`` (LLaVA-1.5), with or without LoRA in its language model.
        mean: Mean of each colour channel that its pictures are normalised with.
        std: Standard deviation of each colour channel.

    Raises:
        ConfigError: The model is of another kind.
    """
    config: Any = getattr(model, "config", None)
    if getattr(config, "model_type", None) != "llava" or not hasattr(model, "lm_head"):
        raise ConfigError(
            f"{type(model).__name__} is no LlavaForConditionalGeneration: only LLaVA-1.5's kind is served"
        )
    from transformers import AutoModelForCausalLM

    parts: Any = cast("Any", model).model
    text: Any = parts.language_model
    with torch.device("meta"):
        decoder: Any = cast("Any", AutoModelForCausalLM).from_config(text.config, trust_remote_code=False)
    setattr(decoder, decoder.base_model_prefix, text)
    decoder.set_output_embeddings(cast("Any", model).lm_head)
    # Both look their attention up in one configuration.
    decoder.config = text.config
    layer = config.vision_feature_layer
    vision = LlavaVision(
        parts.vision_tower,
        (layer,) if isinstance(layer, int) else tuple(layer),
        config.vision_feature_select_strategy == "default",
    )
    size = int(config.vision_config.image_size)
    weight = next(parts.vision_tower.parameters())
    tower = _tower(vision, size, mean, std, weight)
    projector = cast("Projector", parts.multi_modal_projector)
    return Mllm(cast("PreTrainedModel", decoder), tower, projector, int(config.image_token_id)).train(model.training)


def _tower(vision: LlavaVision, size: int, mean: Colour, std: Colour, weight: Tensor) -> Tower:
    """Tower of the encoder, which a blank picture measures in the encoder's type and place."""
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(weight.dtype)
        with weight.device:
            return Tower(vision, (size, size), mean, std)
    finally:
        torch.set_default_dtype(before)
