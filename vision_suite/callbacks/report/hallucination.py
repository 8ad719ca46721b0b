"""Reports of captions and answers: what is made up, with what is found and the lengths beside it."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from vision_suite.callbacks.report.base import ReportView, Rows, Shown, percent
from vision_suite.callbacks.run_dir import file_stem
from vision_suite.datasets.base import BaseData
from vision_suite.datasets.conversations.pictures import read_picture
from vision_suite.datasets.preference.data import PreferenceData
from vision_suite.errors import DataError
from vision_suite.text.lexicon import Words
from vision_suite.types.conversations import ImageRef
from vision_suite.types.data import EvaluationStage
from vision_suite.types.preference import HallucinationItem, HallucinationReport, MadeUp
from vision_suite.viz.captions import Told, caption_sheet
from vision_suite.viz.positions import position_curves

SPLITS: dict[str, EvaluationStage] = {"test": "test", "validate": "validate"}
# Columns of the table: heading, the names of its metrics, of which a task has one, and whether it is a share.
COLUMNS = (
    ("made up", ("chair_i", "object_halbench_rule_mention", "amber_chair"), True),
    ("captions with it", ("chair_s", "object_halbench_rule_response", "amber_hal"), True),
    ("found", ("recall", "amber_cover"), True),
    ("words", ("words",), False),
    ("sentences", ("sentences",), False),
    ("right", ("pope_accuracy", "amber_all_accuracy"), True),
    ("F1", ("pope_f1", "amber_all_f1"), True),
    ("yes", ("pope_yes",), True),
    ("neither", ("pope_invalid", "amber_invalid"), True),
)


class HallucinationView(ReportView[HallucinationReport]):
    """Shows evaluations of captions and of answers to questions about objects."""

    kind = HallucinationReport
    task = "preference"

    def table(self, report: HallucinationReport) -> tuple[list[str], Rows]:
        """A row for each task; lengths are no percentages, and columns that no task has are left out."""
        values: dict[str, dict[str, float]] = defaultdict(dict)
        for key, value in report.metrics.items():
            name, _, task = key.partition("/")
            if task:
                values[task][name] = value
        shown = [column for column in COLUMNS if any(set(column[1]) & set(own) for own in values.values())]
        counts: dict[str, int] = defaultdict(int)
        for answer in report.answers:
            counts[answer["task"]] += 1
        rows = []
        for task, own in values.items():
            cells = []
            for _, names, share in shown:
                value = next((own[name] / _unit(name) for name in names if name in own), math.nan)
                cells.append(percent(value) if share else f"{value:.1f}" if math.isfinite(value) else "-")
            rows.append([task, str(counts[task]), *cells])
        return ["task", "answers", *(heading for heading, _, _ in shown)], rows

    def note(self, report: HallucinationReport) -> str:
        """The kinds of the tasks, the rules behind the numbers, and where every answer is."""
        kinds = {item.task: item.kind for item in report.items}
        parts = [f"{task}: {kind}" for task, kind in kinds.items()]
        empty = sum(not answer["text"].strip() for answer in report.answers)
        parts += [f"{empty} answers are empty"] if empty else []
        rules = dict.fromkeys(report.protocol.get("words", {}).values())
        parts += [f"objects: {rule}" for rule in rules]
        parts.append("saying less makes less up: read the shares beside what is found and the lengths")
        return "; ".join([*parts, "every answer: answers.jsonl"])

    def files(self, report: HallucinationReport) -> dict[str, str]:
        """Every answer with what it makes up, and mentions by sentence."""
        lines = [json.dumps(answer, ensure_ascii=False, allow_nan=False) for answer in report.answers]
        found = {"answers.jsonl": "".join(f"{line}\n" for line in lines)}
        if any(report.positions.values()):
            table = io.StringIO()
            writer = csv.writer(table, lineterminator="\n")
            writer.writerow(["task", "sentence", "factual", "made_up"])
            for task, counts in report.positions.items():
                writer.writerows([task, place, *both] for place, both in enumerate(counts, start=1))
            found["positions.csv"] = table.getvalue()
        return found

    def pictures(
        self, report: HallucinationReport, data: BaseData, stage: str, title: str, shown: Shown
    ) -> dict[str, Image.Image]:
        """Made-up mentions by sentence, beside those of an earlier test if one was named, and some captions."""
        pictures = {}
        earlier = str((report.protocol.get("captions") or {}).get("before") or "")
        before = read_positions(Path(earlier)) if earlier else {}
        for task, counts in report.positions.items():
            if any(map(sum, counts)):
                models = {"before": before[task], "after": counts} if task in before else {"": counts}
                pictures[f"positions_{file_stem(task)}"] = position_curves(models, title=f"{title}: {task}")
        captions = [answer for answer in report.answers if answer["sentences"]]
        if captions:
            lexicons = data.lexicons(SPLITS[stage]) if isinstance(data, PreferenceData) else {}
            chosen = _chosen(captions, shown)
            told = [_told(answer, report.items[answer["index"]], lexicons.get(answer["task"])) for answer in chosen]
            wrong = sum(bool(answer["made_up"]) for answer in captions)
            line = f"{len(told)} captions, half of them with something made up where possible"
            line += f"; {wrong} of all {len(captions)} make something up"
            pictures["captions"] = caption_sheet(told, title=title, subtitle=line)
        return pictures


def read_positions(path: Path) -> dict[str, list[tuple[int, int]]]:
    """Mentions by task and sentence out of ``positions.csv`` of an earlier test.

    Raises:
        DataError: The file is missing or another one.
    """
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                found[row["task"]].append((int(row["factual"]), int(row["made_up"])))
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise DataError(
            f"captions.before={str(path)!r} cannot be read ({str(error)[:80]}): give positions.csv of a test's folder"
        ) from error
    return dict(found)


def _unit(name: str) -> float:
    """Value of a metric that means all: AMBER's own numbers about questions are percentages."""
    return 100.0 if name.startswith("amber_all_") else 1.0


def _chosen(captions: list[MadeUp], shown: Shown) -> list[MadeUp]:
    """Captions drawn at random, half of them with something made up where there are as many, by index."""
    rng = np.random.default_rng(shown.seed)
    wrong, right = ([n for n, each in enumerate(captions) if bool(each["made_up"]) is kind] for kind in (True, False))
    half = min(len(wrong), max(shown.queries // 2, shown.queries - len(right)))
    picked = [*rng.permutation(wrong)[:half], *rng.permutation(right)[: shown.queries - half]]
    return [captions[int(number)] for number in sorted(picked)]


def _told(answer: MadeUp, item: HallucinationItem, words: Words | None) -> Told:
    """A caption with the words by which it names things, its synonyms among them."""
    try:
        picture = read_picture(ImageRef(Path(item.picture)))
    except DataError:  # counted and reported when the stage began; the caption stands without it
        picture = Image.new("RGB", (64, 64), "white")
    made_up, named = set(answer["made_up"]), set(answer["named"]) - set(answer["made_up"])
    spoken: dict[bool, set[str]] = {True: set(made_up), False: set(named)}
    for mention in () if words is None else words.find(answer["text"]):
        if mention.name in made_up | named:
            spoken[mention.name in made_up].add(mention.text)
    return Told(
        picture, answer["text"], made_up=spoken[True], named=spoken[False], missed=answer["missed"], boxes=item.boxes,
        heading=f"{answer['task']}: {answer['id']}", invented=sorted(made_up),
    )  # fmt: skip
