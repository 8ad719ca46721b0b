"""Contracts of datamodules: the facts that Lightning modules read of the data of their run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

EvalSplit = Literal["validate", "test"]
Split = Literal["fit", "validate", "test", "predict"]


class Data(Protocol):
    """Facts of every datamodule of the suite, see `vision_suite.datasets.base.BaseData`.

    Attributes:
        class_names: Name of each class, empty if the data set has none.
        protocol: Everything a reader of the metrics must know about the data.
    """

    class_names: list[str]
    protocol: dict[str, Any]


class VideoFacts(Protocol):
    """Facts of one video, see `vision_suite.datasets.tad.annotations.Video`."""

    @property
    def name(self) -> str:
        """Id without ``v_``."""

    @property
    def duration(self) -> float:
        """Seconds, NaN if unknown."""


class TADSource(Data, Protocol):
    """Facts of data for temporal action detection, see `vision_suite.datasets.tad.TADData`."""

    def videos(self, stage: EvalSplit) -> Sequence[VideoFacts]:
        """Videos of a stage, in the order in which batches number them."""

    def ground_truth(self, stage: EvalSplit) -> dict[str, Any]:
        """Annotations of a stage as an ActivityNet dictionary."""


class ScanpathSource(Data, Protocol):
    """Facts of scanpath data, see `vision_suite.datasets.scanpath.ScanpathData`.

    Attributes:
        num_objects: Most objects of a scene.
        num_positions: Rows or columns of the largest grid, 0 where objects stand freely.
    """

    num_objects: int
    num_positions: int

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Settings that turn objects into the network's input, in plain values."""

    def trials(self, stage: Split) -> Sequence[Any]:
        """Trials of a stage, in the order in which batches number them; pieces where recordings are cut."""

    def recordings(self, stage: Split) -> Sequence[Any]:
        """Whole recordings of a stage; a piece's ``recording`` is its index here."""

    def scenes(self, stage: Split) -> Mapping[str, Any]:
        """Scenes of a stage by name."""
