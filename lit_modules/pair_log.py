"""Numbers of preference learning that are logged: rewards, log-probabilities, lengths, and what to be warned of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vision_suite.losses.preference import PreferenceLoss

KEPT = 0.98  # weight of the mean so far at each step: about the last 50 steps count
FALL = 1.0  # nats a sentence
SIDES = ("chosen", "rejected")


def pair_sums(found: PreferenceLoss, policy: Tensor, reference: Tensor, lengths: Tensor) -> dict[str, Tensor]:
    """Sums over the pairs of a batch, by name; those of parts of a batch may be added up.

    Args:
        found: Loss, rewards and margins of the pairs.
        policy: (B, 2) log-probabilities.
        reference: (B, 2) of the reference.
        lengths: (B, 2) number of ids.
    """
    margins = found.margins.double()
    gap = (lengths[:, 0] - lengths[:, 1]).double()
    sums = {
        "pairs": margins.new_tensor(len(margins)),
        "loss": found.losses.double().sum(),
        "reward_accuracy": (margins > 0).double().sum(),
        "reward_margin": margins.sum(),
        "length_gap": gap.sum(),
        "margin_squares": margins.square().sum(),
        "gap_squares": gap.square().sum(),
        "products": (margins * gap).sum(),
    }
    for number, side in enumerate(SIDES):
        sums |= {
            f"rewards/{side}": found.rewards[:, number].double().sum(),
            f"logps/{side}": policy.detach()[:, number].double().sum(),
            f"reference/{side}": reference[:, number].double().sum(),
            f"length/{side}": lengths[:, number].double().sum(),
        }
    return sums


class PairLog:
    """Means of the pairs of the last steps, which single batches are too few for.

    A resumed run takes them up by `state`, so that it logs the same.
    """

    def __init__(self) -> None:
        self._means: dict[str, float] = {}
        self._warned = False

    def take(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Take the sums of a batch by `pair_sums`.

        Returns:
            Means of the batch by name, and ``length_correlation``: that of beta times the gap with the difference of
            the lengths over the last steps, NaN where all pairs are alike. Training that prefers long or short answers
            shows there.
        """
        found = {name: float(value) for name, value in sums.items()}
        pairs = found.pop("pairs")
        means = {name: value / pairs for name, value in found.items()}
        for name, value in means.items():
            self._means[name] = KEPT * self._means.get(name, value) + (1 - KEPT) * value
        hidden = ("margin_squares", "gap_squares", "products")
        shown = {name: value for name, value in means.items() if name not in hidden}
        return {**shown, "length_correlation": self._correlation()}

    @property
    def fall(self) -> str:
        """Warning, given once, that preferred answers have become less likely by more than a nat a sentence."""
        fallen = self._means["reference/chosen"] - self._means["logps/chosen"]
        if self._warned or not fallen > FALL:
            return ""
        self._warned = True
        return (
            f"preferred answers are {fallen:.2f} nats less likely than before training: the model learns to avoid both "
            "sides; use a lower --model.optim.lr or a higher --model.loss.beta"
        )

    def state(self) -> dict[str, Any]:
        """Contents for a checkpoint."""
        return {"means": dict(self._means), "warned": self._warned}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up the contents of a checkpoint."""
        self._means = {str(name): float(value) for name, value in dict(state.get("means", {})).items()}
        self._warned = bool(state.get("warned", False))

    def _correlation(self) -> float:
        means = self._means
        spread = (means["margin_squares"] - means["reward_margin"] ** 2) * (
            means["gap_squares"] - means["length_gap"] ** 2
        )
        # The means are of few digits where all values are alike.
        if not spread > 1e-12 * means["margin_squares"] * means["gap_squares"]:
            return math.nan
        return (means["products"] - means["reward_margin"] * means["length_gap"]) / math.sqrt(spread)


def lengths_of(mask: Tensor, weights: Tensor | None) -> Tensor:
    """Lengths (B, n) of answers: numbers of ids, or sums of their weights.

    Args:
        mask: (B, n, T) bool, true at ids.
        weights: (B, n, T) weights of ids, None for 1 each.
    """
    return mask.sum(-1) if weights is None else torch.where(mask, weights, 0.0).sum(-1)
