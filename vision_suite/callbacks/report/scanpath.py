"""Reports of scanpath prediction: the table with its protocol, each trial's samples, and pictures of paths."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from PIL import Image

from vision_suite.callbacks.report.base import ReportView, Rows, Shown, percent
from vision_suite.datasets.base import BaseData
from vision_suite.datasets.pictures.images import open_picture
from vision_suite.metrics.scanpath import BEHAVIOURS
from vision_suite.metrics.scanpath.report.trials import centres_of
from vision_suite.metrics.scanpath.report.words import same_stimulus, what_is_searched
from vision_suite.types import BACKGROUND, Condition, ScanpathReport
from vision_suite.types.arrays import Floats
from vision_suite.types.scanpath.records import PathRecord, TrialRecord
from vision_suite.viz.scanpath.panels import heat_maps, scanpath_picture
from vision_suite.viz.scanpath.scores import behaviour_bars, film, hit_curves
from vision_suite.viz.scanpath.stage import HUMAN, MODEL, Backdrop, Gaze

PREDICTORS = {
    "model": "model",
    "mode": "greedy",
    "human": "people",
    "random": "random",
    "next_object": "next",
    "offsets": "offsets",
}
LABELS = {
    "sequence_score": "Sequence Score",
    "edit_distance": "edit distance",
    "scanmatch": "ScanMatch",
    "multimatch": "MultiMatch",
    "behaviour_length": "length, fixations",
    "nats_per_fixation": "nats per fixation",
    "bits_over_uniform": "bits over uniform",
    "top1": "next one is top 1",
    "top5": "next one is top 5",
    "hit": "target hit",
}
NO_SHARES = ("edit_distance", "sed", "length", "nats", "bits")  # parts of the names of scores that are no shares
IN_DETAIL = 2  # trials with a heat map and a film


class ScanpathView(ReportView[ScanpathReport]):
    """View of scanpath prediction."""

    kind = ScanpathReport
    task = "scanpath_prediction"

    def table(self, report: ScanpathReport) -> tuple[list[str], Rows]:
        """Table of a column per predictor and a row per score; scores would not fit side by side on a terminal."""
        predictors = [name for name in PREDICTORS if name in report.rows]
        names = list(dict.fromkeys(score for name in predictors for score in report.rows[name]))
        # A score that no predictor has, such as of durations, is in the note with its count.
        names = [
            name for name in names if any(math.isfinite(report.rows[one].get(name, math.nan)) for one in predictors)
        ]
        names.sort(key=_part)
        rows = [[_label(name), *(_cell(name, report.rows[one]) for one in predictors)] for name in names]
        return ["", *(PREDICTORS[name] for name in predictors)], rows

    def note(self, report: ScanpathReport) -> str:
        """Protocol, a topic a line, with intervals, and counts of short and unterminated paths and missing scores."""
        split = report.protocol.get("split")
        words = {"split": ", ".join(f"{key} {value}" for key, value in split.items())} if split else {}
        words |= {key: value for key, value in report.protocol.items() if key in TOPICS}
        words |= {f"score {_label(name)}": text for name, text in report.protocol.get("scores", {}).items()}
        words["95%"] = "; ".join(self._intervals(report)) or "none"
        words["pairs"] = "; ".join(
            f"{PREDICTORS[name]} {max(pairs for pairs, _ in row.values())}{_missing(row)}"
            for name, row in report.pairs.items()
            if row
        )
        words["counts"] = "; ".join(
            f"{PREDICTORS[name]} {row['paths']} paths, {row['short']} short, {row['empty']} empty, "
            f"{row['unterminated']} unterminated"
            + (f", {row['empty_pairs']} pairs of two empty parts, which count as equal" if row["empty_pairs"] else "")
            for name, row in report.counts.items()
            if name in ("model", "mode", "human")
        )
        words["likelihood of random"] = "uniform over what can come next"
        few = report.counts["model"].get("few_choices_top5", 0)
        if few:
            words["top 5"] = f"without the {few} fixations that have 5 choices or fewer"
        if report.hits:
            longest = next(iter(report.hits.values())).shape[1]
            words["target hit"] = f"share of paths on the target within {longest} fixations, given ones included"
        return "\n".join(f"{key}: {value}" for key, value in words.items())

    def files(self, report: ScanpathReport) -> dict[str, str]:
        """Trials with samples and log probabilities, a line for each trial, and every score with its interval."""
        scores = [
            [name, score, value, *report.intervals[name].get(score, ("", "")), *report.pairs[name].get(score, ("", ""))]
            for name, row in report.rows.items()
            for score, value in row.items()
        ]
        heading = ["predictor", "score", "value", "low", "high", "pairs", "pairs_without_score"]
        return {
            "scanpaths.json": json.dumps({"trials": report.trials}, allow_nan=False) + "\n",
            "per_trial.csv": _csv(list(_trial_row(report.trials[0])), [_trial_row(t).values() for t in report.trials]),
            "scores.csv": _csv(heading, scores),
        }

    def pictures(
        self, report: ScanpathReport, data: BaseData, stage: str, title: str, shown: Shown
    ) -> dict[str, Image.Image]:
        """Hit curve, behaviours, observer and model in random trials, and a heat map and a film of two of these."""
        pictures = {}
        if report.hits:
            pictures["hit_curve"] = hit_curves(report.hits, title=title)
        behaviours = {
            name: {key: report.rows[name][f"behaviour_{key}"] for key in BEHAVIOURS}
            for name in ("human", *PREDICTORS)
            if "behaviour_correct" in report.rows.get(name, {})
        }
        if behaviours:
            pictures["behaviours"] = behaviour_bars(behaviours, title=title)
        for order, number in enumerate(_chosen(report.trials, shown)):
            trial = report.trials[number]
            safe = re.sub(r"[^\w.-]+", "_", re.sub(r"\.\w+$", "", trial["scene"]))[:60]
            name = f"{order + 1}_{safe}"
            condition = Condition[trial["condition"].upper()]
            heading = f"{trial['scene']}: {what_is_searched(condition, trial['task'], trial['target'])}"
            scene = _backdrop(report, trial)
            pictures[f"scanpath_{name}"] = scanpath_picture(
                scene, _panels(report, trial), title=heading, note=_note(trial)
            )
            if order < IN_DETAIL:
                pictures[f"heat_map_{name}"] = heat_maps(scene, _fixations(report, trial), title=heading)
                table = report.probabilities[number]
                if table is not None and len(trial["human"]["objects"]) > trial["given"]:
                    pictures[f"film_{name}"] = film(
                        scene, table, _recorded(report, trial), title=heading, first=trial["given"],
                        truth=[len(scene.boxes) if o == BACKGROUND else o for o in trial["human"]["objects"]],
                    )  # fmt: skip
        return pictures

    def _intervals(self, report: ScanpathReport) -> Iterable[str]:
        for name in ("model", "human"):
            for score in ("sequence_score", "delta", "nats_per_fixation", "hit"):
                low, high = report.intervals.get(name, {}).get(score, (math.nan, math.nan))
                if math.isfinite(low):
                    ends = (_cell(score, {score: end}) for end in (low, high))
                    yield f"{_label(score)} of {PREDICTORS[name]} {' to '.join(ends)}"


TOPICS = (
    "stimuli",
    "fixations",
    "paths",
    "model",
    "ceiling",
    "points",
    "ends",
    "baselines",
    "offsets",
    "likelihood",
    "delta",
    "interval",
)


def _part(score: str) -> int:
    """Order of a score in the table: scores of pairs first, then behaviour, then likelihood."""
    return 2 if score.startswith(("nats", "bits", "top")) else int(score.startswith(("delta", "behaviour", "hit")))


def _label(score: str) -> str:
    return LABELS.get(score, score.replace("multimatch_", "MultiMatch ").replace("behaviour_", "").replace("_", " "))


def _cell(score: str, row: dict[str, float]) -> str:
    """Shares in percent, other scores as numbers; "-" where there is none."""
    value = row.get(score, math.nan)
    if math.isnan(value):
        return "-"
    if not any(part in score for part in NO_SHARES) or score == "multimatch_length":
        return percent(value)
    return f"{value:.3f}" if score.startswith(("nats", "bits")) else f"{value:.2f}"


def _missing(row: dict[str, tuple[int, int]]) -> str:
    """Number of pairs in the mean of each score that some have none of."""
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for score, (pairs, without) in row.items():
        if without:
            alike[f"{pairs - without} of {pairs}"].append(_label(score))
    parts = [f"{', '.join(labels)} over {words}" for words, labels in alike.items()]
    return f" (means over the pairs with a score: {'; '.join(parts)})" if parts else ""


def _chosen(trials: Sequence[TrialRecord], shown: Shown) -> list[int]:
    """Trials drawn at random, as far as possible of different scenes."""
    order = np.random.default_rng(shown.seed).permutation(len(trials)).tolist()
    seen: set[str] = set()
    first: list[int] = []
    rest: list[int] = []
    for number in order:
        (rest if trials[number]["scene"] in seen else first).append(number)
        seen.add(trials[number]["scene"])
    return sorted([*first, *rest][: shown.queries])


def _backdrop(report: ScanpathReport, trial: TrialRecord) -> Backdrop:
    scene = report.scenes[trial["scene"]]
    picture = open_picture(scene.image) if scene.image else None
    boxes = np.asarray(scene.boxes, dtype=np.float64)
    return Backdrop(scene.size, boxes, tuple(trial["targets"]), scene.labels, picture, scene.placement)


def _recorded(report: ScanpathReport, trial: TrialRecord) -> Floats:
    """(L, 2) recorded points, the centres of objects where there is none."""
    recorded = np.array(trial["human"]["xy"], dtype=np.float64).reshape(-1, 2)
    return np.where(np.isnan(recorded), _centres(report, trial, trial["human"]), recorded)


def _centres(report: ScanpathReport, trial: TrialRecord, path: PathRecord) -> Floats:
    return centres_of(np.array(path["objects"], dtype=np.int64), report.scenes[trial["scene"]])


def _panels(report: ScanpathReport, trial: TrialRecord) -> list[Gaze]:
    """Paths of the observer, the model's likeliest path if there is one, and its first sample."""
    given, subject = trial["given"], trial["subject"]
    panels = [Gaze(_recorded(report, trial), f"observer {subject}".strip(), HUMAN, _seconds(trial["human"]), given)]
    found = [("model, greedy", trial["greedy"]), *(("model, a sample", path) for path in trial["samples"][:1])]
    panels += [
        Gaze(_centres(report, trial, path), name, MODEL, _seconds(path), given)
        for name, path in found
        if path is not None
    ]
    return panels


