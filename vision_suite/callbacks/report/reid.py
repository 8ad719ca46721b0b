"""Reports of re-identification: the table, the CMC curves, and ranked galleries of some queries."""

from __future__ import annotations

import json
from typing import cast

import numpy as np
from PIL import Image

from vision_suite.callbacks.report.base import BRANCHES, ReportView, Rows, branch_rows, percent
from vision_suite.callbacks.report.base import Shown as ShownSettings
from vision_suite.datasets.base import BaseData
from vision_suite.datasets.pictures.data import PictureData
from vision_suite.types import RetrievalReport
from vision_suite.types.data import EvaluationStage
from vision_suite.viz.reid import RankedRow, StripPicture, cmc_curves, gallery_strip, roc_curve


class RetrievalView(ReportView[RetrievalReport]):
    """Shows re-identification."""

    kind = RetrievalReport
    task = "retrieval"

    def table(self, report: RetrievalReport) -> tuple[list[str], Rows]:
        """mAP, ranks and mINP of each branch."""
        columns = {"mAP": "mAP", "rank1": "R1", "rank5": "R5", "rank10": "R10", "mINP": "mINP"}
        return branch_rows(report.metrics, columns, BRANCHES)

    def note(self, report: RetrievalReport) -> str:
        """Numbers of queries and gallery pictures, and the kind of average precision."""
        facts = report.protocol
        counts = f"{facts['num_valid']} of {facts['num_query']} queries valid, gallery {facts['num_gallery']}"
        return f"{counts}; AP: {facts['ap_description']}{decision_note(report)}"

    def files(self, report: RetrievalReport) -> dict[str, str]:
        """The operating point, where one was chosen, for predictions by a checkpoint that has none."""
        point = report.operating_point
        return {"operating_point.json": json.dumps(point, indent=1) + "\n"} if point else {}

    def pictures(
        self, report: RetrievalReport, data: BaseData, stage: str, title: str, shown: ShownSettings
    ) -> dict[str, Image.Image]:
        """CMC curves, the ROC curve and ranked galleries."""
        if not isinstance(data, PictureData):
            return {}
        return retrieval_pictures(report, data, stage, title, queries=shown.queries, seed=shown.seed)


def decision_note(report: RetrievalReport) -> str:
    """Words about the thresholds that decide between same and different, and their rates on these pairs."""
    found = report.protocol.get("decision")
    if not found:
        reasons = report.protocol.get("no_decision") or []
        return f"; no threshold: {reasons[0]}" if reasons else ""
    text = f"; FPR {found['fpr']:g} in validation: same up to {found['accept']:.4g}, different beyond "
    text += f"{found['reject']:.4g}, TPR {percent(found['tpr'])} %"
    if "decision/tpr" in report.metrics:
        tpr, fpr, fnr, unsure = (report.metrics[f"decision/{name}"] for name in ("tpr", "fpr", "fnr", "unsure"))
        text += f"; here TPR {percent(tpr)} %, FPR {100 * fpr:.3g} %, called different wrongly {100 * fnr:.3g} %, "
        text += f"unsure {percent(unsure)} %"
    return text


def roc_picture(report: RetrievalReport, title: str) -> dict[str, Image.Image]:
    """``roc``: the ROC curve with the threshold marked; none without a curve."""
    if not report.roc or not (report.roc["fpr"] > 0).any():
        return {}
    found = report.protocol.get("decision")
    point, label = None, ""
    if found and "decision/tpr" in report.metrics:
        point = report.metrics["decision/fpr"], report.metrics["decision/tpr"]
        label = f"threshold of validation, {found['accept']:.3g} (FPR {found['fpr']:g} there)"
    elif found:
        point, label = (found["fpr"], found["tpr"]), f"threshold {found['accept']:.3g} at FPR {found['fpr']:g}"
    return {"roc": roc_curve(report.roc, point, label=label, title=title)}


def retrieval_pictures(
    report: RetrievalReport, data: PictureData, stage: str, title: str, *, queries: int, seed: int
) -> dict[str, Image.Image]:
    """CMC and ROC curves, and ranked galleries of some queries drawn at random and of those with the lowest AP.

    Args:
        report: Report of the evaluation.
        data: Datamodule, for the original pictures.
        stage: ``validate`` or ``test``.
        title: Heading of each picture.
        queries: Number of rows of a gallery strip.
        seed: Seed of the random choice.

    Returns:
        Pictures by name.
    """
    mean_ap = {
        key.rpartition("/")[0]: value for key, value in report.metrics.items() if key.rpartition("/")[2] == "mAP"
    }
    pictures = {"cmc": cmc_curves(report.cmc, mean_ap, title=title), **roc_picture(report, title)}
    valid = np.flatnonzero(np.isfinite(report.average_precision))
    count = min(queries, len(valid))
    if count == 0:
        return pictures
    drawn = np.sort(np.random.default_rng(seed).choice(valid, count, replace=False))
    hardest = valid[np.argsort(report.average_precision[valid], kind="stable")[:count]]
    facts = f"mAP {100 * report.metrics['mAP']:.1f} over {len(valid):,} queries"
    facts += f" · below each picture: identity, camera, distance ({report.protocol['distance'].split(',')[0]})"
    for name, chosen, what in (
        ("gallery_random", drawn, f"{count} queries drawn at random"),
        ("gallery_hardest", hardest, f"the {count} queries of lowest AP"),
    ):
        rows = [_ranked(report, data, cast("EvaluationStage", stage), int(query)) for query in chosen]
        pictures[name] = gallery_strip(rows, title=f"{title}: {what}", subtitle=facts)
    return pictures


def _ranked(report: RetrievalReport, data: PictureData, stage: EvaluationStage, query: int) -> RankedRow:
    """One query with its ranked gallery."""
    _, identity, camera = data.record(stage, int(report.query_index[query]))
    entries = []
    for rank in np.flatnonzero(report.ranked_index[query] >= 0):
        index = int(report.ranked_index[query, rank])
        _, its_identity, its_camera = data.record(stage, index)
        distance, match = float(report.ranked_distance[query, rank]), bool(report.ranked_match[query, rank])
        entries.append(StripPicture(data.picture(stage, index), its_identity, its_camera, distance, match))
    asked = StripPicture(data.picture(stage, int(report.query_index[query])), identity, camera)
    return RankedRow(asked, entries, float(report.average_precision[query]))
