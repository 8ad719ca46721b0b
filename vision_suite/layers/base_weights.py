"""Weights of a decoder that are read after its network is built, so that its size is known before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

from vision_suite.errors import CheckpointError
from vision_suite.layers.decoders import decoder_config, load_decoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class BaseWeights:
    """The parameters of a decoder that come from a file, wherever they end up in a network.

    Wrappers such as wings and LoRA move the modules of a decoder and keep its parameters; so the parameters are noted
    before anything is attached.

    Args:
        decoder: Decoder as transformers makes it.
        source: Folder, prepared set, hub name or ``.gguf`` file of its weights.

    Attributes:
        config: Configuration of the model, of which it is built again without its files.
    """

    def __init__(self, decoder: nn.Module, source: str | Path) -> None:
        self.source = source
        self.config = decoder_config(cast("PreTrainedModel", decoder))
        self.places = dict(decoder.named_parameters())

    def load(self) -> None:
        """Read the weights, and put them into their places.

        Raises:
            CheckpointError: The file holds other parameters.
        """
        for name, value in self.read().items():
            place = self.places[name]
            if place.device == value.device:
                place.data = value  # no second copy
            else:
                place.data.copy_(value)

    def read(self) -> dict[str, Tensor]:
        """The weights by the decoder's own names, as they are in the file.

        Raises:
            CheckpointError: The file holds other parameters.
        """
        kind = next(iter(self.places.values())).dtype
        found = dict(load_decoder(self.source, dtype=kind).named_parameters())
        for name, place in self.places.items():
            if name not in found or found[name].shape != place.shape:
                raise CheckpointError(f"{self.source}: no {name} of shape {list(place.shape)}: its config.json differs")
        return {name: found[name].detach() for name in self.places}
