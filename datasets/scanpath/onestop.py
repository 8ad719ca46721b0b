"""OneStop-mini prepared once: two subjects reading twelve pages for the answer to a question, words as objects.

Eye movements of OneStop (Berzak et al., 2025) as one Python package carries them. A proxy of two readers: it shows
whether code learns, and cannot rank methods finely. Converted into the plain form of `readers.table`, and read by it.
"""

from __future__ import annotations

import csv
import io
import json
import logging
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vision_suite.datasets.prepare.base import Progress, source_of
from vision_suite.datasets.prepare.fetch import fetch_members
from vision_suite.datasets.prepare.onestop import ARCHIVE, SAMPLE
from vision_suite.datasets.scanpath.onestop_recipe import EXPECTED, LICENCE, NORMS, PAGES, RECIPE
from vision_suite.datasets.sentence_vectors import ARCHIVE as SENTENCES
from vision_suite.datasets.sentence_vectors import can_embed, sentence_vectors
from vision_suite.errors import DataError

logger = logging.getLogger(__name__)

Row = dict[str, str]


@dataclass
class Page:
    """A page: its words in reading order, where they stand, and who read it.

    Attributes:
        name: Name of the page in the package.
        size: Width and height of the picture in pixels.
        question: Question that the readers answer.
        words: Labels of the words.
        boxes: x1, y1, x2, y2 of each word, in pixels of the picture.
        norms: Values of each word, see ``NORMS``.
        answer: Indices of the words of the answer.
        readings: Words, and x, y, duration in ms, of the fixations by reader.
    """

    name: str
    size: tuple[int, int]
    question: str
    words: list[str]
    boxes: list[list[float]]
    norms: list[list[float]]
    answer: list[int]
    readings: dict[str, tuple[list[int], list[list[float]]]] = field(default_factory=dict)


def build(part: Path, progress: Progress, source: Path | None) -> None:
    """Fetch and convert the pages and write the whole set into the empty path ``part``.

    Words and questions become sentence vectors where transformers is installed; else the crops of the page remain.

    Args:
        part: Folder to create.
        progress: Listener.
        source: Archives, a folder of them or the unpacked package, to use instead of the registry.

    Raises:
        DataError: An archive cannot be had, or holds something else than expected.
    """
    progress("fetching", 0, 1)
    members = {name.removeprefix(SAMPLE): data for name, data in fetch_members(ARCHIVE, source).items()}
    progress("fetching", 1, 1)
    pages, without_word = convert(members)
    check_counts(pages, without_word)
    vectors = None
    if can_embed():
        texts = [text for page in pages for text in (*page.words, page.question)]
        vectors = sentence_vectors(texts, progress, source)
    else:
        logger.warning("%s: transformers is not installed, so words have crops but no vectors", RECIPE.name)
    write(part, pages, members, vectors, without_word)


