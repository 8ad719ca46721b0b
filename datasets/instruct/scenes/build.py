"""Emoji-Scenes built: the pictures, the rows to train on, the questions, captions, boxes and preferences."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vision_suite.datasets.emoji.build import PICTURES, draw_identities, fetch_tables
from vision_suite.datasets.instruct.question_rows import numbers, write_lines, write_list
from vision_suite.datasets.instruct.scenes import rows
from vision_suite.datasets.instruct.scenes.captions import plain_caption, preference_pairs
from vision_suite.datasets.instruct.scenes.coco import write_instances
from vision_suite.datasets.instruct.scenes.contents import SEED, Contents, closed_contents, open_contents
from vision_suite.datasets.instruct.scenes.layout import TOGETHER, Scene, Sizes
from vision_suite.datasets.instruct.scenes.paint import paint_all
from vision_suite.datasets.instruct.scenes.synonyms import synonym_groups
from vision_suite.datasets.instruct.scenes.things import (
    CLOSED,
    FURTHER,
    SceneSplit,
    Thing,
    closed_things,
    things_of,
)
from vision_suite.datasets.prepare.base import Options, Progress
from vision_suite.errors import DataError

if TYPE_CHECKING:
    from vision_suite.datasets.instruct.emoji_scenes_recipe import EmojiScenes

SINGLE_SIZE = 64  # pixels of the open variant's pictures of one emoji, as in Emoji-ReID
SIZES = {"open": Sizes(256, 64, 128, 5), "closed": Sizes(64, 20, 28, 4), "closed-256": Sizes(256, 80, 112, 4)}
SCENES: dict[str, dict[SceneSplit, int]] = {
    "open": {"train": 3000, "val": 300, "test": 500, "adversarial": 500},
    "closed": {
        "train": 6000,
        "val": 500,
        "test": 500,
        "adversarial": 500,
        "mining": 2000,
        "mining_prior": 2000,
        "val_adversarial": 300,
        "familiar": 500,
        "familiar_adversarial": 500,
    },
}
# Pictures of each drawing in the closed variants: 40 names x 4 designs x 15; x 3; 40 x 1 x 50 = 2,000 to test.
COPIES: dict[SceneSplit, int] = {"train": 15, "val": 3, "test": 50}


def build(part: Path, recipe: EmojiScenes, progress: Progress, options: Options) -> None:
    """Write the whole set into the empty path ``part``.

    Args:
        part: Folder to create.
        recipe: The recipe, for archives and credits.
        progress: Listener.
        options: Choices of the user; the variant must be given.

    Raises:
        DataError: An archive cannot be had, or lacks a drawing.
    """
    variant = options.variant or recipe.variants[0]
    plan = recipe.plan(variant)
    if variant == "open":
        found = draw_identities(part, plan, progress, replace(options, image_size=SINGLE_SIZE))
        keys = [design.key for design in plan.designs]
        contents, used = open_contents(
            things_of(found.names, found.labels, found.subgroups),
            {key: {entry.name for entry in found.drawn.values() if entry.design == key} for key in keys},
            plan.core_designs,
            SIZES[variant],
            SCENES[variant],
        )
        _keep_only(part, {path.removeprefix("singles/") for path in used})
        icons = dict(zip(keys, found.icons, strict=True))
        extra: list[Scene] = []
    else:
        tables, labels = fetch_tables(plan, progress, options.source)
        part.mkdir(parents=True)
        icons = dict(zip([design.key for design in plan.designs], tables, strict=True))
        things = closed_things(CLOSED, labels["package/en/data.json"])
        contents, extra = closed_contents(things, list(icons), SIZES[variant], SCENES["closed"], COPIES)
        _check_drawings(things, icons)
    facts = write(part, contents, icons, extra, progress)
    licences = sorted({design.licence for design in plan.designs})
    recipe.seal(
        part,
        {
            "variant": variant,
            "seed": SEED,
            "sources": plan.sources(),
            "about": _ABOUT["open" if variant == "open" else "closed"],
            "licence": f"each design under its own licence ({', '.join(licences)}); see attribution",
            "attribution": plan.attribution(),
            **facts,
        },
    )


def write(
    part: Path, contents: Contents, icons: Mapping[str, Any], extra: Sequence[Scene], progress: Progress
) -> dict[str, object]:
    """Paint the pictures and write every file, and return their numbers for the manifest.

    Args:
        part: Folder.
        contents: Scenes and questions.
        icons: The table ``icons.json`` of each design, by its key.
        extra: Further scenes to paint, which have no boxes or captions.
        progress: Listener.
    """
    every = [thing for split in ("train", "val", "test") for thing in contents.things[split]]
    things = sorted({thing.name: thing for thing in every}.values(), key=lambda thing: thing.name)
    counts: dict[str, dict[str, int]] = {"scenes": {}, "boxes": {}, "training rows": {}, "preferences": {}}
    texts: list[str] = []
    for split, scenes in contents.scenes.items():
        painted = paint_all(scenes, part, icons, partial(progress, f"{split} scenes"))
        counts["scenes"][split] = len(scenes)
        counts["boxes"][split] = write_instances(part / f"instances_{split}.json", scenes, painted, things)
        asked = contents.asked[split]
        described = [each for each in asked if each.task == "caption"]
        texts += [text for each in asked for text in (each.question, each.answer, *each.choices)]
        if split in ("train", "val"):
            by_task = {
                task: [each for each in asked if each.task == task] for task in dict.fromkeys(e.task for e in asked)
            }
            write_list(part / f"{split}.json", rows.to_train(asked))
            if split == "train":
                for task, own in by_task.items():
                    counts["training rows"][task] = write_list(part / f"train_{task}.json", rows.to_train(own))
            for start in ("", "plain_") if contents.plain else ("",):
                pairs = [
                    pair
                    for scene in scenes
                    for pair in preference_pairs(SEED, scene, contents.things[split], plain=bool(start))
                ]
                counts["preferences"][split] = write_lines(part / f"{start}preferences_{split}.jsonl", pairs)
        if split != "train":
            write_lines(part / f"captions_{split}.jsonl", rows.to_evaluate(described))
        if contents.plain:
            texts += _write_plain_captions(part, split, scenes)
        if split in FURTHER:
            write_list(part / f"{split}_caption.json", rows.to_train(described))
        elif split != "train":
            questions = rows.to_evaluate(each for each in asked if each.task != "caption")
            write_lines(part / f"questions_{split}.jsonl", questions)
            counts[f"{split} questions"] = numbers(questions)
    paint_all(extra, part, icons, partial(progress, "single pictures"))
    counts["single pictures"] = {
        split.name: sum(1 for path in split.iterdir()) for split in sorted((part / "singles").iterdir())
    }
    write_list(part / "things.json", [{"name": t.words, "kind": t.kind, "subgroup": t.subgroup} for t in things])
    write_list(part / "synonyms.json", [{"words": group} for group in synonym_groups(things)])
    (part / "words.txt").write_text("".join(f"{word}\n" for word in words_of(texts)), encoding="utf-8")
    names = {split: len(own) for split, own in contents.things.items()}
    return {"counts": counts, "names": names, "together": {split: TOGETHER[split] for split in contents.scenes}}


def _write_plain_captions(part: Path, split: SceneSplit, scenes: Sequence[Scene]) -> list[str]:
    """Write a split's captions of one form, and return their texts."""
    asked = rows.captions(SEED, scenes, plain_caption)
    if split in ("train", *FURTHER):
        write_list(part / f"{split}_plain_caption.json", rows.to_train(asked))
    if split != "train":
        write_lines(part / f"plain_captions_{split}.jsonl", rows.to_evaluate(asked))
    return [each.answer for each in asked]


