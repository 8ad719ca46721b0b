"""Records of settings that belong to training and scoring, not to a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vision_suite.errors import check_literals
from vision_suite.losses.multi_branch import Weighting
from vision_suite.metrics.reid.protocols import Protocol
from vision_suite.metrics.reid.ranking import APConvention


@dataclass(frozen=True)
class BranchLossConfig:
    """Cross-entropy of each branch, and the weights of the branches in the total loss.

    Attributes:
        label_smoothing: Label smoothing of the cross-entropy.
        weighting: ``uncertainty`` learns the branches' weights; ``equal`` takes half the sum of the branches.
        initial_log_variance: Start of the learnt log-variances.
        log_variance_limit: Bound on the size of the log-variances.
    """

    label_smoothing: float = 0.0
    weighting: Weighting = "uncertainty"
    initial_log_variance: float = 0.0
    log_variance_limit: float = 10.0

    def __post_init__(self) -> None:
        """Refuse unknown words."""
        check_literals(self, "loss")


@dataclass(frozen=True)
class TripletConfig:
    """Batch-hard triplet loss of each branch, in re-identification.

    Attributes:
        margin: Margin; unset for the soft margin.
        normalize: Mine and compare features of unit length.
        weight: Factor on the triplet loss.
        feature: Compare features before the BNNeck, as the re-ID baselines do, or after it. Before it, batch-hard
            mining on a network from scratch can shrink all features to one direction.
    """

    margin: float | None = None
    normalize: bool = False
    weight: float = 1.0
    feature: Literal["before", "after"] = "before"

    def __post_init__(self) -> None:
        """Refuse unknown words."""
        check_literals(self, "triplet")


@dataclass(frozen=True)
class RetrievalConfig:
    """Scoring of retrieval, in re-identification.

    Attributes:
        protocol: Retrieval protocol.
        ap: Average precision: ``rect`` (rectangular) or ``trapz`` (trapezoidal).
        draws: Number of random galleries of the protocols that draw them.
        top_k: Length of the ranked lists.
        rerank: Score k-reciprocal re-ranking too, in testing.
        rerank_k1: Neighbours of the reciprocal test.
        rerank_k2: Neighbours of the query expansion.
        rerank_lambda: Weight of the original distance.
        flip: Average the features of each picture and of its mirror image, in evaluation and prediction.
        expansion_k: Gallery pictures averaged into each query before the search, in evaluation and prediction; 0
            switches the query expansion off.
        expansion_alpha: Power of the similarity that weighs each of them; 0 is the plain average.
    """

    protocol: Protocol = "market"
    ap: APConvention = "rect"
    draws: int = 10
    top_k: int = 10
    rerank: bool = False
    rerank_k1: int = 20
    rerank_k2: int = 6
    rerank_lambda: float = 0.3
    flip: bool = False
    expansion_k: int = 0
    expansion_alpha: float = 3.0

    def __post_init__(self) -> None:
        """Refuse unknown words."""
        check_literals(self, "retrieval")
