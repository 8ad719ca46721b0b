"""Reports of the presence of names: the table, the ROC curve with reliability, and the names' average precision."""

from __future__ import annotations

import numpy as np
from PIL import Image

from vision_suite.callbacks.report.base import ReportView, Rows, Shown, percent
from vision_suite.datasets.base import BaseData
from vision_suite.types.presence import PresenceReport
from vision_suite.viz.presence import name_bars, presence_curves

WORST = 5  # names in the table beside all


class PresenceView(ReportView[PresenceReport]):
    """Shows the presence of names."""

    kind = PresenceReport
    task = "presence"

    def table(self, report: PresenceReport) -> tuple[list[str], Rows]:
        """Scores of all names, and the average precision of the worst ones."""
        keys = ("mAP", "AP", "auc", "tpr", "fpr")
        rows = [["all names", *(percent(report.metrics[key]) for key in keys)]]
        shown = np.flatnonzero(np.isfinite(report.average_precision))
        for number in shown[np.argsort(report.average_precision[shown], kind="stable")][:WORST]:
            rows.append([report.names[number], percent(report.average_precision[number]), *["-"] * 4])
        return ["", "mAP", "AP of all pairs", "area under ROC", "TPR", "FPR"], rows

    def note(self, report: PresenceReport) -> str:
        """Number of pictures, the threshold and where it is from, and the calibration."""
        facts = report.protocol
        return (
            f"{facts['num_pictures']} pictures, {len(report.names)} names ({facts['names_not_shown']} never shown); "
            f"present from a score of {report.threshold:.3g}, chosen on {facts['threshold_from']}; "
            f"calibration error {percent(report.metrics['calibration_error'])} %"
        )

    def pictures(
        self, report: PresenceReport, data: BaseData, stage: str, title: str, shown: Shown
    ) -> dict[str, Image.Image]:
        """``presence``: ROC curve and reliability; ``names``: average precision by name."""
        point = report.metrics["fpr"], report.metrics["tpr"]
        label = f"score from {report.threshold:.3g}, of {report.protocol['threshold_from']}"
        return {
            "presence": presence_curves(report.fpr, report.tpr, point, report.reliability, label=label, title=title),
            "names": name_bars(report.average_precision, report.names, title=title),
        }
