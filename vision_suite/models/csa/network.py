"""The whole detector: host, attention between its halves, and a classifier over the snippet features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vision_suite.errors import ConfigError, check_choice, check_number
from vision_suite.layers.layouts import Layout
from vision_suite.layers.proposal_map import Convention, ProposalMap
from vision_suite.models.csa.attention import CSAConfig, FeatureAttention, Gates, SelfAttention
from vision_suite.models.csa.foreign import opentad
from vision_suite.models.csa.hosts import BMN, GTAD, Host
from vision_suite.models.csa.masking import zeroed
from vision_suite.records import as_record
from vision_suite.renamed import takes_old_names


@dataclass
class DetectorOutput:
    """Logits of a batch of sequences; a sigmoid makes probabilities of all but ``snippet``.

    Attributes:
        start: (B, T) beginnings.
        end: (B, T) ends.
        iou: (B, D, T) regressed overlap, axes as the layout says.
        confidence: (B, D, T) classified overlap, likewise.
        snippet: (B, K, T) class logits of each snippet; their mean over any interval is the interval's logits.
        gates: CSA's attention.
    """

    start: Tensor
    end: Tensor
    iou: Tensor
    confidence: Tensor
    snippet: Tensor
    gates: Gates


class CSADetector(nn.Module):
    """BMN or G-TAD with class-semantics attention, and a linear classifier over time.

    The classifier reads the snippet features R (or the attended ones) and is linear, so that one set of weights serves
    snippets, proposals and whole videos: the logits of an interval are the mean of its snippets' logits.

    Args:
        in_channels: Width C_in of the snippet features; comes from the data on the command line.
        num_classes: Number K of action classes; comes from the data on the command line.
        num_cells: Time steps T of a sequence; comes from the data on the command line.
        max_duration: Longest proposal D in time steps; unset for T.
        host: ``bmn`` or ``gtad``.
        self_attention: ``none``, ``se``, ``csa``, or ``csa_se`` (SE on the features, then CSA).
        csa: Open points of CSA.
        convention: Meaning of the maps, on which the public codes of BMN disagree.
        pem_width: BMN's width before sampling: 256 (JJBOY, mmaction2) or 128 (OpenTAD).
        xavier: Start BMN as OpenTAD does.
        bm_impl: ``folded``, or ``dense`` for comparison.
        classifier_input: Input of the classifier: the ``semantics`` R, as outside classifiers do, or the ``attended``
            features F' of the host.
    """

    @takes_old_names
    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        num_cells: int = 100,
        *,
        max_duration: int | None = None,
        host: Literal["bmn", "gtad"] = "bmn",
        self_attention: SelfAttention = "csa",
        csa: CSAConfig | None = None,
        convention: Convention = Convention(),  # noqa: B008  (a plain record, never changed)
        pem_width: int = 256,
        xavier: bool = False,
        bm_impl: Literal["folded", "dense"] = "folded",
        classifier_input: Literal["semantics", "attended"] = "semantics",
    ) -> None:
        super().__init__()
        sizes = {"in_channels": in_channels, "num_classes": num_classes, "num_cells": num_cells, "pem_width": pem_width}
        for name, size in sizes.items():
            check_number(name, size, low=1, whole=True)
        self.in_channels = in_channels
        for name, value, choices in (
            ("host", host, ("bmn", "gtad")),
            ("bm_impl", bm_impl, ("folded", "dense")),
            ("classifier_input", classifier_input, ("semantics", "attended")),
        ):
            check_choice(name, value, choices)
        if in_channels % 4:
            raise ConfigError(f"in_channels={in_channels}: {host}'s grouped convolution needs a multiple of 4")
        self.convention = as_record(Convention, convention, "convention")
        csa = None if csa is None else as_record(CSAConfig, csa, "csa")
        self.proposals = ProposalMap(
            num_cells, num_cells if max_duration is None else max_duration, self.convention.layout
        )
        dense = bm_impl == "dense"
        self.host: Host
        if host == "bmn":
            self.host = BMN(
                in_channels, self.proposals, self.convention, pem_width=pem_width, dense=dense, xavier=xavier
            )
        else:
            if self.convention.sampling != "centre":
                raise ConfigError("host=gtad samples proposals by RoIAlign: convention.sampling must be 'centre'")
            self.host = GTAD(in_channels, self.proposals, dense=dense)
        self.attention = FeatureAttention(self_attention, in_channels, self.host.channels, num_cells, csa)
        self.classifier_input = classifier_input
        width = in_channels if classifier_input == "semantics" else self.host.channels
        self.classifier = nn.Conv1d(width, num_classes, 1)

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """Files of other code that the detector can start from: OpenTAD's BMN."""
        return (opentad(self.convention.channels),) if isinstance(self.host, BMN) else ()

    def forward(
        self, semantics: Tensor, valid: Tensor | None = None, attend_to: Tensor | None = None
    ) -> DetectorOutput:
        """Logits of every position, proposal and snippet.

        Args:
            semantics: Snippet features R (B, C_in, T) float.
            valid: (B, T) bool, True from the first cell to the last of each sequence and False in the padding behind
                it. What stands there, even NaN, reaches no valid logit.
            attend_to: Other features (B, C_in, T) that CSA learns its gates from; for control experiments.
        """
        if semantics.ndim != 3 or semantics.shape[2] != self.proposals.length:
            raise ConfigError(
                f"features of shape {tuple(semantics.shape)} do not fit: (B, C, {self.proposals.length}) is wanted; "
                "set num_cells to the data's"
            )
        semantics = zeroed(semantics, valid)
        padded = _if_any_padded(valid)
        encoded = self.host.encode(semantics, padded)
        attended, gates = self.attention(encoded, semantics if attend_to is None else attend_to, valid)
        out = self.host.heads(attended, padded)
        first, second = out.maps[:, 0], out.maps[:, 1]
        iou, confidence = (first, second) if self.convention.channels == "iou_first" else (second, first)
        snippet = self.classifier(semantics if self.classifier_input == "semantics" else attended)
        return DetectorOutput(out.start, out.end, iou, confidence, snippet, gates)


