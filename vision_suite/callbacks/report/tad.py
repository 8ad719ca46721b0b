"""Reports of temporal action detection: the table, the result file, timelines, curves, errors."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
from PIL import Image

from vision_suite.callbacks.report.base import ReportView, Rows, Shown, percent
from vision_suite.callbacks.run_dir import file_stem
from vision_suite.datasets.base import BaseData
from vision_suite.metrics.tad.operating_point import TIOU, short_list
from vision_suite.metrics.tad.scoring import ACTIVITYNET
from vision_suite.types import DetectionReport
from vision_suite.viz.tad.curves import error_analysis, tiou_curves
from vision_suite.viz.tad.timeline import Timeline, timeline

CLASSES_PRINTED = 30


class DetectionView(ReportView[DetectionReport]):
    """Shows temporal action detection."""

    kind = DetectionReport
    task = "temporal_action_detection"

    def table(self, report: DetectionReport) -> tuple[list[str], Rows]:
        """AP at some thresholds and the mean over all, for all classes together and for each of up to 30.

        Of ActivityNet's ten thresholds 0.5, 0.75 and 0.95 are shown, as papers do; of other lists up to five.
        """
        if tuple(report.tiou) == ACTIVITYNET:
            shown = np.array([ACTIVITYNET.index(threshold) for threshold in (0.5, 0.75, 0.95)])
        else:
            shown = np.unique(np.linspace(0, len(report.tiou) - 1, min(len(report.tiou), 5)).round().astype(int))
        headings = ["AP at tIoU", *(f"{report.tiou[index]:g}" for index in shown), "mean"]
        rows = [_row("all classes", report.ap.mean(axis=1), shown)]
        if len(report.classes) <= CLASSES_PRINTED:
            rows += [_row(name, report.ap[:, column], shown) for column, name in enumerate(report.classes)]
        return headings, rows

    def note(self, report: DetectionReport) -> str:
        """Scores at every threshold, videos, annotations, and the scores of proposals and of the video classifier."""
        counts, metrics = report.protocol["detections"], report.metrics
        each = ", ".join(
            f"{t:g}: {percent(float(v))}" for t, v in zip(report.tiou, report.ap.mean(axis=1), strict=True)
        )
        parts = [f"mAP at tIoU {each}"]
        parts += [f"{counts['videos']} videos, {counts['annotations']} actions, {len(report.classes)} classes"]
        recall = [f"{name} {percent(metrics[name])}" for name in ("AR@10", "AR@100", "AUC") if name in metrics]
        parts += ["proposals: " + ", ".join(recall)] if recall else []
        parts.append(f"best class of a video right: {percent(metrics['video_top1'])}")
        if "F1" in metrics:
            names = ("precision", "recall", "F1")
            short = ", ".join(f"{name} {percent(metrics[name])}" for name in names)
            parts.append(f"short lists at the validation split's thresholds, tIoU {TIOU:g}: {short}")
        if len(report.classes) > CLASSES_PRINTED:
            parts.append("every class: per_class.csv")
        return "; ".join(parts)

    def files(self, report: DetectionReport) -> dict[str, str]:
        """The result file that the official evaluator takes, and AP by class and threshold."""
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["class", *(f"tIoU {threshold:g}" for threshold in report.tiou), "mean"])
        for column, name in enumerate(report.classes):
            ap = report.ap[:, column]
            writer.writerow([name, *(f"{value:.6f}" for value in [*ap, ap.mean()])])
        return {
            "detections.json": json.dumps(report.predictions, allow_nan=False) + "\n",
            "per_class.csv": table.getvalue(),
        }

    def pictures(
        self, report: DetectionReport, data: BaseData, stage: str, title: str, shown: Shown
    ) -> dict[str, Image.Image]:
        """The tIoU curve, the analysis of errors, and timelines of some videos drawn at random."""
        pictures = {
            "tiou_curve": tiou_curves(report.tiou, report.ap, report.classes, title=title),
            "errors": error_analysis(report.errors, title=title),
        }
        database = report.ground_truth["database"]
        known = sorted(name for name in report.curves if database[name]["annotations"])
        rng = np.random.default_rng(shown.seed)
        chosen = sorted(rng.choice(known, min(shown.queries, len(known)), replace=False)) if known else []
        point = report.protocol.get("operating_point") or {}
        for name in chosen:
            found = report.predictions["results"].get(name, [])
            duration = database[name]["duration"] or float(report.curves[name][0].max())
            video = Timeline(duration, short_list(found, point), database[name]["annotations"], report.curves[name])
            pictures[f"timeline_{file_stem(str(name))}"] = timeline(
                video, title=f"{title}: {name}", classes=report.classes
            )
        return pictures


def _row(name: str, ap: np.ndarray, shown: np.ndarray) -> list[str]:
    return [name, *(percent(float(ap[index])) for index in shown), percent(float(ap.mean()))]
