"""Rules by which rows of features become sequences: the same ones for training, evaluation and prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from vision_suite.datasets.base import Stage
from vision_suite.datasets.tad.annotations import Video
from vision_suite.datasets.tad.features import Join
from vision_suite.datasets.tad.sampling import FeatureInfo
from vision_suite.datasets.tad.sequences import SequenceBatches, VideoRows
from vision_suite.datasets.tad.settings import Mode
from vision_suite.datasets.tad.windows import Window, sequences_of, stride_of


@dataclass(frozen=True)
class Cutting:
    """Settings that turn rows into sequences; `vision_suite.datasets.tad.TADData` explains them.

    Attributes:
        mode: ``resize`` or ``window``.
        num_cells: Length T.
        every: Step between the rows that are kept.
        join: How sets of different length are joined.
        train_overlap: Share by which windows overlap in training.
        test_overlap: The same share in evaluation and prediction.
        keep_inside: Least share of an annotation inside a training window.
        min_share: Least share of a training sequence that an annotation has.
    """

    mode: Mode
    num_cells: int
    every: int
    join: Join
    train_overlap: float
    test_overlap: float
    keep_inside: float
    min_share: float

    @property
    def resizes(self) -> bool:
        """True if whole videos become T cells."""
        return self.mode == "resize"

    def taken_from(self, found: Mapping[str, Any]) -> Cutting:
        """The same with a checkpoint's settings in the place of their own."""
        names = ("mode", "num_cells", "every", "join", "test_overlap")
        return replace(self, **{name: found[name] for name in names if name in found})

    def kept(self, info: FeatureInfo) -> FeatureInfo:
        """Sampling of the rows that are kept."""
        return replace(info, stride=info.stride * self.every)

    def stride(self, stage: str) -> int:
        """Rows from one window of a stage to the next."""
        return stride_of(self.num_cells, self.train_overlap if stage == "fit" else self.test_overlap)

    def windows(self, stage: Stage, videos: Sequence[Video], counts: Sequence[int], info: FeatureInfo) -> list[Window]:
        """All sequences of a stage, of videos with these numbers of rows."""
        stride = None if self.resizes else self.stride(stage)
        return sequences_of(videos, counts, self.kept(info), self.num_cells, stride)

    def batches(
        self,
        stage: Stage,
        windows: list[Window],
        videos: list[Video],
        rows: VideoRows,
        classes: list[str],
        video_scores: Tensor | None,
    ) -> SequenceBatches:
        """Batches of sequences."""
        return SequenceBatches(
            windows, videos, rows,
            classes=classes,
            cells=self.num_cells,
            resize=self.resizes,
            keep_inside=0.0 if self.resizes else self.keep_inside,
            min_share=self.min_share if stage == "fit" else 0.0,
            video_scores=video_scores,
        )  # fmt: skip
