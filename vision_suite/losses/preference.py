"""Losses of preference learning, on log-probabilities of answers under the model and under its reference.

With h = s_model - s_reference of one answer, the gap of a pair is D = h_preferred - h_rejected. C-DPO of SENTINEL
(eq. 2) is the kind ``sigmoid`` on sums over one sentence whose prompt holds the beginning of the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vision_suite.errors import ConfigError, DataError, check_literals, check_number

Kind = Literal[
    "sigmoid", "ipo", "ipo_mean", "hinge", "robust", "label_smoothed", "sigmoid_norm", "ddpo", "mdpo", "supervised"
]
PER_LENGTH = ("ipo_mean", "sigmoid_norm", "ddpo", "supervised")


@dataclass(frozen=True)
class PreferenceLossConfig:
    """Settings of the loss on pairs.

    Attributes:
        kind: ``sigmoid``: DPO (Rafailov et al., 2023) and C-DPO (SENTINEL, eq. 2), -log sigmoid(beta D). ``ipo``:
            (D - 1 / (2 beta))^2 (Azar et al., 2024); ``ipo_mean``: the same on h by length, as TRL computes it.
            ``hinge``: max(0, 1 - beta D) (SLiC). ``robust``: unbiased under labels that are wrong with probability
            epsilon (Chowdhury et al., 2024). ``label_smoothed``: cross-entropy with smoothed labels.
            ``sigmoid_norm``: -log sigmoid of h by length. ``ddpo``: the same where ids have weights (RLHF-V, section
            3.1). ``mdpo``: sigmoid, and two terms on a corrupted picture and on the preferred answer alone (Wang et
            al., 2024). ``supervised``: cross-entropy of the preferred answer's ids, a control that learns nothing from
            the rejected one.
        beta: Factor on h; Table 10 of SENTINEL has 0.1, RLHF-V 0.5.
        epsilon: Share of wrong labels, for ``robust`` and ``label_smoothed`` only.
        anchor: Least reward of the preferred answer, delta of ``mdpo``.
    """

    kind: Kind = "sigmoid"
    beta: float = 0.1
    epsilon: float = 0.1
    anchor: float = 0.0

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        check_literals(self, "loss")
        check_number("loss.beta", self.beta, above=0)
        check_number("loss.epsilon", self.epsilon, low=0, below=0.5)
        check_number("loss.anchor", self.anchor)

    @property
    def answers(self) -> int:
        """Number of log-probabilities of a pair: 3 for ``mdpo``, whose third is under a corrupted picture."""
        return 3 if self.kind == "mdpo" else 2


class PreferenceLoss(NamedTuple):
    """Loss of a batch of pairs; all but `loss` are without gradients.

    Attributes:
        loss: () mean over the pairs.
        losses: (B,) loss of each pair.
        rewards: (B, 2) beta h of the preferred and of the rejected answer, never divided by a length.
        margins: (B,) differences of the rewards.
        accuracy: () share of pairs with a positive margin.
    """

    loss: Tensor
    losses: Tensor
    rewards: Tensor
    margins: Tensor
    accuracy: Tensor


def preference_loss(
    policy: Tensor, reference: Tensor, config: PreferenceLossConfig | None = None, *, lengths: Tensor | None = None
) -> PreferenceLoss:
    """Loss of pairs of answers.

    Args:
        policy: (B, 2) log-probabilities under the model, of the preferred and the rejected answer: sums over ids, for
            ``ddpo`` weighted sums. For ``mdpo`` (B, 3): the third is the preferred answer under a corrupted picture.
        reference: The same of the reference model; no gradient flows into it.
        config: Settings; by default C-DPO.
        lengths: (B, 2) number of ids of each answer, for ``ddpo`` the sum of their weights; needed for ``ipo_mean``,
            ``sigmoid_norm``, ``ddpo`` and ``supervised`` only.

    Raises:
        ConfigError: Shapes do not fit, or lengths are missing.
        DataError: There is no pair, or an answer has no length.

    Example:
        >>> found = preference_loss(torch.tensor([[-1.2, -3.1]]), torch.tensor([[-1.7, -2.2]]))
        >>> found.loss, found.rewards
        (tensor(0.6256), tensor([[ 0.0500, -0.0900]]))
    """
    config = config or PreferenceLossConfig()
    shape = tuple(policy.shape)
    if policy.dim() != 2 or shape[1] != config.answers or reference.shape != policy.shape:
        raise ConfigError(
            f"log-probabilities {shape} and of the reference {tuple(reference.shape)} do not fit loss.kind="
            f"{config.kind!r}: give (B, {config.answers}) of both"
        )
    if not shape[0]:
        raise DataError("a batch without pairs has no loss: give at least one pair")
    policy = policy.to(torch.promote_types(policy.dtype, torch.float32))
    gains = policy - reference.detach().to(policy.dtype)
    rewards = config.beta * gains[:, :2].detach()
    margins = rewards[:, 0] - rewards[:, 1]
    if config.kind == "supervised":
        losses = -policy[:, 0] / _checked(lengths, policy, config.kind)[:, 0]
    else:
        losses = _losses(gains, config, lengths)
    accuracy = (margins > 0).to(policy.dtype).mean()
    return PreferenceLoss(losses.mean(), losses.detach(), rewards, margins, accuracy)


def _losses(gains: Tensor, config: PreferenceLossConfig, lengths: Tensor | None) -> Tensor:
    """Loss (B,) of each pair from h (B, 2 or 3)."""
    kind, beta, epsilon = config.kind, config.beta, config.epsilon
    pair = gains[:, :2]
    if kind in PER_LENGTH:
        pair = pair / _checked(lengths, pair, kind)
    gap = pair[:, 0] - pair[:, 1]
    if kind in ("ipo", "ipo_mean"):
        return (gap - 1 / (2 * beta)).square()
    if kind == "hinge":
        return F.relu(1 - beta * gap)
    right, wrong = -F.logsigmoid(beta * gap), -F.logsigmoid(-beta * gap)
    if kind == "robust":
        return ((1 - epsilon) * right - epsilon * wrong) / (1 - 2 * epsilon)
    if kind == "label_smoothed":
        return (1 - epsilon) * right + epsilon * wrong
    if kind == "mdpo":
        picture = -F.logsigmoid(beta * (gains[:, 0] - gains[:, 2]))
        return right + picture - F.logsigmoid(beta * gains[:, 0] - config.anchor)
    return right


def _checked(lengths: Tensor | None, pair: Tensor, kind: str) -> Tensor:
    """Lengths (B, 2) in the type of h."""
    if lengths is None or lengths.shape != pair.shape:
        found = "none" if lengths is None else str(tuple(lengths.shape))
        raise ConfigError(f"loss.kind={kind!r} needs lengths (B, 2) of the answers: got {found}")
    if not bool((lengths > 0).all()):
        raise DataError(f"an answer has no ids (length {float(lengths.min()):g}): every answer needs one at least")
    return lengths.to(pair.dtype)