def convert(members: dict[str, bytes]) -> tuple[list[Page], int]:
    """Pages and readings out of the package's tables.

    The word number of a fixation counts from 1, that of a word from 0. Boxes are on the display; the picture's corner
    is taken off. The table of words is there once per reader; the first copy is taken.

    Args:
        members: ``fixations.csv``, ``ia.csv`` and ``images/manifest.csv``.

    Returns:
        The pages in order, and the number of fixations left out because they lie on no word.

    Raises:
        DataError: A table is malformed, or a fixation's word is not the one it names.
    """
    try:
        return _convert(members)
    except (KeyError, ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{ARCHIVE.name} {ARCHIVE.version}: a table lacks or garbles {error}") from None


def _convert(members: dict[str, bytes]) -> tuple[list[Page], int]:
    texts: dict[tuple[str, str], Row] = {
        (row["unique_paragraph_id"], row["role"]): row for row in _rows(members["images/manifest.csv"])
    }
    words: dict[str, dict[int, Row]] = defaultdict(dict)
    for row in _rows(members["ia.csv"]):
        words[row["unique_paragraph_id"]].setdefault(int(row["IA_ID"]), row)
    pages = {}
    for name in sorted(words):
        rows = [words[name][number] for number in sorted(words[name])]
        if sorted(words[name]) != list(range(len(rows))):
            raise DataError(f"{ARCHIVE.name}: the words of page {name} are not numbered from 0 without a gap")
        left, top = float(rows[0]["image_x"]), float(rows[0]["image_y"])
        sides = (("IA_LEFT", left), ("IA_TOP", top), ("IA_RIGHT", left), ("IA_BOTTOM", top))
        picture = texts[name, "paragraph"]
        pages[name] = Page(
            name=name,
            size=(int(picture["width"]), int(picture["height"])),
            question=texts[name, "question"]["text"],
            words=[row["IA_LABEL"] for row in rows],
            boxes=[[float(row[side]) - offset for side, offset in sides] for row in rows],
            norms=[
                [float(row[norm] == "True") if norm == NORMS[-1] else float(row[norm]) for norm in NORMS]
                for row in rows
            ],
            answer=[number for number, row in enumerate(rows) if row["is_in_aspan"] == "True"],
        )
    without_word = 0
    fixations = _rows(members["fixations.csv"])
    for row in sorted(fixations, key=lambda row: (row["unique_trial_id"], int(row["CURRENT_FIX_INDEX"]))):
        page = pages[row["unique_paragraph_id"]]
        objects, points = page.readings.setdefault(row["participant_id"], ([], []))
        if row["CURRENT_FIX_INTEREST_AREA_ID"] == ".":
            without_word += 1
            continue
        word = int(row["CURRENT_FIX_INTEREST_AREA_ID"]) - 1
        if page.words[word] != row["CURRENT_FIX_INTEREST_AREA_LABEL"]:
            raise DataError(f"{ARCHIVE.name}: word {word} of page {page.name} is not the one that a fixation names")
        objects.append(word)
        x, y = float(row["CURRENT_FIX_X"]) - float(row["image_x"]), float(row["CURRENT_FIX_Y"]) - float(row["image_y"])
        points.append([x, y, float(row["CURRENT_FIX_DURATION"])])
    return list(pages.values()), without_word


def check_counts(pages: list[Page], without_word: int) -> None:
    """Stop if the pages are not the expected ones.

    Raises:
        DataError: A number differs.
    """
    readings = [objects for page in pages for objects, _ in page.readings.values()]
    found = {
        "pages": len(pages),
        "words": sum(len(page.words) for page in pages),
        "trials": len(readings),
        "fixations": sum(map(len, readings)) + without_word,
        "fixations_without_word": without_word,
    }
    if found != EXPECTED:
        raise DataError(f"OneStop-mini: {found} instead of {EXPECTED}: check the archive")


def write(
    part: Path, pages: list[Page], members: dict[str, bytes], vectors: np.ndarray | None, without_word: int
) -> None:
    """Write the set into the empty path ``part``: scenes.jsonl, trials.jsonl, pictures, and vectors if there are any.

    Args:
        part: Empty path.
        pages: Pages that `convert` found.
        members: The package's files, with the pictures.
        vectors: Vectors of the words and the question of each page, one page after another.
        without_word: Number of fixations left out, for the manifest.
    """
    for name in ("pages", "questions", *(() if vectors is None else ("words", "words_norms"))):
        (part / name).mkdir(parents=True)
    norms = np.array([row for page in pages for row in page.norms])
    mean, spread = norms.mean(0), norms.std(0)
    scenes, trials = [], []
    at = 0
    for page in pages:
        picture, question = f"pages/{page.name}.png", f"questions/{page.name}.png"
        (part / picture).write_bytes(members[f"images/{page.name}__paragraph.png"])
        (part / question).write_bytes(members[f"images/{page.name}__question.png"])
        width, height = page.size
        scene: dict[str, Any] = {"image": picture, "width": width, "height": height, "fold": PAGES[page.name]}
        target: dict[str, Any] = {"target": page.answer, "target_object": -1, "target_image": question}
        if vectors is not None:
            own, asked = vectors[at : at + len(page.words)], vectors[at + len(page.words)]
            at += len(page.words) + 1
            scene["features"], target["target_features"] = f"words/{page.name}.npy", f"questions/{page.name}.npy"
            np.save(part / scene["features"], own, allow_pickle=False)
            np.save(part / target["target_features"], asked, allow_pickle=False)
            more = ((np.array(page.norms) - mean) / spread).astype(np.float32)
            np.save(part / f"words_norms/{page.name}.npy", np.concatenate([own, more], axis=1), allow_pickle=False)
        scenes.append({**scene, "boxes": page.boxes, "labels": page.words})
        for reader, (objects, fixations) in sorted(page.readings.items()):
            facts = {"image": picture, "subject": reader, "task": page.question, "given": 1, "terminated": False}
            facts["duration_unit"] = "ms"
            trials.append({**facts, **target, "objects": objects, "fixations": fixations})
    for name, rows in (("scenes.jsonl", scenes), ("trials.jsonl", trials)):
        (part / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    facts = {
        "sources": [source_of(ARCHIVE), *([] if vectors is None else [source_of(SENTENCES)])],
        "counts": EXPECTED,
        "vectors": "none: transformers was not installed" if vectors is None else "all-MiniLM-L6-v2, mean, length 1",
        "words_norms": {"columns": list(NORMS), "mean": mean.tolist(), "deviation": spread.tolist()},
        "left_out": {"fixations_without_word": without_word, "raw_gaze": "synthesised from the fixations, so no data"},
        "licence": LICENCE,
    }
    RECIPE.seal(part, facts)


def _rows(contents: bytes) -> list[Row]:
    return list(csv.DictReader(io.StringIO(contents.decode("utf-8-sig"))))
