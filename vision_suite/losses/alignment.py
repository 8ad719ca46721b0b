"""Alignment of pictures with words: cross-entropy over the answers of a batch, and the distance to the own one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def alignment_loss(token: Tensor, word: Tensor, own: Tensor, *, scale: float, sharpness: float = 20.0) -> Tensor:
    """Mean over the tokens of N pictures of how unlike the own word, and how like the other words, they are.

    The cross-entropy of ``sharpness`` times the cosines of a token with the C words of the batch, from all of which
    their mean is taken off, plus the mean squared distance to the own word over ``scale`` squared.

    Args:
        token: Tokens of pictures (N, T, d), floating point.
        word: Different words (C, d), floating point.
        own: Index (N,) int64 of the word of each picture.
        scale: Standard deviation of the values of words.
        sharpness: Factor on the cosines.

    Returns:
        Scalar, at least float32. With a single word the cross-entropy is 0.

    Example:
        >>> word = torch.eye(2)
        >>> alignment_loss(word.unsqueeze(1), word, torch.tensor([0, 1]), scale=1.0) < 1e-6
        tensor(True)
        >>> round(alignment_loss(word.unsqueeze(1), word, torch.tensor([1, 0]), scale=1.0).item(), 3)
        41.0
    """
    kind = torch.promote_types(torch.promote_types(token.dtype, word.dtype), torch.float32)
    token, word = token.to(kind), word.to(kind)
    with torch.autocast(token.device.type, enabled=False):
        centre = word.mean(0)
        cosine = F.normalize(token - centre, dim=-1) @ F.normalize(word - centre, dim=-1).T
        told_apart = F.cross_entropy(sharpness * cosine.flatten(0, 1), own.repeat_interleave(token.shape[1]))
        distance = F.mse_loss(token, word[own].unsqueeze(1).expand_as(token)) / scale**2
    return told_apart + distance