def words_of(texts: Iterable[str]) -> list[str]:
    """The different words and punctuation marks of texts in lower case, in alphabetic order."""
    return sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.lower())})


def _keep_only(part: Path, used: set[str]) -> None:
    """Move the drawn pictures to ``singles`` and remove those that no row uses."""
    shutil.move(part / PICTURES, part / "singles")
    for path in sorted((part / "singles").rglob("*.png")):
        if path.relative_to(part / "singles").as_posix() not in used:
            path.unlink()


def _check_drawings(things: Sequence[Thing], icons: Mapping[str, Any]) -> None:
    missing = [
        (key, thing.name) for key, table in icons.items() for thing in things if thing.name not in table["icons"]
    ]
    if missing:
        key, name = missing[0]
        raise DataError(
            f"Emoji-Scenes: design {key} does not draw {name!r} ({len(missing)} missing): check the archives"
        )


_ABOUT = {
    "open": (
        "Layouts made by rule from real drawings. The identities of train, val and test differ (sha256 of the name); "
        "scenes and usual pictures show four designs; group-new-design shows the test identities in four others. "
        "Things of a scene share the first one's subgroup with chance 0.8, in 'adversarial' never."
    ),
    "closed": (
        "Layouts made by rule from real drawings. 40 names in all splits; the last design is in the tests only. "
        "The 2,000 pictures of the naming test show 40 drawings, 50 times each: errors of one drawing go together, so "
        "the binomial standard error is too small; cluster by name, which begins each id. "
        "Things of a scene share the first one's subgroup with chance 0.8, in 'adversarial' never. Fresh scenes of the "
        "four designs: 'mining' (chance 0.4) and 'mining_prior' (0.6) to find a model's errors on, 'val_adversarial' "
        "(0) to choose settings on, 'familiar' (0.8) and 'familiar_adversarial' (0) to test on."
    ),
}
