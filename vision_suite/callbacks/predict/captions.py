"""Predictions of modules that describe pictures: captions and answers as JSON lines."""

from __future__ import annotations

import json
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from vision_suite.callbacks.predict.base import BaseWriter, Tensors
from vision_suite.datasets.preference.data import PreferenceData
from vision_suite.drafts import replacing_text
from vision_suite.types.conversations import Row


class CaptionWriter(BaseWriter[PreferenceData]):
    """Writes captions and answers.

    ``captions.jsonl`` has a line for each question: ``index``, ``id``, ``task``, the ``question``, its ``images``, the
    ``text``, the number of its ``tokens``, and whether it ``ended`` (false: cut at the greatest length).
    ``summary.json`` has counts.
    """

    kind = PreferenceData
    keys = frozenset({"index", "answer_ids"})
    needs = "captions are written with --data PreferenceData"

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[Row] = []

    def start(self, trainer: Trainer, module: LightningModule, data: PreferenceData) -> None:
        """Look up the questions."""
        self._rows = data.rows("predict")

    def write(
        self, trainer: Trainer, module: LightningModule, data: PreferenceData, outputs: Tensors, batch: Tensors
    ) -> None:
        """Append a batch's captions to this process's part."""
        with (self.parts / f"rank-{trainer.global_rank}.jsonl").open("a", encoding="utf-8") as part:
            for index, padded in zip(outputs["index"].tolist(), outputs["answer_ids"].tolist(), strict=True):
                ids = [number for number in padded if number >= 0]
                row = self._rows[index]
                entry = {
                    "index": index,
                    "id": row.id,
                    "task": row.source,
                    "question": _question(row),
                    "images": [str(ref.path) for ref in row.images],
                    "text": data.chat.decode(ids).strip(),
                    "tokens": len(ids),
                    "ended": bool(ids) and ids[-1] in data.chat.end_ids,
                }
                part.write(json.dumps(entry, ensure_ascii=False) + "\n")

    def join(self, trainer: Trainer, data: PreferenceData, failed: dict[str, str]) -> tuple[dict[str, object], str]:
        """Join the captions by index and write them."""
        found: dict[int, dict[str, Any]] = {}
        for path in sorted(self.parts.glob("rank-*.jsonl")):
            for line in path.read_text(encoding="utf-8").splitlines():
                # A loader that serves several processes equally repeats a question; it counts once.
                entry = json.loads(line)
                found[entry["index"]] = entry
        entries = [found[index] for index in sorted(found)]
        with replacing_text(self.folder / "captions.jsonl") as stream:
            stream.writelines(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
        summary: dict[str, object] = {
            "captions": len(entries),
            "not_reached": len(self._rows) - len(entries),
            "cut_at_the_greatest_length": sum(not entry["ended"] for entry in entries),
            "empty": sum(not entry["text"] for entry in entries),
            "mean_tokens": sum(entry["tokens"] for entry in entries) / len(entries) if entries else None,
            "problems": dict(data.protocol["problems"].get("predict", {})),
            "failed": failed,
        }
        told = f"{len(entries)} captions and answers"
        told += f", {summary['empty']} are empty" if summary["empty"] else ""
        return summary, f"{told} ({summary['not_reached']} questions not reached)"


def _question(row: Row) -> str:
    """Text of a row's last turn."""
    return " ".join(part.strip() for part in row.messages[-1].parts if isinstance(part, str)).strip()
