"""Layers that treat padding as if the sequence ended there: zeros behind it, and no part in means or statistics."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)


def zeroed(sequence: Tensor, valid: Tensor | None) -> Tensor:
    """(B, C, T) with 0 where ``valid`` (B, T) is False, whatever stood there, NaN included."""
    return sequence if valid is None else sequence.masked_fill(~valid[:, None], 0.0)


def run_masked(layers: Iterable[nn.Module], inputs: Tensor, outside: Tensor | None) -> Tensor:
    """Run layers one after the other, with 0 behind every convolution where ``outside`` is True.

    A convolution pads its input with zeros, so the next one sees at the border of the padding what it would see at the
    end of the sequence.

    Args:
        layers: Convolutions, normalisations and activations that leave 0 at 0.
        inputs: (B, C, ...), 0 outside already where the first layer reaches beyond a position.
        outside: Bool, broadcast to (B, 1, ...); None runs the layers as they are.
    """
    out = inputs
    for layer in layers:
        out = layer(out)
        if outside is not None and isinstance(layer, CONVOLUTIONS):
            out = out.masked_fill_(outside, 0.0)  # nothing else holds a convolution's output
    return out


def masked_mean(sequence: Tensor, valid: Tensor | None) -> Tensor:
    """Mean over the valid time steps: (B, C, T) to (B, C)."""
    if valid is None:
        return sequence.mean(dim=2)
    return zeroed(sequence, valid).sum(dim=2) / valid.sum(dim=1).to(sequence.dtype).clamp(min=1)[:, None]


class MaskedBatchNorm1d(nn.BatchNorm1d):
    """Batch normalisation of (B, C, T) whose statistics in training leave padding out.

    A channel with fewer than two valid entries in the batch is normalised by its running statistics.
    """

    def forward(self, input: Tensor, valid: Tensor | None = None) -> Tensor:
        """Normalise; ``valid`` bool, broadcast to (B, C, T). Without padding it is PyTorch's layer exactly."""
        if valid is None or not self.training or bool(valid.all()):
            return super().forward(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        counted = valid.expand_as(input)
        values = input.float()
        number = counted.sum(dim=(0, 2))
        enough = number >= 2
        mean = values.masked_fill(~counted, 0.0).sum(dim=(0, 2)) / number.clamp(min=1)
        spread = (values - mean[:, None]).masked_fill(~counted, 0.0).square().sum(dim=(0, 2))
        with torch.no_grad():
            self.num_batches_tracked += 1
            share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            for running, found in ((self.running_mean, mean), (self.running_var, spread / (number - 1).clamp(min=1))):
                running.copy_(torch.where(enough, torch.lerp(running, found.to(running.dtype), share), running))
        mean = torch.where(enough, mean, self.running_mean)
        variance = torch.where(enough, spread / number.clamp(min=1), self.running_var)
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = scale * self.weight
        out = (values - mean[:, None]) * scale[:, None]
        return (out if not self.affine else out + self.bias[:, None]).to(input.dtype)
