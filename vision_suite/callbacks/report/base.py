"""Views of reports: one view for each class of reports, found by itself in the modules of this folder."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from PIL import Image

from vision_suite.callbacks.kinds import serving
from vision_suite.datasets.base import BaseData
from vision_suite.types import Report

ReportT = TypeVar("ReportT")
Rows = list[list[str]]
FOLDER = "vision_suite.callbacks.report"
# Names of a network's branches in tables.
BRANCHES = {"": "fused", "sa": "SA only", "glca": "GLCA only", "rerank": "fused, re-ranked"}


@dataclass(frozen=True)
class Shown:
    """Choices of the user about pictures.

    Attributes:
        queries: Number of ranked galleries, timelines or trials.
        pairs: Number of rows of confused classes.
        seed: Seed of random choices.
    """

    queries: int
    pairs: int
    seed: int


class ReportView(ABC, Generic[ReportT]):
    """Shows the reports of one class; a subclass in a module of this folder, or in a plug-in, is enough to have one.

    Attributes:
        kind: Class of its reports.
        task: Word for the task in ``metrics.json``.
    """

    kind: ClassVar[type]
    task: ClassVar[str]

    @abstractmethod
    def table(self, report: ReportT) -> tuple[list[str], Rows]:
        """Headings and rows of the table on the terminal, in percent."""

    @abstractmethod
    def note(self, report: ReportT) -> str:
        """Facts that a reader of the table must know, in a line."""

    @abstractmethod
    def pictures(self, report: ReportT, data: BaseData, stage: str, title: str, shown: Shown) -> dict[str, Image.Image]:
        """Pictures by file name without ending."""

    def files(self, report: ReportT) -> dict[str, str]:
        """Further text files by name."""
        return {}


def view_of(report: Report) -> ReportView[Any]:
    """The view of a report's class.

    Raises:
        TypeError: No view shows such reports.
    """
    view: type[ReportView[Any]] | None = serving(report, ReportView, FOLDER)
    if view is None:
        raise TypeError(f"no view shows a {type(report).__name__}: add a ReportView in callbacks/report/<task>.py")
    return view()


def branch_rows(
    metrics: Mapping[str, float], columns: Mapping[str, str], names: Mapping[str, str]
) -> tuple[list[str], Rows]:
    """A table with one row a branch: ``sa/mAP`` is column mAP of branch sa; "-" where a branch lacks a number.

    Args:
        metrics: Fractions of one, by ``name`` or ``branch/name``.
        columns: Heading of each metric that is shown.
        names: Name of each branch in the table.
    """
    values: dict[str, dict[str, str]] = defaultdict(dict)
    for key, value in metrics.items():
        branch, _, name = key.rpartition("/")
        if name in columns:
            values[branch][name] = percent(value)
    alone = len(values) == 1
    rows = [
        ["network" if alone else names.get(branch, branch), *(found.get(name, "-") for name in columns)]
        for branch, found in values.items()
    ]
    return ["", *columns.values()], rows


def percent(value: float) -> str:
    """A fraction of one in percent with one decimal, or "-"."""
    return f"{100 * value:.1f}" if math.isfinite(value) else "-"
