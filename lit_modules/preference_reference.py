"""References of preference learning: the model before training, by adapter, first weights, or stored numbers."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vision_suite.errors import CheckpointError, ConfigError
from vision_suite.lit_modules.instruct_checks import is_sharded
from vision_suite.models.mllm import Mllm
from vision_suite.models.mllm.lora import lora_off, lora_parameters

ReferenceKind = Literal["auto", "adapter", "start", "stored"]
DROPOUT = ("attention_dropout", "drop_prob")  # settings of layers that drop values out without a module for it


class ModelBefore(ABC):
    """The model before training.

    Attributes:
        kind: Word of `ReferenceKind`.
        words: What it is, for the log.
    """

    kind: str
    words: str

    @abstractmethod
    def active(self) -> Any:
        """Context in which the network computes as the reference; no gradients are recorded in it."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Contents for a checkpoint."""


class AdapterReference(ModelBefore):
    """The network with LoRA switched off; exact where LoRA alone is trained and starts with an update of zero.

    Args:
        model: Network that is trained.
    """

    kind, words = "adapter", "the network without LoRA"

    def __init__(self, model: Mllm) -> None:
        self.model = model

    @contextmanager
    def active(self) -> Iterator[None]:
        """Context without LoRA."""
        with torch.no_grad(), lora_off(self.model):
            yield

    def state(self) -> dict[str, Any]:
        """The kind alone."""
        return {"kind": self.kind}


class StartReference(ModelBefore):
    """The network at its first weights: a copy of those that are trained, put in their place while it computes.

    Nothing else of the network changes in training, so no second network is needed.

    Args:
        model: Network that is trained.
        values: First weights by name, out of a checkpoint; None copies those of the network.

    Raises:
        CheckpointError: The first weights of a checkpoint are of other parameters.
    """

    kind, words = "start", "a copy of the weights that are trained"

    def __init__(self, model: Mllm, values: Mapping[str, Tensor] | None = None) -> None:
        self.model = model
        own = {name: each for name, each in model.named_parameters() if each.requires_grad}
        given = {name: each.detach() for name, each in own.items()} if values is None else dict(values)
        odd = [name for name in own.keys() | given.keys() if _shape(own, name) != _shape(given, name)]
        if odd:
            raise CheckpointError(
                f"the checkpoint's reference and the trained weights differ in {min(odd)}: train the parts of the run "
                "that is resumed"
            )
        self._values = {name: given[name].to(each, copy=True) for name, each in own.items()}

    @contextmanager
    def active(self) -> Iterator[None]:
        """Context with the first weights."""
        places = dict(self.model.named_parameters())
        trained = {name: places[name].data for name in self._values}
        try:
            for name, value in self._values.items():
                places[name].data = value
            with torch.no_grad():
                yield
        finally:
            for name, value in trained.items():
                places[name].data = value

    def state(self) -> dict[str, Any]:
        """The copy."""
        return {"kind": self.kind, "values": {name: each.cpu() for name, each in self._values.items()}}


class StoredReference(ModelBefore):
    """Log-probabilities that the model had before training, which batches bring along.

    Args:
        model: Network that is trained.
        weights: Checksum of the weights that they are of; empty for those of the network as it is now.
    """

    kind, words = "stored", "log-probabilities from before the first step"

    def __init__(self, model: Mllm, weights: str = "") -> None:
        self.model, self._given = model, weights
        self.weights = weights or weights_sha256(model)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Context in which the network must not have been trained yet.

        Raises:
            CheckpointError: Numbers are missing in a run that goes on.
        """
        if self._given and weights_sha256(self.model) != self._given:
            raise CheckpointError(
                "reference log-probabilities of the run are not stored any more, and its weights have changed since: "
                "bring their file back, or start the run anew"
            )
        with torch.no_grad():
            yield

    def state(self) -> dict[str, Any]:
        """The checksum of the weights."""
        return {"kind": self.kind, "weights": self.weights}


def make_reference(
    model: Mllm, kind: ReferenceKind, trained: Collection[str], stored: Mapping[str, Any]
) -> AdapterReference | StartReference | StoredReference:
    """The reference of a checkpoint, or a new one of the present weights.

    Args:
        model: Network that is trained, its weights loaded.
        kind: Kind; ``auto`` takes the adapter where LoRA alone is trained and has not been trained before, else the
            first weights.
        trained: Parts that are trained.
        stored: Contents of a checkpoint by `ModelBefore.state`; empty in a run that starts.

    Raises:
        ConfigError: The network cannot have a reference of this kind.
        CheckpointError: The checkpoint's does not fit.
    """
    alone = set(trained) == {"lora"}
    chosen = str(stored.get("kind", kind))
    if chosen == "auto":
        chosen = "adapter" if alone and starts_at_zero(model) else "start"
    if chosen == "stored":
        return StoredReference(model, str(stored.get("weights", "")))
    if chosen == "adapter":
        if not alone or not (stored or starts_at_zero(model)):
            why = "this LoRA has been trained before" if alone else f"train={sorted(trained)}"
            raise ConfigError(
                f"reference=adapter is the model before training where a new LoRA alone is trained, and {why}: use "
                "reference=start"
            )
        return AdapterReference(model)
    if is_sharded(model):
        raise ConfigError(
            "reference=start needs whole weights, and this strategy shards them: train LoRA alone with "
            "reference=adapter, or use reference=stored or strategy=ddp"
        )
    return StartReference(model, stored.get("values"))


def starts_at_zero(model: nn.Module) -> bool:
    """Tell whether every update by LoRA is zero, so that the network is the same without it."""
    ups = [each for name, each in lora_parameters(model).items() if ".lora_B." in name]
    return bool(ups) and not any(bool(each.detach().any()) for each in ups)


def without_dropout(model: nn.Module) -> None:
    """Switch all dropout off, in place: model and reference would draw apart."""
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        for name in DROPOUT:
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 of all weights and buffers of a network, with their names and types."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        plain = value.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {list(plain.shape)}\n".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _shape(tensors: Mapping[str, Tensor], name: str) -> torch.Size | None:
    return tensors[name].shape if name in tensors else None