def another_video(video: Tensor) -> Tensor:
    """For each sequence of a batch the next one of another video, cyclically: videos (B,) to indices (B,) int64.

    Raises:
        ConfigError: All sequences are of one video.
    """
    count = len(video)
    ahead = (
        torch.arange(count, device=video.device)[:, None] + torch.arange(1, count + 1, device=video.device)
    ) % count
    other = video[ahead] != video[:, None]
    if not bool(other.any(dim=1).all()):
        raise ConfigError(
            f"semantics=shuffled found only video {int(video[0])} in a batch of {count}: choose batch sizes that leave "
            "at least two videos in every batch"
        )
    return ahead.gather(1, other.long().argmax(dim=1, keepdim=True))[:, 0]


def interval_logits(snippet: Tensor, starts: Tensor, stops: Tensor) -> Tensor:
    """Class logits of intervals: means over their snippets.

    Args:
        snippet: (K, T) logits.
        starts: (n,) first cells, int64.
        stops: (n,) cells behind the last, int64, above ``starts``.

    Returns:
        (n, K).
    """
    total = nn.functional.pad(snippet.double().cumsum(dim=1), (1, 0))
    sums = total[:, stops] - total[:, starts]
    return (sums / (stops - starts)).T.to(snippet.dtype)


def _if_any_padded(valid: Tensor | None) -> Tensor | None:
    """``valid``, or None if every position is: masks over whole maps cost time and would change nothing."""
    if valid is None or torch.compiler.is_compiling() or not bool(valid.all()):  # a compiled network must not branch
        return valid
    return None


def video_logits(snippet: Tensor, valid: Tensor | None) -> Tensor:
    """Class logits of whole sequences: (B, K, T) to (B, K), padding left out."""
    if valid is None:
        return snippet.mean(dim=2)
    weight = valid.to(snippet.dtype)
    return torch.einsum("bkt,bt->bk", zeroed(snippet, valid), weight) / weight.sum(dim=1).clamp(min=1)[:, None]


def annotated_logits(snippet: Tensor, segments: Tensor, present: Tensor) -> Tensor:
    """Class logits of annotated segments, over every cell they touch.

    Args:
        snippet: (B, K, T) logits.
        segments: (B, G, 2) in cells.
        present: (B, G) bool.

    Returns:
        (n, K), row by row of ``present``.
    """
    length = snippet.shape[2]
    row = torch.nonzero(present)[:, 0]
    chosen = segments[present]
    start = chosen[:, 0].floor().long().clamp(0, length - 1)
    stop = torch.maximum(chosen[:, 1].ceil().long().clamp(max=length), start + 1)
    total = nn.functional.pad(snippet.float().cumsum(dim=2), (1, 0))
    sums = total[row, :, stop] - total[row, :, start]
    return sums / (stop - start)[:, None]
