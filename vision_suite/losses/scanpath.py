"""Losses of scanpath models: cross-entropy of the next fixation, and log-normal likelihood of its duration."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100


def next_fixation_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over all steps with a label (OAT, Fang et al., ECCV 2024: every class, padding included).

    Args:
        logits: (B, T, C) floating point; -inf for classes that do not exist.
        labels: (B, T) int64, -100 where there is none.

    Returns:
        Scalar float32, nats per step; 0 (with a gradient of 0) if no step has a label.

    Example:
        >>> logits = torch.zeros(1, 2, 4)  # two steps over three objects and the end
        >>> round(next_fixation_loss(logits, torch.tensor([[2, -100]])).item(), 4)
        1.3863
    """
    counted = labels != IGNORED
    kept = logits[counted].float()
    if not len(kept):
        return torch.where(logits.isfinite(), logits, 0.0).sum() * 0.0
    return F.cross_entropy(kept, labels[counted])


def log_normal_nll(timing: Tensor, duration: Tensor) -> Tensor:
    """Mean negative log-likelihood of durations under log-normal distributions, in nats, over the known ones.

    ``log d + log s + log(2 pi) / 2 + (log d - m)^2 / (2 s^2)``.

    Args:
        timing: (..., 2) mean m and log standard deviation log s of the logarithm of the duration.
        duration: (...,) seconds, NaN where unknown.

    Returns:
        Scalar float32; 0 (with a gradient of 0) if no duration is known.

    Example:
        >>> timing = torch.zeros(2, 2)  # median 1 s, standard deviation of the logarithm 1
        >>> round(log_normal_nll(timing, torch.tensor([1.0, torch.nan])).item(), 4)
        0.9189
    """
    known = duration > 0  # False for NaN
    mean, log_scale = timing[known].float().unbind(-1)
    if not len(mean):
        return timing.sum() * 0.0
    log_duration = duration[known].float().log()
    deviation = (log_duration - mean) * torch.exp(-log_scale)
    return (log_duration + log_scale + 0.5 * math.log(2 * math.pi) + 0.5 * deviation.square()).mean()


def scanpath_loss(
    logits: Tensor,
    labels: Tensor,
    timing: Tensor | None = None,
    duration: Tensor | None = None,
    *,
    duration_weight: float = 1.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Weighted sum of the losses, and its terms ``fixation`` and, where there is a duration head, ``duration``.

    Args:
        logits: (B, T, C) floating point; -inf for classes that do not exist.
        labels: (B, T) int64, -100 where there is none.
        timing: (B, T, 2) mean and log standard deviation, see `log_normal_nll`.
        duration: (B, T) seconds, NaN where unknown.
        duration_weight: Factor of the duration's term.

    Returns:
        Scalar float32 sum and the terms by name, without their factors.

    Example:
        >>> total, terms = scanpath_loss(torch.zeros(1, 1, 4), torch.tensor([[2]]))
        >>> round(total.item(), 4), list(terms)
        (1.3863, ['fixation'])
    """
    terms = {"fixation": next_fixation_loss(logits, labels)}
    total = terms["fixation"]
    if timing is not None and duration is not None:
        terms["duration"] = log_normal_nll(timing, duration)
        total = total + duration_weight * terms["duration"]
    return total, terms
