"""Contracts of datamodules: the facts that Lightning modules read of the data of their run."""

from __future__ import annotations

from typing import Any, Literal, Protocol

EvaluationStage = Literal["validate", "test"]
Stage = Literal["fit", "validate", "test", "predict"]


class Data(Protocol):
    """Facts of every datamodule of the suite, see `vision_suite.datasets.base.BaseData`.

    Attributes:
        class_names: Name of each class, empty if the data set has none.
        protocol: Everything a reader of the metrics must know about the data.
    """

    class_names: list[str]
    protocol: dict[str, Any]
