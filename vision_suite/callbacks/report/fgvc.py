"""Reports of classification: the table, and the classes most often confused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from PIL import Image

from vision_suite.callbacks.report.base import BRANCHES, ReportView, Rows, Shown, branch_rows
from vision_suite.datasets.base import BaseData
from vision_suite.datasets.pictures.data import PictureData
from vision_suite.types import ClassificationReport
from vision_suite.types.data import EvaluationStage
from vision_suite.viz.fgvc import ConfusionRow, confusion_sheet, most_confused

EXAMPLES = 3


class ClassificationView(ReportView[ClassificationReport]):
    """Shows classification."""

    kind = ClassificationReport
    task = "classification"

    def table(self, report: ClassificationReport) -> tuple[list[str], Rows]:
        """Top-1 and top-5 of each branch."""
        return branch_rows(report.metrics, {"top1": "top-1", "top5": "top-5"}, BRANCHES)

    def note(self, report: ClassificationReport) -> str:
        """Number of pictures."""
        return f"{report.protocol['num_pictures']} pictures"

    def pictures(
        self, report: ClassificationReport, data: BaseData, stage: str, title: str, shown: Shown
    ) -> dict[str, Image.Image]:
        """The classes most often confused."""
        if not isinstance(data, PictureData):
            return {}
        return classification_pictures(report, data, stage, title, pairs=shown.pairs)


def classification_pictures(
    report: ClassificationReport, data: PictureData, stage: str, title: str, *, pairs: int
) -> dict[str, Image.Image]:
    """The classes most often taken for one another; no picture if there is no mistake.

    Args:
        report: Report of the evaluation.
        data: Datamodule, for the original pictures and the class names.
        stage: ``validate`` or ``test``.
        title: Heading.
        pairs: Number of rows of the picture.

    Returns:
        Pictures by name.
    """
    rows = []
    for confusion in most_confused(report.label, report.prediction, pairs):
        mistaken = (report.label == confusion.label) & (report.prediction == confusion.prediction)
        # The surest mistakes first: they tell most about the network.
        order = np.argsort(-report.confidence[mistaken], kind="stable")[:EXAMPLES]
        of_class = report.label == confusion.prediction
        right_first = np.argsort(report.prediction[of_class] != confusion.prediction, kind="stable")[:EXAMPLES]
        rows.append(
            ConfusionRow(
                confusion,
                _name(data, confusion.label),
                _name(data, confusion.prediction),
                _originals(data, cast("EvaluationStage", stage), report.index[mistaken][order].tolist()),
                _originals(data, cast("EvaluationStage", stage), report.index[of_class][right_first].tolist()),
            )
        )
    if not rows:
        return {}
    wrong = int((report.label != report.prediction).sum())
    facts = f"top-1 {100 * report.metrics['top1']:.1f} % · {wrong:,} of {len(report.label):,} pictures mistaken"
    return {"confusions": confusion_sheet(rows, title=f"{title}: most confused classes", subtitle=facts)}


def _originals(data: PictureData, stage: EvaluationStage, indices: Sequence[int]) -> list[Image.Image]:
    """The original pictures at these indices."""
    return [data.picture(stage, index) for index in indices]


def _name(data: PictureData, label: int) -> str:
    """A class's name, or its number where the data set has no names; a negative number is no class."""
    if label < 0:
        return "no class"
    return data.class_names[label] if label < len(data.class_names) else f"class {label}"
