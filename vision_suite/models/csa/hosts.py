"""The detectors that CSA is put into: BMN and G-TAD, each as an encoder and the heads behind it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vision_suite.layers.proposal_map import Convention, ProposalMap
from vision_suite.models.csa.boundary_matching import DenseSampledConvolution, SampledConvolution
from vision_suite.models.csa.masking import run_masked, zeroed
from vision_suite.models.csa.sampling import ALIGN_BINS, BMN_BINS, align_weights, bmn_weights

WIDTH = 256
MAP_WIDTH, PROPOSAL_WIDTH = 128, 512


class HostOutput(NamedTuple):
    """Logits of a host: ``start`` and ``end`` (B, T); ``maps`` (B, 2, D, T), channels as `Convention` says."""

    start: Tensor
    end: Tensor
    maps: Tensor


class Host(nn.Module, ABC):
    """A proposal network in two halves, so that attention can stand between them.

    Attributes:
        channels: Width C_out of the encoded features.
        proposals: The proposal map.
    """

    channels = WIDTH
    sample: SampledConvolution
    localise: nn.Sequential

    def __init__(self, proposals: ProposalMap) -> None:
        super().__init__()
        self.proposals = proposals

    @abstractmethod
    def encode(self, semantics: Tensor, valid: Tensor | None = None) -> Tensor:
        """R (B, C_in, T) to F (B, C_out, T); where ``valid`` (B, T) is False, R must be 0 and F is 0."""

    @abstractmethod
    def heads(self, features: Tensor, valid: Tensor | None = None) -> HostOutput:
        """F' (B, C_out, T) to logits; where ``valid`` (B, T) is False, F' must be 0."""

    def evaluate(self, sequence: Tensor, valid: Tensor | None) -> Tensor:
        """Sample every proposal of a sequence (B, C, T), 0 where padded, and score it: (B, 2, D, T) logits."""
        if valid is None:
            return run_masked(self.localise, torch.relu_(self.sample(sequence)), None)
        missing = self.proposals.valid().to(valid.device) & ~self.proposals.contained(valid)
        outside = ~self.proposals.inside(valid)[:, None]
        return run_masked(self.localise, torch.relu_(self.sample(sequence, missing)), outside)


class BMN(Host):
    """Boundary-matching network (Lin et al., ICCV 2019), as the public code that reproduces its numbers has it.

    Args:
        in_channels: Width C_in of the snippet features.
        proposals: The proposal map.
        convention: Conventions in which the public codes differ.
        pem_width: Width before sampling: 256 (JJBOY, mmaction2) or 128 (OpenTAD).
        dense: Sample through the stored dense matrix, for comparison.
        xavier: Start all convolutions Xavier-uniform with bias 0 (OpenTAD) instead of PyTorch's default.
    """

    def __init__(
        self,
        in_channels: int,
        proposals: ProposalMap,
        convention: Convention,
        *,
        pem_width: int = WIDTH,
        dense: bool = False,
        xavier: bool = False,
    ) -> None:
        super().__init__(proposals)
        self.base = nn.Sequential(
            nn.Conv1d(in_channels, WIDTH, 3, padding=1, groups=4),
            nn.ReLU(),
            nn.Conv1d(WIDTH, WIDTH, 3, padding=1, groups=4),
            nn.ReLU(),
        )
        self.start, self.end = (
            nn.Sequential(nn.Conv1d(WIDTH, WIDTH, 3, padding=1, groups=4), nn.ReLU(), nn.Conv1d(WIDTH, 1, 1))
            for _ in range(2)
        )
        self.reduce = nn.Sequential(nn.Conv1d(WIDTH, pem_width, 3, padding=1), nn.ReLU())
        entries = bmn_weights(proposals, sampling=convention.sampling)
        layer = DenseSampledConvolution if dense else SampledConvolution
        self.sample = layer(pem_width, PROPOSAL_WIDTH, proposals, entries, BMN_BINS)
        self.localise = _map_head()
        if xavier:
            for module in self.modules():
                if isinstance(module, nn.Conv1d | nn.Conv2d | SampledConvolution):
                    nn.init.xavier_uniform_(module.weight)
                    assert module.bias is not None
                    nn.init.zeros_(module.bias)

    def encode(self, semantics: Tensor, valid: Tensor | None = None) -> Tensor:
        """The base module."""
        return run_masked(self.base, semantics, _outside(valid))

    def heads(self, features: Tensor, valid: Tensor | None = None) -> HostOutput:
        """Temporal and proposal evaluation modules."""
        outside = _outside(valid)
        maps = self.evaluate(run_masked(self.reduce, features, outside), valid)
        start, end = (run_masked(layers, features, outside)[:, 0] for layers in (self.start, self.end))
        return HostOutput(start, end, maps)


class GCNeXt(nn.Module):
    """G-TAD's block: grouped convolutions over neighbours in time and over nearest neighbours in feature space.

    Args:
        channels: Width C of input and output.
        neighbours: Nearest features k of each time step, itself included.
        groups: Groups of the middle convolutions, each 4 wide.
    """

    def __init__(self, channels: int, neighbours: int = 3, groups: int = 32) -> None:
        super().__init__()
        self.neighbours = neighbours
        width = 4 * groups
        self.in_time = nn.Sequential(
            nn.Conv1d(channels, width, 1),
            nn.ReLU(),
            nn.Conv1d(width, width, 3, padding=1, groups=groups),
            nn.ReLU(),
            nn.Conv1d(width, channels, 1),
        )
        self.in_space = nn.Sequential(
            nn.Conv2d(2 * channels, width, 1),
            nn.ReLU(),
            nn.Conv2d(width, width, 1, groups=groups),
            nn.ReLU(),
            nn.Conv2d(width, channels, 1),
        )

    def forward(self, sequence: Tensor, valid: Tensor | None = None) -> Tensor:
        """(B, C, T) to (B, C, T); where ``valid`` (B, T) is False, both are 0 and nothing has a neighbour."""
        near, known = neighbours(sequence, self.neighbours, valid)
        if known is not None:  # the feature itself, which changes no maximum
            near = torch.where(known[:, None], near, near[..., :1])
        own = sequence[..., None].expand_as(near)
        space = self.in_space(torch.cat([near, own], dim=1)).amax(dim=3)
        return zeroed(torch.relu(run_masked(self.in_time, sequence, _outside(valid)) + sequence + space), valid)


class GTAD(Host):
    """Sub-graph localisation (Xu et al., CVPR 2020), as in its public code with the last layer's context.

    Args:
        in_channels: Width C_in of the snippet features.
        proposals: The proposal map.
        dense: Sample through the stored dense matrix, for comparison.
    """

    def __init__(self, in_channels: int, proposals: ProposalMap, *, dense: bool = False) -> None:
        super().__init__(proposals)
        self.backbone1 = nn.Sequential(nn.Conv1d(in_channels, WIDTH, 3, padding=1, groups=4), nn.ReLU(), GCNeXt(WIDTH))
        self.start, self.end = (nn.Sequential(GCNeXt(WIDTH), nn.Conv1d(WIDTH, 1, 1)) for _ in range(2))
        self.backbone2 = GCNeXt(WIDTH)
        layer = DenseSampledConvolution if dense else SampledConvolution
        # Own and neighbours' features are sampled alike: one convolution over both.
        self.sample = layer(2 * WIDTH, PROPOSAL_WIDTH, proposals, align_weights(proposals), ALIGN_BINS)
        self.localise = _map_head()

    def encode(self, semantics: Tensor, valid: Tensor | None = None) -> Tensor:
        """The first backbone."""
        convolution, relu, graph = self.backbone1
        out: Tensor = graph(run_masked((convolution, relu), semantics, _outside(valid)), valid)
        return out

    def heads(self, features: Tensor, valid: Tensor | None = None) -> HostOutput:
        """Boundary heads, second backbone, SGAlign and localisation."""
        graph = self.backbone2(features, valid)
        near, known = neighbours(graph, 3, valid)
        if known is not None:  # their own mean, which changes no mean
            share = known[:, None].to(near.dtype)
            fewer = (near * share).sum(dim=3, keepdim=True) / share.sum(dim=3, keepdim=True).clamp(min=1)
            near = torch.where(known[:, None], near, fewer)
        maps = self.evaluate(torch.cat([graph, zeroed(near.mean(dim=3), valid)], dim=1), valid)
        start, end = (layers[1](layers[0](features, valid))[:, 0] for layers in (self.start, self.end))
        return HostOutput(start, end, maps)


def neighbours(sequence: Tensor, count: int, valid: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """The features nearest to each (squared distance, itself among them).

    Args:
        sequence: (B, C, T).
        count: Their number, at most T.
        valid: (B, T) bool; positions where it is False are nobody's neighbours.

    Returns:
        (B, C, T, count), nearest first, and (B, T, count) bool, False for a neighbour too many, where a sequence has
        fewer than ``count`` valid positions; None without ``valid``.
    """
    with torch.no_grad():
        points = sequence.float()
        square = points.square().sum(dim=1)
        similar = 2 * points.transpose(1, 2) @ points - square[:, None] - square[:, :, None]
        if valid is not None:
            similar = similar.masked_fill(~valid[:, None], -torch.inf)
        best = similar.topk(min(count, sequence.shape[2]), dim=2)
        nearest, known = best.indices, None if valid is None else best.values > -torch.inf
    batch, channels, length = sequence.shape
    index = nearest.reshape(batch, 1, -1).expand(batch, channels, -1)
    return sequence.gather(2, index).reshape(batch, channels, length, -1), known


def _outside(valid: Tensor | None) -> Tensor | None:
    return None if valid is None else ~valid[:, None]


def _map_head() -> nn.Sequential:
    """Convolutions over the proposal map, to two logits a proposal."""
    return nn.Sequential(
        nn.Conv2d(PROPOSAL_WIDTH, MAP_WIDTH, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(MAP_WIDTH, MAP_WIDTH, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(MAP_WIDTH, MAP_WIDTH, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(MAP_WIDTH, 2, 1),
    )
