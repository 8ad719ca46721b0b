"""The recipe of iit-chains: conversations of text and picture questions on a common subject."""

from __future__ import annotations

from pathlib import Path

from vision_suite.datasets.instruct.emoji_scenes_recipe import RECIPE as SCENES
from vision_suite.datasets.instruct.text_choices_recipe import RECIPE as TEXTS
from vision_suite.datasets.prepare.base import Manifest, Options, Progress, Recipe

PARTS = (TEXTS, SCENES)


class IITChains(Recipe):
    """Chains made of text-choices and Emoji-Scenes, which are prepared first where they are not."""

    name = "iit-chains"
    title = "IIT-chains"
    description = "6 x 200 chains of 1 to 3 questions, text and pictures; from text-choices, emoji-scenes and MiniLM"
    task = "instruction tuning: interleaved text and pictures (evaluation only)"
    licence = "those of text-choices and Emoji-Scenes"

    def build(self, part: Path, progress: Progress, options: Options) -> None:
        """Prepare the two sets, match their questions, and copy the pictures."""
        from vision_suite.datasets.instruct.iit_set import build

        build(part, progress, options)

    def outdated(self, manifest: Manifest) -> str | None:
        """The reason to build it again: another rule, or another state of the sets that it is made of."""
        made_from = dict(manifest).get("made_from")
        if manifest["rule_version"] != self.rule_version or made_from != {p.name: p.rule_version for p in PARTS}:
            return "made from another set or by an older rule"
        return None

    def attribution(self) -> str:
        """Credits of both sets."""
        return "".join(part.attribution() for part in PARTS) + (
            "Subjects matched by vectors of all-MiniLM-L6-v2 (Apache-2.0) where transformers is installed.\n"
        )


RECIPE = IITChains()
