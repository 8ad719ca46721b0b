"""CSA's detectors, BMN and G-TAD with or without attention, and the recogniser of class semantics, in the hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from vision_suite.hub.method import HubMethod, Settings, Tensors


def outputs(network: nn.Module, batch: Mapping[str, Tensor]) -> Tensors:
    """Logits of boundaries, proposals and classes of sequences."""
    found = network(batch["features"], batch.get("valid"))
    names = ("start", "end", "iou", "confidence", "snippet")
    return {name: getattr(found, name).float() for name in names}


def example(network: nn.Module, preprocess: Settings) -> Tensors:
    """One sequence of random features, of which the last steps are padding."""
    net = cast("Any", network)
    length = net.proposals.length
    features = torch.randn(1, net.in_channels, length, generator=torch.Generator().manual_seed(0))
    valid = torch.ones(1, length, dtype=torch.bool)
    valid[:, -max(1, length // 8) :] = False
    return {"features": features, "valid": valid}


def preprocess(task: str, state: Settings, settings: Settings) -> dict[str, Any]:
    """Frames a second, where the features have a fixed rate, and how a sequence is made of them."""
    stored = state["preprocessing"]
    sampling = dict(stored.get("sampling") or {})
    return {"fps": sampling.get("fps") or None, "feature": {**stored, "channels": settings["in_channels"]}}


def recognised(network: nn.Module, batch: Mapping[str, Tensor]) -> Tensors:
    """Class logits of every time step, and the features before the classifier."""
    net, features, valid = cast("Any", network), batch["features"], batch.get("valid")
    return {"logits": net(features, valid).float(), "features": net.features(features, valid).float()}


def sequence(network: nn.Module, preprocess: Settings) -> Tensors:
    """One sequence of random features."""
    channels = cast("Any", network).embed.in_channels
    return {"features": torch.randn(1, channels, 16, generator=torch.Generator().manual_seed(0))}


METHODS = (
    HubMethod(
        name="csa",
        network="vision_suite.models.csa.CSADetector",
        modules=("LitCSA",),
        tasks=("tad",),
        outputs=outputs,
        example=example,
        preprocess=preprocess,
        words={"csa.source": r"\w+"},
    ),
    HubMethod(
        name="csa",
        network="vision_suite.models.csa.recognizer.SequenceRecognizer",
        modules=("LitRecognizer",),
        tasks=("tad",),
        outputs=recognised,
        example=sequence,
        preprocess=preprocess,
    ),
)
