"""Settings of DCAL as records (Zhu et al., CVPR 2022); D1 to D14 are the points that the paper leaves open.

docs/dcal.md explains these points, and the paper's values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vision_suite.errors import ConfigError, check_literals
from vision_suite.models.dcal.glca import Candidates, Readout, Rounding
from vision_suite.models.dcal.heads import Classifier
from vision_suite.models.dcal.side import SideInformation
from vision_suite.ops.pairing import Partner
from vision_suite.ops.rollout import HeadFusion


@dataclass(frozen=True)
class GLCAConfig:
    """Global-local cross-attention (DCAL eq. 3) and the rollout that selects its queries (DCAL eq. 2).

    Attributes:
        enabled: Switch the branch on.
        ratio: Share of the patches taken as local queries (paper: 0.1 fine-grained, 0.3 re-ID).
        rounding: Rounding of ratio times patches to a count (D4).
        candidates: ``patches`` adds the class token to the best R patches; ``tokens`` takes the best R of all tokens,
            the class token always among them (D3).
        input: Tokens that the branch starts from: the output of the ``last`` block, or its input (``parallel``) (D5).
        all_rows: Feed-forward on all rows between global-local blocks instead of the selected ones (D6).
        readout: Feature of the 1 + R rows (D7): their ``mean``, the ``cls`` row, which needs no rollout, or
            ``cls+local``, half the class row and half the mean of the local rows.
        copy: Start the branch from the backbone's last block and norm (D8).
        blocks: Number M of global-local blocks (paper: 1).
        rollout_heads: Fusion of the heads in the rollout (D1).
        rollout_depth: Number of newest blocks that the rollout goes through; 0 means all (D2).
    """

    enabled: bool = True
    ratio: float = 0.3
    rounding: Rounding = "floor"
    candidates: Candidates = "patches"
    input: Literal["last", "parallel"] = "last"
    all_rows: bool = False
    readout: Readout = "mean"
    copy: bool = True
    blocks: int = 1
    rollout_heads: HeadFusion = "mean"
    rollout_depth: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        check_literals(self, "glca")
        if not 0 < self.ratio <= 1:
            raise ConfigError(f"glca.ratio={self.ratio} must lie in (0, 1]: it is the share of patches that ask again")
        if self.blocks < 1:
            raise ConfigError(
                f"glca.blocks={self.blocks} must be at least 1: use glca.enabled=false to switch the branch off"
            )


@dataclass(frozen=True)
class PWCAConfig:
    """Pair-wise cross-attention (DCAL eq. 4), in training only.

    Attributes:
        enabled: Switch the branch on.
        partner: Draw of the partners (D9): ``any`` random perfect matching, ``inter`` or ``intra`` matching of
            different or equal labels, ``uniform`` any other image, each on its own.
        stream: Stream of the partner's keys: its pair-wise one or its self-attention one (D10).
        head: Final norm and classifier: ``shared`` with self-attention, or its ``own`` (D11).
        blocks: Number T of newest blocks that are pair-wise; 0 means all (paper: all 12). Older blocks are shared with
            the self-attention stream and cost nothing.
        share: Share of the batch that is paired in a step, drawn anew each time: the same loss in expectation for
            that share of the branch's cost.
    """

    enabled: bool = True
    partner: Partner = "any"
    stream: Literal["pwca", "sa"] = "pwca"
    head: Literal["shared", "own"] = "shared"
    blocks: int = 0
    share: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        check_literals(self, "pwca")
        if not 0 < self.share <= 1:
            raise ConfigError(
                f"pwca.share={self.share} must lie in (0, 1]: use pwca.enabled=false to switch the branch off"
            )


@dataclass(frozen=True)
class HeadConfig:
    """Neck and classifier of each branch.

    Attributes:
        neck: Put a BNNeck in front of the re-ID classifier.
        classifier: ``linear`` or ``cosine``.
        cosine_scale: Factor on cosine logits.
    """

    neck: bool = True
    classifier: Classifier = "linear"
    cosine_scale: float = 16.0

    def __post_init__(self) -> None:
        """Refuse unknown words."""
        check_literals(self, "head")


@dataclass(frozen=True)
class FusionConfig:
    """Fusion of the self-attention and the global-local branch at inference.

    Attributes:
        fgvc: Fuse classes by adding probabilities, or logits (D12).
        reid: Concatenate raw features, or each normalised first (D13).
        glca_scale: Weight of the global-local half (D14).
        neck_feature: Take the retrieval feature before or after the BNNeck.
    """

    fgvc: Literal["probability", "logit"] = "probability"
    reid: Literal["concat", "normalized"] = "concat"
    glca_scale: float = 1.0
    neck_feature: Literal["before", "after"] = "before"

    def __post_init__(self) -> None:
        """Refuse unknown words."""
        check_literals(self, "fusion")


@dataclass(frozen=True)
class SideConfig:
    """Learnt embedding of camera and view added to all tokens before the first block (TransReID).

    Attributes:
        information: Side information to embed: ``none``, ``camera``, ``view`` or ``camera+view``; pictures of an
            unknown camera or view take the average embedding.
        scale: Factor on the embedding (TransReID: 3.0).
    """

    information: SideInformation = "none"
    scale: float = 3.0

    def __post_init__(self) -> None:
        """Refuse unknown words."""
        check_literals(self, "side")
