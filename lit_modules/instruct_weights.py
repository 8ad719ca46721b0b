"""Weights of networks around a decoder: read late, left out of checkpoints where a source has them, interpolated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from vision_suite.errors import CheckpointError
from vision_suite.lit_modules.base import plain_containers
from vision_suite.lit_modules.in_parts import BatchT, LitInParts
from vision_suite.lit_modules.instruct_checks import is_sharded, shard
from vision_suite.models.mllm.tower import build_tower, has_random_weights
from vision_suite.models.wings.adapter import fingerprint
from vision_suite.models.wings.build import DecoderConfig, Network, Part, fit_projector, left_out_names, part_of
from vision_suite.models.wings.untouched import Untouched

if TYPE_CHECKING:
    from vision_suite.weights import Initialised


class LitInstructWeights(LitInParts[BatchT]):
    """Base of modules whose network is a decoder with a tower, a projector, wings and LoRA.

    The decoder is built empty. Its weights are read once it is known that no checkpoint brings them.

    Attributes:
        model: Network.
        decoder: Settings of its decoder.
        interpolate: Share of the way from the untouched decoder's weights to the trained ones, in tests and
            predictions.
        save_frozen: Store frozen weights in checkpoints too.
    """

    decoder: DecoderConfig
    interpolate: float
    save_frozen: bool

    def take_network(self, built: Network) -> None:
        """Take the network, before which nothing else of this class may be called."""
        self.model, self._base = built.model, built.base
        tower = self.model.tower
        self._lacks_tower = tower is not None and tower.config is not None and tower.config.structure is not None
        self._must_load = self._base is not None or self._lacks_tower
        self._blind = tower is not None and not self._lacks_tower and has_random_weights(tower)
        self._other_start: set[Part] = set()
        self._tuned: dict[str, Tensor] = {}
        self._fingerprint = ""

    def configure_model(self) -> None:
        """Shard the network over processes if the run's strategy says so; its weights are read before."""
        if self.device_mesh is not None and not is_sharded(self.model):
            self.load_base()
            shard(self.model, self.device_mesh["data_parallel"])

    def load_base(self) -> None:
        """Read the weights of decoder and tower from their files, once, unless a checkpoint has brought them.

        Raises:
            CheckpointError: The decoder's file is not the one beside which the checkpoint was trained.
        """
        if not self._must_load:
            return
        self._must_load = False
        if self._lacks_tower:
            tower = self.model.tower
            assert tower is not None
            assert tower.config is not None
            tower.load_state_dict(build_tower(replace(tower.config, structure=None)).state_dict())
        if self._base is not None:
            self._base.load()
            expected = (self.decoder.structure or {}).get("fingerprint")
            if expected and fingerprint(self.model.decoder) != expected:
                raise CheckpointError(
                    f"{self.decoder.source}: the decoder's weights are not those beside which the checkpoint was "
                    "trained: give the decoder of that run as --model.decoder.source"
                )
            fit_projector(self.model)

    def start_from(self, path: str | Path) -> Initialised:
        """Copy the weights of a file into the network, above those of the decoder's own file."""
        self.load_base()
        found = super().start_from(path)
        self._note_start(found.taken)
        return found

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load weights; frozen ones that the checkpoint leaves out come from the decoder's and the tower's files."""
        frozen = left_out_names(self.model, self._base is not None, "model.")
        left_out = frozen - state_dict.keys()
        if left_out:
            self.load_base()
        self._must_load = False
        # They may have been tuned before: a run that goes on keeps them.
        self._note_start(name.removeprefix("model.") for name in state_dict if name.startswith("model."))
        own = self.state_dict()
        whole = {**state_dict, **{name: own[name] for name in left_out}}
        return super().load_state_dict(whole, strict, assign)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out frozen weights that a source has, and record of what the rest is built again without files."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["image_token_id"] = self.model.image_token_id
        # Strategies that shard the network read checkpoints by themselves, and want every weight.
        whole = self.save_frozen or is_sharded(self.model)
        names = set() if whole else left_out_names(self.model, self._base is not None, "model.")
        names = {name for name in names if part_of(name.removeprefix("model.")) not in self._other_start}
        for name in names:
            checkpoint["state_dict"].pop(name, None)
        settings = dict(checkpoint.get("hyper_parameters") or {})
        tower = self.model.tower
        if settings.get("tower") and tower is not None:
            settings["tower"] = {**settings["tower"], "structure": plain_containers(tower.structure)}
        if self._base is not None and settings.get("decoder"):
            known = self.decoder.structure or {}
            structure = {
                "config": known.get("config") or self._base.config,
                "vocabulary": self._protocol().get("vocabulary_sha256", known.get("vocabulary", "")),
            }
            if any(name.startswith("model.decoder.") for name in names):
                self._fingerprint = self._fingerprint or fingerprint(self.model.decoder)  # frozen: it stays
                structure["fingerprint"] = self._fingerprint
            settings["decoder"] = {**settings["decoder"], "structure": structure}
        if settings:
            checkpoint["hyper_parameters"] = settings

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over the placeholder of pictures, which the data of the run tell too."""
        super().on_load_checkpoint(checkpoint)
        if self.model.image_token_id < 0:
            self.model.image_token_id = int(checkpoint.get("image_token_id", -1))

    def on_validation_start(self) -> None:
        """Have the decoder's weights."""
        self.load_base()

    def on_test_start(self) -> None:
        """Have the decoder's weights, and move them towards the untouched ones."""
        self._interpolate()

    def on_test_end(self) -> None:
        """Put the trained weights back."""
        self._put_back()

    def on_predict_start(self) -> None:
        """Have the decoder's weights, and move them towards the untouched ones."""
        self._interpolate()

    def on_predict_end(self) -> None:
        """Put the trained weights back."""
        self._put_back()

    def reachable(self, untouched: Untouched | None) -> Untouched | None:
        """The untouched decoder, or None with a warning where its file is needed and gone."""
        if untouched is None or untouched.is_there:
            return untouched
        rank_zero_warn(
            f"drift is not measured: the untouched decoder {untouched.source} is not there, and this one is tuned"
        )
        return None

    def _note_start(self, names: Iterable[str]) -> None:
        """Note parts whose weights are from another file than the settings name: checkpoints must hold them."""
        parts = {part_of(name) for name in names}
        self._other_start |= parts
        self._blind = self._blind and "tower" not in parts

    def _protocol(self) -> Mapping[str, Any]:
        """Facts of the run's data; empty without a trainer or a datamodule."""
        data = None if self._trainer is None else self.data
        return getattr(data, "protocol", {})

    def _interpolate(self) -> None:
        self.load_base()
        if self.interpolate == 1 or self._base is None or self._tuned:
            return
        for name, value in self._base.read().items():
            place = self._base.places[name]
            self._tuned[name] = place.data
            place.data = value.to(place).lerp(place.data, self.interpolate)

    def _put_back(self) -> None:
        for name, value in self._tuned.items():
            assert self._base is not None
            self._base.places[name].data = value
        self._tuned = {}
