"""Base of the modules that train a language model that reads pictures: its parts, their checks, and what is told."""

from __future__ import annotations

from typing import Any, ClassVar

from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn
from pytorch_lightning.utilities.types import OptimizerLRScheduler

from vision_suite.errors import ConfigError
from vision_suite.lit_modules.base import datamodule_of
from vision_suite.lit_modules.in_parts import BatchT
from vision_suite.lit_modules.instruct_checks import check_data, group_lines
from vision_suite.lit_modules.instruct_weights import LitInstructWeights
from vision_suite.models.mllm import ProjectorConfig, TowerConfig
from vision_suite.models.mllm.lora import LoraSettings, lora_parameters
from vision_suite.models.wings.build import DecoderConfig, Part, build_network, default_parts, set_trained
from vision_suite.models.wings.config import WingsConfig
from vision_suite.records import as_record
from vision_suite.types.instruct import InstructSource


class LitMllm(LitInstructWeights[BatchT]):
    """Base of `LitWings` and `LitSentinel`: decoder, tower, projector, wings and LoRA, of which parts are trained.

    Attributes:
        wings: Settings of the wings; None without.
        train_parts: Parts that are trained.
        trained: Number of trained parameters of each.
        image_tokens: Tokens of one picture, 0 without pictures.
    """

    data: InstructSource
    start_only: ClassVar[tuple[str, ...]] = ("decoder.source", "wings.rank", "lora.rank")

    def assemble(
        self,
        vocabulary_size: int,
        image_tokens: int,
        *,
        decoder: DecoderConfig | None,
        tower: TowerConfig | None,
        projector: ProjectorConfig | None,
        wings: WingsConfig | None,
        lora: LoraSettings | None,
        train: tuple[Part, ...] | None,
        save_frozen: bool,
    ) -> None:
        """Build the network and choose the parts that are trained; a constructor calls it.

        Raises:
            ConfigError: Settings do not fit together.
        """
        self.decoder = as_record(DecoderConfig, decoder or {}, "decoder")
        self.wings = None if wings is None else as_record(WingsConfig, wings, "wings")
        if not self.decoder.source and vocabulary_size < 1:
            raise ConfigError(
                "the data does not tell the vocabulary of a new decoder: give --data.root, or the --ckpt_path of a "
                "trained model"
            )
        built = build_network(
            vocabulary_size,
            self.decoder,
            tower=None if tower is None else as_record(TowerConfig, tower, "tower"),
            projector=None if projector is None else as_record(ProjectorConfig, projector, "projector"),
            wings=self.wings,
            lora=None if lora is None else as_record(LoraSettings, lora, "lora"),
        )
        if image_tokens and built.model.tower is None:
            raise ConfigError(f"pictures of image_tokens={image_tokens} need a vision tower: give --model.tower.kind")
        self.take_network(built)
        self.train_parts = default_parts(self.model, self.wings) if train is None else tuple(train)
        self.trained = set_trained(self.model, self.train_parts, self.wings)
        # Dropout of LoRA and repeated activations are for training; a frozen tower stays as in evaluation.
        self.model.train()
        self.interpolate, self.save_frozen, self.image_tokens = 1.0, save_frozen, image_tokens

    def setup(self, stage: str) -> None:
        """Compare the data with the network.

        Raises:
            ConfigError: The network cannot read what the data give.
        """
        if datamodule_of(self.trainer) is not None:  # else the trainer was given loaders
            check_data(self.model, self.data, self.decoder, self.image_tokens)
            self.model.image_token_id = self.data.chat.image_token_id

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimiser and schedule; the rates and sizes of the trained parts are told."""
        self.load_base()  # only now it is known that no checkpoint brought them
        if self._blind and "tower" not in self.train_parts:
            rank_zero_warn(
                "the vision tower is frozen at random weights, and sees next to nothing: give --model.tower.checkpoint "
                "or --model.tower.pretrained=true, or add tower to --model.train"
            )
        lora = lora_parameters(self.model)
        if (
            lora
            and "lora" not in self.train_parts
            and not any(w.any() for name, w in lora.items() if ".lora_B." in name)
        ):
            rank_zero_warn("LoRA is new and not trained, so it changes nothing: add lora to --model.train")
        made: Any = super().configure_optimizers()
        for line in group_lines(self, made):
            rank_zero_info(line)
        return made  # type: ignore[no-any-return]