def _fixations(report: ScanpathReport, trial: TrialRecord) -> list[tuple[str, str, Floats]]:
    """Fixations of all observers of the trial's stimulus, and of all samples there."""
    same = [other for other in report.trials if same_stimulus(trial, other)]
    human = np.concatenate([_recorded(report, other) for other in same])
    samples = [_centres(report, other, path) for other in same for path in other["samples"]]
    return [("people", HUMAN, human), ("model", MODEL, np.concatenate(samples) if samples else np.empty((0, 2)))]


def _seconds(path: PathRecord) -> Floats | None:
    return None if path["duration"] is None else np.array(path["duration"], dtype=np.float64)


def _note(trial: TrialRecord) -> str:
    known = any(value is not None for value in trial["human"]["duration"] or ())
    parts = [f"circles: {'area by duration' if known else 'durations unknown'}, hollow where given"]
    parts += ["green: targets"] if trial["targets"] else []
    if trial["recording"] >= 0:
        parts.append(f"window from fixation {trial['first'] + 1} on")
    for name, label in (("sequence_score", "Sequence Score"), ("edit_distance", "edit distance")):
        if trial["scores"][name] is not None:
            parts.append(f"mean {label} of samples with this observer {trial['scores'][name]:.2f}")
    return "; ".join(parts)


def _trial_row(trial: TrialRecord) -> dict[str, object]:
    human, steps = trial["human"], trial["human"]["step_log_probs"]
    predicted = len(human["objects"]) - trial["given"]
    known = [step for step in steps or () if step is not None]
    nats = -sum(known) if steps and len(known) == len(steps) else None
    facts: Mapping[str, object] = trial
    return {
        **{
            key: facts[key]
            for key in ("scene", "subject", "task", "condition", "target", "given", "recording", "first")
        },
        "fixations": len(human["objects"]),
        "terminated": human["terminated"],
        "samples": len(trial["samples"]),
        **trial["scores"],
        "nats": nats,
        "nats_per_fixation": nats / predicted if nats is not None and predicted else None,
    }


def _csv(heading: list[str], rows: Iterable[Iterable[object]]) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(heading)
    writer.writerows(rows)
    return table.getvalue()
