"""IIT-chains built from text-choices and Emoji-Scenes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import cast

from vision_suite.datasets.emoji.write import Linker
from vision_suite.datasets.files import read_lines
from vision_suite.datasets.instruct.emoji_scenes_recipe import RECIPE as SCENES
from vision_suite.datasets.instruct.iit import build_chains, subject_of, tfidf_vectors
from vision_suite.datasets.instruct.iit_recipe import PARTS, RECIPE
from vision_suite.datasets.instruct.question_rows import Question, Turn, stream_of, write_lines
from vision_suite.datasets.instruct.text_choices_recipe import RECIPE as TEXTS
from vision_suite.datasets.prepare.base import Options, Progress
from vision_suite.datasets.sentence_vectors import can_embed, sentence_vectors

SEED = 0
COUNT = 200  # chains of each configuration
VISUAL = 500  # questions of each task about pictures
VISUAL_TASKS = ("group", "name", "yes-no", "count")


def build(part: Path, progress: Progress, options: Options) -> None:
    """Write ``questions_test.jsonl`` and the pictures into the empty path ``part``.

    Args:
        part: Folder to create.
        progress: Listener.
        options: Choices of the user.

    Raises:
        DataError: One of the sets cannot be prepared.
    """
    folders = {each.name: each.prepare(progress, replace(options, image_size=None, variant=None)) for each in PARTS}
    text = _turns(folders[TEXTS.name])
    seen = _turns(folders[SCENES.name])
    visual = []
    for task in VISUAL_TASKS:
        own = [turn for turn in seen if turn["source"] == task]
        visual += [own[int(place)] for place in stream_of(SEED, task).permutation(len(own))[:VISUAL]]
    subjects = [subject_of(turn) for turn in (*text, *visual)]
    embedded = can_embed()
    vectors = sentence_vectors(subjects, progress, options.source) if embedded else tfidf_vectors(subjects)
    chains = build_chains(text, visual, vectors[: len(text)], vectors[len(text) :], count=COUNT, seed=SEED)
    part.mkdir(parents=True)
    linker = Linker()
    pictures = sorted({image for row in chains.rows for turn in row["turns"] for image in turn.get("images", [])})
    for name in pictures:
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        linker.link(folders[SCENES.name] / name, part / name)
    write_lines(part / "questions_test.jsonl", chains.rows)
    RECIPE.seal(
        part,
        {
            "seed": SEED,
            "made_from": {each.name: each.rule_version for each in PARTS},
            "sources": [source for each in PARTS for source in each.manifest(folders[each.name])["sources"]],
            "counts": {config: sum(row["config"] == config for row in chains.rows) for config in _configs(chains.rows)},
            "pictures": len(pictures),
            "refused": {"similar questions that hold the answer of the last turn": chains.leaks},
            "matched by": "all-MiniLM-L6-v2" if embedded else "TF-IDF: transformers was not installed",
        },
    )


def _configs(rows: list[Question]) -> list[str]:
    return list(dict.fromkeys(row["config"] for row in rows))


def _turns(folder: Path) -> list[Turn]:
    rows = [cast("Question", json.loads(line)) for line in read_lines(folder / "questions_test.jsonl")]
    return [turn for row in rows for turn in row["turns"]]
