"""Class-semantics attention and squeeze-and-excitation over a sequence of encoded features.

CSA: Sridhar et al., "Class Semantics-based Attention for Action Detection", ICCV 2021, figure 1. No code was
published; what the figure leaves open is an argument here, with its reason in docs/csa.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from vision_suite.errors import ConfigError, check_choice, check_literals, check_number
from vision_suite.models.csa.masking import MaskedBatchNorm1d, masked_mean, zeroed

SelfAttention = Literal["none", "se", "csa", "csa_se"]


@dataclass(frozen=True)
class CSAConfig:
    """Settings of the block that the paper leaves open.

    Attributes:
        hidden: Width of the branches' convolutions; unset for the encoder's width.
        conv_kernel: Their kernel, odd.
        temporal_mode: ``pool_channels`` averages the temporal branch's convolution over channels; ``transpose``
            convolves with time steps as channels and averages over what was the channel axis.
        temporal_fc: ``linear`` is the figure's T x T layer, tied to one T; ``conv`` a convolution along time of kernel
            9 that takes any length (ours, not the paper's).
        proj_kernel: Kernel of the projection, odd.
        proj_act: Activation behind the projection.
        norm: Batch normalisation behind the branches' convolutions, or none.
        init: ``identity`` starts as F' = F exactly, so that a trained host is not disturbed; ``default`` as PyTorch.
        branches: ``both``, or one of them alone, to see what each does.
        source: Input that attention is learnt from: the ``semantics`` R, or the encoded ``features`` F.
    """

    hidden: int | None = None
    conv_kernel: int = 3
    temporal_mode: Literal["pool_channels", "transpose"] = "pool_channels"
    temporal_fc: Literal["linear", "conv"] = "linear"
    proj_kernel: int = 1
    proj_act: Literal["none", "relu"] = "none"
    norm: Literal["none", "batch"] = "none"
    init: Literal["default", "identity"] = "default"
    branches: Literal["both", "channel", "temporal"] = "both"
    source: Literal["semantics", "features"] = "semantics"

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        check_literals(self, "csa")
        if self.hidden is not None:
            check_number("csa.hidden", self.hidden, low=1, whole=True)
        for name in ("conv_kernel", "proj_kernel"):
            check_number(f"csa.{name}", getattr(self, name), low=1, whole=True)
            if getattr(self, name) % 2 == 0:
                raise ConfigError(f"csa.{name}={getattr(self, name)} must be odd, so that the length stays")
        if self.temporal_mode == "transpose" and self.temporal_fc == "conv":
            raise ConfigError("csa.temporal_mode=transpose has time steps as channels and cannot be free of the length")
        if self.init == "identity" and (self.proj_act != "none" or self.branches != "both"):
            raise ConfigError("csa.init=identity needs both branches and a projection without activation")


@dataclass
class Gates:
    """Attention of one forward pass: ``channel`` a (B, C_out), ``temporal`` s (B, T), each None where there is none."""

    channel: Tensor | None = None
    temporal: Tensor | None = None


class CSA(nn.Module):
    """Channel and temporal gates learnt from class-rich snippet features, applied to encoded features.

    Each branch is conv - ReLU - average - FC - sigmoid on R; the encoded features F are multiplied by the channel gate
    a (B, C_out) and, apart from that, by the temporal gate s (B, T), concatenated and projected. There is no residual
    path, and F' is linear in F for a given R (without ``proj_act``).

    Args:
        in_channels: Width C_in of the semantics R.
        channels: Width C_out of the encoded features F.
        length: Number T of time steps; any number with ``temporal_fc: conv``.
        config: Open points of the paper.
    """

    def __init__(self, in_channels: int, channels: int, length: int, config: CSAConfig | None = None) -> None:
        super().__init__()
        config = config or CSAConfig()
        self.config, self.length = config, length
        source = channels if config.source == "features" else in_channels
        hidden, kernel = config.hidden or channels, config.conv_kernel
        use_channel, use_temporal = config.branches != "temporal", config.branches != "channel"
        self.conv_channel = _conv(source, hidden, kernel, config.norm) if use_channel else None
        self.fc_channel = nn.Linear(hidden, channels) if use_channel else None
        self.conv_temporal: nn.Sequential | None = None
        self.fc_temporal: nn.Module | None = None
        if use_temporal:
            transposed = config.temporal_mode == "transpose"
            self.conv_temporal = _conv(*((length, length) if transposed else (source, hidden)), kernel, config.norm)
            self.fc_temporal = (
                nn.Conv1d(1, 1, 9, padding=4) if config.temporal_fc == "conv" else nn.Linear(length, length)
            )
        count = int(use_channel) + int(use_temporal)
        self.project = nn.Conv1d(count * channels, channels, config.proj_kernel, padding=config.proj_kernel // 2)
        if config.init == "identity":
            self._start_as_identity(channels)

    def forward(self, features: Tensor, semantics: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Gates]:
        """Gate the encoded features.

        Args:
            features: F (B, C_out, T).
            semantics: R (B, C_in, T).
            valid: (B, T) bool, False where the sequence is padded; whatever stands there counts as 0, averages leave it
                out, and s is 0 there.

        Returns:
            F' (B, C_out, T), 0 where padded, and the gates.

        Raises:
            ConfigError: T is not the length the block was built for.
        """
        length = features.shape[2]
        if semantics.shape[2] != length:
            raise ConfigError(f"features have {length} time steps but semantics {semantics.shape[2]}: align them")
        if self.config.temporal_fc == "linear" and self.config.branches != "channel" and length != self.length:
            raise ConfigError(
                f"CSA was built for {self.length} time steps and got {length}: its temporal layer is T x T; "
                "use csa.temporal_fc=conv for any length"
            )
        # Convolutions reach over the border of the padding, whatever stands there.
        features, semantics = zeroed(features, valid), zeroed(semantics, valid)
        source = features if self.config.source == "features" else semantics
        gated, gates = [], Gates()
        if self.conv_channel is not None and self.fc_channel is not None:
            pooled = masked_mean(_branch(self.conv_channel, source, valid, 2), valid)
            gates.channel = torch.sigmoid(self.fc_channel(pooled))
            gated.append(features * gates.channel[:, :, None])
        if self.conv_temporal is not None and self.fc_temporal is not None:
            gates.temporal = self._temporal(source, valid)
            gated.append(features * gates.temporal[:, None])
        out = zeroed(self.project(torch.cat(gated, dim=1)), valid)
        return (torch.relu(out) if self.config.proj_act == "relu" else out), gates

    def _temporal(self, source: Tensor, valid: Tensor | None) -> Tensor:
        assert self.conv_temporal is not None
        assert self.fc_temporal is not None
        if self.config.temporal_mode == "transpose":
            pooled = _branch(self.conv_temporal, source.transpose(1, 2), valid, 1).mean(dim=2)
        else:
            pooled = _branch(self.conv_temporal, source, valid, 2).mean(dim=1)
        if valid is not None:
            pooled = pooled * valid
        if self.config.temporal_fc == "conv":
            gate = torch.sigmoid(self.fc_temporal(pooled[:, None])[:, 0])
        else:
            gate = torch.sigmoid(self.fc_temporal(pooled))
        return gate if valid is None else gate * valid

    def _start_as_identity(self, channels: int) -> None:
        """Both gates at one half, and a projection that adds the two halves."""
        for layer in (self.fc_channel, self.fc_temporal):
            assert isinstance(layer, nn.Linear | nn.Conv1d)
            nn.init.zeros_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.project.weight)
        assert self.project.bias is not None
        nn.init.zeros_(self.project.bias)
        middle = self.project.kernel_size[0] // 2
        with torch.no_grad():
            self.project.weight[:, :, middle] = torch.eye(channels).repeat(1, 2)


class SqueezeExcitation(nn.Module):
    """Channel gate learnt from the features it is applied to (Hu et al., CVPR 2018), over time.

    Args:
        channels: Width C.
        reduction: C over the width of the hidden layer.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, max(channels // reduction, 1))
        self.excite = nn.Linear(max(channels // reduction, 1), channels)

    def forward(self, features: Tensor, valid: Tensor | None = None) -> Tensor:
        """(B, C, T) gated; ``valid`` (B, T) bool leaves padding out of the average."""
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(masked_mean(features, valid)))))
        return zeroed(features, valid) * gate[:, :, None]


class FeatureAttention(nn.Module):
    """Attention between a host's encoder and its heads: none, SE, CSA, or SE and then CSA.

    Args:
        kind: Kind of attention.
        in_channels: Width of the semantics R.
        channels: Width of the encoded features F.
        length: Number of time steps.
        config: Open points of CSA.
    """

    def __init__(
        self, kind: SelfAttention, in_channels: int, channels: int, length: int, config: CSAConfig | None = None
    ) -> None:
        super().__init__()
        check_choice("self_attention", kind, get_args(SelfAttention))
        self.se = SqueezeExcitation(channels) if kind in ("se", "csa_se") else None
        self.csa = CSA(in_channels, channels, length, config) if kind in ("csa", "csa_se") else None

    def forward(self, features: Tensor, semantics: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Gates]:
        """F (B, C_out, T) and R (B, C_in, T) to F' and CSA's gates; ``valid`` (B, T) bool."""
        gates = Gates()
        if self.se is not None:
            features = self.se(features, valid)
        if self.csa is not None:
            features, gates = self.csa(features, semantics, valid)
        return features, gates


def _conv(inputs: int, outputs: int, kernel: int, norm: str) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2)]
    if norm == "batch":
        layers.append(MaskedBatchNorm1d(outputs))
    return nn.Sequential(*layers, nn.ReLU())


def _branch(layers: nn.Sequential, inputs: Tensor, valid: Tensor | None, axis: int) -> Tensor:
    """The layers of `_conv`; ``valid`` (B, T) says which time steps count, ``axis`` where they lie (1 or 2)."""
    out = inputs
    for layer in layers:
        if isinstance(layer, MaskedBatchNorm1d):
            out = layer(out, None if valid is None else valid.unsqueeze(3 - axis))
        else:
            out = layer(out)
    return out
