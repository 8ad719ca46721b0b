"""File of mined pictures as SENTINEL's generator writes it beside the pairs (``<model>.jsonl``): one object a line.

``image_id``, ``image_path``, ``question``, ``caption`` (the context that was grown last), ``sentences_cnt`` (its
sentences), and names of the objects of all sentences that were sampled, by their verdict: ``hallu_objects``,
``uncertain_objects``, ``nonhallu_objects``.

The generator's ``hard_positive`` (objects that were detected and never named), ``small_objects`` and ``edge_objects``
(by size and place of their boxes) are left out: a file of mining has scores of named objects alone, and no boxes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vision_suite.drafts import write_whole
from vision_suite.errors import ConfigError
from vision_suite.mining.decide import Rules, Threshold, Verdict, verdict
from vision_suite.mining.export import shown_path
from vision_suite.mining.reading import MinedImage, derivation_of, mined_images
from vision_suite.mining.store import MINED, Store

LAYOUT = "images"  # its name among the layouts of pairs
FIELDS: dict[str, Verdict] = {
    "hallu_objects": "hallucinated", "uncertain_objects": "uncertain", "nonhallu_objects": "factual"
}  # fmt: skip


class Written(NamedTuple):
    """Numbers of pictures in a file and of those that are not in it.

    Attributes:
        written: Pictures in the file.
        unfinished: Pictures that have not come to their end, which the generator does not write either.
        unreadable: Those that could not be read.
    """

    written: int
    unfinished: int
    unreadable: int


def write_images(store: Store, run: str, path: Path, derivation: str = MINED) -> Written:
    """Write the pictures of a run that have come to their end, whole or not at all.

    Args:
        store: File of mining.
        run: Name of the run.
        path: The file; pictures below its folder are named relatively.
        derivation: Name of the rules and thresholds that decide about objects.

    Raises:
        ConfigError: There is no such derivation, or the file has another ending than .jsonl.
        StorageError: The file cannot be written; an earlier one is unchanged.
    """
    if path.suffix != ".jsonl":
        raise ConfigError(f"{str(path)!r}: layout={LAYOUT} has one object a line: name the file .jsonl")
    rules, thresholds = derivation_of(store, run, derivation)
    lines, unfinished, unreadable = [], 0, 0
    for image in mined_images(store, run):
        if image.stop:
            record = image_record(image, thresholds, rules)
            record["image_path"] = shown_path(Path(image.item.path), path.parent.absolute())
            lines.append(json.dumps(record, ensure_ascii=False) + "\n")
        elif image.problem:
            unreadable += 1
        else:
            unfinished += 1
    write_whole(path, "".join(lines))
    return Written(len(lines), unfinished, unreadable)


def image_record(image: MinedImage, thresholds: Mapping[str, Threshold], rules: Rules) -> dict[str, Any]:
    """Fields of a picture.

    Args:
        image: The picture.
        thresholds: Limits of the detectors that decide.
        rules: Rules.
    """
    verdicts = {
        name: verdict(name, {each: image.scores[each][name] for each in thresholds}, thresholds, rules)
        for name in dict.fromkeys(_names(image))
    }
    return {
        "image_id": image.item.id,
        "image_path": image.item.path,
        "question": image.item.question,
        "caption": image.state().context,
        "sentences_cnt": sum(rows.chosen is not None for rows in image.steps),
        **{field: [name for name, found in verdicts.items() if found == kind] for field, kind in FIELDS.items()},
    }


def _names(image: MinedImage) -> Iterator[str]:
    """Objects of all sentences of a picture in the order of mention."""
    return (name for rows in image.steps for row in rows.candidates for name in row.names)
