"""Predictions of language models that read pictures: answers as JSON lines, and pictures of their routing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pytorch_lightning import LightningModule, Trainer

from vision_suite.callbacks.predict.base import BaseWriter, Tensors, log_pictures
from vision_suite.callbacks.run_dir import file_stem
from vision_suite.datasets.conversations.pictures import read_picture
from vision_suite.datasets.instruct.data import InstructData
from vision_suite.datasets.pictures.records import is_picture
from vision_suite.drafts import replacing_text
from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.instruct.answers import same_answer
from vision_suite.metrics.instruct.multiple_choice import parsed
from vision_suite.metrics.instruct.tasks import question_of, task_of
from vision_suite.types.arrays import Floats
from vision_suite.types.instruct import Row
from vision_suite.viz.instruct import routing_picture


class InstructWriter(BaseWriter[InstructData]):
    """Writes answers to questions.

    ``answers.jsonl`` has a line for each question: ``index``, ``id``, ``task``, the ``question``, its ``images``, the
    ``answer``, the number of its ``tokens``, and whether it ``ended`` (false: cut at the greatest length). A question
    with choices has the ``choice`` that the answer names, null for none; one whose right answer is known has the
    ``reference`` and whether the answer is ``right``. ``routing`` has the mean weight of the visual and of the textual
    wing of each layer over the tokens, where the model routes. ``routing/*.png`` show the weights of each token and
    layer, ``summary.json`` has counts.

    Args:
        routing: Number of questions, from the first, whose routing is drawn; -1 draws all, 0 none.
    """

    kind = InstructData
    keys = frozenset({"index", "answer_ids"})
    pictures_folder = "routing"
    needs = "answers are written with --data InstructData"

    def __init__(self, routing: int = 32) -> None:
        if routing < -1:
            raise ConfigError(f"routing={routing}: give a number of pictures, 0 for none, -1 for all")
        super().__init__()
        self.routing = routing
        self._rows: list[Row] = []

    def start(self, trainer: Trainer, module: LightningModule, data: InstructData) -> None:
        """Look up the questions."""
        self._rows = data.rows("predict")

    def write(
        self, trainer: Trainer, module: LightningModule, data: InstructData, outputs: Tensors, batch: Tensors
    ) -> None:
        """Append a batch's answers to this process's part, and draw their routing."""
        routing = outputs["routing"].float().cpu().numpy() if "routing" in outputs else None
        with (self.parts / f"rank-{trainer.global_rank}.jsonl").open("a", encoding="utf-8") as part:
            for place, (index, padded) in enumerate(
                zip(outputs["index"].tolist(), outputs["answer_ids"].tolist(), strict=True)
            ):
                ids = [number for number in padded if number >= 0]
                ended = bool(ids) and ids[-1] in data.chat.end_ids
                own = None if routing is None else routing[place].astype(np.float64)
                entry = answer_entry(index, self._rows[index], data.chat.decode(ids), len(ids), ended, own)
                part.write(json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n")
                if own is not None and ids and (self.routing < 0 or index < self.routing):
                    self._draw(trainer, data, index, ids, own)

    def join(self, trainer: Trainer, data: InstructData, failed: dict[str, str]) -> tuple[dict[str, object], str]:
        """Join the answers by index and write them."""
        found: dict[int, dict[str, Any]] = {}
        for path in sorted(self.parts.glob("rank-*.jsonl")):
            for line in path.read_text(encoding="utf-8").splitlines():
                # A loader that serves several processes equally repeats a question; it counts once.
                entry = json.loads(line)
                found[entry["index"]] = entry
        entries = [found[index] for index in sorted(found)]
        with replacing_text(self.folder / "answers.jsonl") as stream:
            stream.writelines(json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n" for entry in entries)
        known = [entry["right"] for entry in entries if "right" in entry]
        summary: dict[str, object] = {
            "questions": len(entries),
            "not_reached": len(self._rows) - len(entries),
            "cut_at_the_greatest_length": sum(not entry["ended"] for entry in entries),
            "without_a_choice": sum("choice" in entry and entry["choice"] is None for entry in entries),
            "empty": sum(not entry["answer"].strip() for entry in entries),
            "right": sum(known),
            "with_a_reference": len(known),
            "mean_tokens": sum(entry["tokens"] for entry in entries) / len(entries) if entries else None,
            "routing_pictures": len(list(self.pictures.glob("*.png"))),
            "problems": dict(data.protocol["problems"].get("predict", {})),
            "failed": failed,
        }
        judged = f", {sum(known)} of {len(known)} right" if known else ""
        for name, words in (("without_a_choice", "name no choice"), ("empty", "are empty")):
            judged += f", {summary[name]} {words}" if summary[name] else ""
        number = f"{len(entries)} answer{'s' if len(entries) != 1 else ''}"
        return summary, f"{number}{judged} ({summary['not_reached']} questions not reached)"

    def _draw(self, trainer: Trainer, data: InstructData, index: int, ids: list[int], routing: Floats) -> None:
        row = self._rows[index]
        pictures: list[Image.Image] = []
        for ref in row.images:
            try:
                pictures.append(read_picture(ref))
            except DataError:  # counted and reported when the stage began; the question stands without it
                continue
        tokens = [data.chat.decode([number]) or "end" * (number in data.chat.end_ids) for number in ids]
        drawn = routing_picture(
            routing[:, : len(ids)],
            tokens,
            question=question_of(row),
            answer=data.chat.decode(ids).strip(),
            title=f"{row.id} ({task_of(row)})",
            pictures=pictures,
        )
        hidden = self.parts / f"rank-{trainer.global_rank}.png"
        drawn.save(hidden)
        name = Path(row.id).stem if is_picture(row.id) else row.id  # a question about each picture has the file's name
        hidden.replace(self.pictures / f"{index:06d}_{file_stem(name)}.png")
        log_pictures(trainer, f"predict/{index:06d}", [drawn])


def answer_entry(index: int, row: Row, answer: str, tokens: int, ended: bool, routing: Floats | None) -> dict[str, Any]:
    """A written answer in plain containers.

    Args:
        index: Index of the question.
        row: Question.
        answer: Written answer.
        tokens: Number of its tokens.
        ended: Whether the model ended it itself.
        routing: (L, T, 2) weights of the wings; None if the model has none.
    """
    entry: dict[str, Any] = {
        "index": index,
        "id": row.id,
        "task": task_of(row),
        "question": question_of(row),
        "images": [str(ref.path) for ref in row.images],
        "answer": answer,
        "tokens": tokens,
        "ended": ended,
    }
    if row.choices:
        choice = parsed(answer, row.choices, lettered=row.lettered).choice
        entry["choice"] = row.choices[choice] if choice >= 0 else None
        if row.answer >= 0:
            entry |= {"reference": row.choices[row.answer], "right": choice == row.answer}
    elif row.reference:
        entry |= {"reference": row.reference, "right": same_answer(answer, row.reference)}
    if routing is not None and tokens:
        kept = np.ma.masked_invalid(routing[:, :tokens]).mean(1).filled(math.nan)
        names = ("visual", "textual")
        shares = {name: [_plain(value) for value in kept[:, column].tolist()] for column, name in enumerate(names)}
        entry["routing"] = shares
    return entry


def _plain(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
