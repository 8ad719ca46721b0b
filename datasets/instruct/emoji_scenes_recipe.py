"""The recipe of Emoji-Scenes: pictures of several emoji with questions, captions, boxes and preferences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vision_suite.datasets.prepare.base import Manifest, Options, Progress, Recipe

if TYPE_CHECKING:
    from vision_suite.datasets.emoji.plan import Plan

# Designs of the closed variant: four to train on, and the one that only its tests use.
CLOSED_DESIGNS = ("noto", "twemoji", "openmoji", "fluent-emoji-flat", "emojione")


class EmojiScenes(Recipe):
    """Emoji-Scenes.

    In the open variant, identities differ between splits; in the closed ones, 40 names are in all splits and one design
    is in the tests only.

    Args:
        plan: Archives and expected numbers; those of Emoji-ReID if None.
    """

    name = "emoji-scenes"
    rule_version = 4
    title = "Emoji-Scenes"
    description = "pictures of 1 to 5 emoji ({variant}) with questions, captions, boxes and preferences; fetches 21 MB"
    task = "instruction tuning and preference learning"
    licence = "Apache-2.0, MIT, CC-BY-4.0, CC-BY-SA-4.0, by design"
    one_size = "one size of pictures for each variant"
    variants = ("open", "closed", "closed-256")

    def __init__(self, plan: Plan | None = None) -> None:
        self._plan = plan

    def plan(self, variant: str) -> Plan:
        """Archives of a variant."""
        from vision_suite.datasets.emoji.plan import load_plan

        plan = self._plan or load_plan()
        if variant == "open":
            return plan
        return replace(plan, designs=tuple(design for design in plan.designs if design.key in CLOSED_DESIGNS))

    def build(self, part: Path, progress: Progress, options: Options) -> None:
        """Fetch the designs, paint the scenes, and write rows and questions."""
        from vision_suite.datasets.instruct.scenes.build import build

        build(part, self, progress, options)

    def outdated(self, manifest: Manifest) -> str | None:
        """As for every set, by the archives of the variant."""
        variant = str(dict(manifest).get("variant", "open"))
        if manifest["rule_version"] != self.rule_version or list(manifest["sources"]) != self.plan(variant).sources():
            return "made from another archive or by an older rule"
        return None

    def attribution(self) -> str:
        """Credits of every design."""
        return self.plan("open").attribution()


RECIPE = EmojiScenes()
