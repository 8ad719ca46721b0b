"""Page-questions built: texts for perplexity, and each page's question, asked about its text and about its picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from vision_suite.datasets.instruct.page_questions_recipe import RECIPE
from vision_suite.datasets.instruct.question_rows import (
    Question,
    choice_turn,
    numbers,
    question_row,
    stream_of,
    write_lines,
)
from vision_suite.datasets.prepare.base import Progress
from vision_suite.datasets.prepare.fetch import fetch_members
from vision_suite.datasets.prepare.onestop import ARCHIVE, SAMPLE
from vision_suite.errors import DataError

SEED = 0
ROLES = ("paragraph", "question", "answer_a", "answer_b", "answer_c", "answer_d")
# The package lists answers in the order in which they were shown. Its `selected_answer` is the category of the answer
# in OneStopQA (A: right), not that order, so the right ones are taken from the texts: each is what the span of the
# page says that the package marks as critical.
RIGHT = {
    "2_1_1_Ele": "d",
    "2_1_2_Ele": "b",
    "2_1_3_Adv": "b",
    "2_1_4_Adv": "d",
    "2_1_5_Adv": "d",
    "2_1_6_Ele": "b",
    "2_2_1_Adv": "c",
    "2_2_2_Adv": "b",
    "2_2_3_Adv": "c",
    "2_2_4_Ele": "d",
    "2_2_5_Ele": "b",
    "2_2_6_Ele": "a",
}


def build(part: Path, progress: Progress, source: Path | None) -> None:
    """Write ``text_test.jsonl``, ``questions_test.jsonl`` and the pictures into the empty path ``part``.

    Args:
        part: Folder to create.
        progress: Listener.
        source: Archives or a folder of them, to use instead of the registry.

    Raises:
        DataError: The archive cannot be had, or holds other pages.
    """
    progress("fetching", 0, 1)
    members = {name.removeprefix(SAMPLE): data for name, data in fetch_members(ARCHIVE, source).items()}
    progress("fetching", 1, 1)
    pages = read_pages(members["images/manifest.csv"])
    if set(pages) != set(RIGHT):
        raise DataError(f"{RECIPE.name}: pages {sorted(pages)} instead of {sorted(RIGHT)}: check the archive")
    (part / "pages").mkdir(parents=True)
    for name in pages:
        (part / picture_of(name)).write_bytes(members[f"images/{name}__paragraph.png"])
    texts = [{"id": name, "source": "pages", "text": page["paragraph"]} for name, page in pages.items()]
    questions = make_questions(pages, RIGHT)
    write_lines(part / "text_test.jsonl", texts)
    write_lines(part / "questions_test.jsonl", questions)
    RECIPE.seal(
        part,
        {
            "seed": SEED,
            "counts": {"texts": len(texts), "words": sum(len(row["text"].split()) for row in texts)}
            | numbers(questions),
            "right answers": "read from the critical span of each page; the package gives the order shown, not the key",
            "use": "evaluation only; 12 questions have a standard error of .125 at .25, so they are shown, not scored",
        },
    )


def read_pages(table: bytes) -> dict[str, dict[str, str]]:
    """The texts of each page by their role (`ROLES`), in the order of names.

    Args:
        table: ``images/manifest.csv``.

    Raises:
        DataError: A page lacks a role.
    """
    pages: dict[str, dict[str, str]] = {}
    try:
        for row in csv.DictReader(io.StringIO(table.decode("utf-8-sig"))):
            pages.setdefault(row["unique_paragraph_id"], {})[row["role"]] = row["text"]
    except (KeyError, UnicodeDecodeError) as error:
        raise DataError(f"{ARCHIVE.name}: manifest.csv lacks or garbles {error}: check the archive") from None
    for name, page in pages.items():
        if missing := [role for role in ROLES if not page.get(role)]:
            raise DataError(f"{ARCHIVE.name}: page {name} has no {missing[0]}: check the archive")
    return dict(sorted(pages.items()))


def make_questions(pages: Mapping[str, Mapping[str, str]], right: Mapping[str, str]) -> list[Question]:
    """Each page's question after its text (``page-text``), then after its picture (``page-picture``).

    Args:
        pages: Texts of each page by role.
        right: Letter of the right answer of each page, in the order of the package.
    """
    rows: dict[str, list[Question]] = {"page-text": [], "page-picture": []}
    for name, page in pages.items():
        answers = [page[role] for role in ROLES[2:]]
        order = stream_of(SEED, name).permutation(len(answers))
        choices = [answers[int(place)] for place in order]
        answer = page[f"answer_{right[name]}"]
        asked = {
            "page-text": choice_turn("page-text", f"{page['paragraph']}\n{page['question']}", choices, answer),
            "page-picture": choice_turn("page-picture", page["question"], choices, answer, images=[picture_of(name)]),
        }
        for task, turn in asked.items():
            rows[task].append(question_row(f"{task}-{name}", turn))
    return [row for task in rows.values() for row in task]


def picture_of(name: str) -> str:
    """Path of a page's picture below the folder of the set."""
    return f"pages/{name}.png"
