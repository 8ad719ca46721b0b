"""The recipe of Emoji-ReID: the same emoji drawn by 8 designs, at any size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vision_suite.datasets.prepare.base import Options, Progress, Recipe, VerifyReport

if TYPE_CHECKING:
    from vision_suite.datasets.emoji.plan import Plan


class EmojiReID(Recipe):
    """Emoji-ReID; its manifest counts files by list, so it is checked in a way of its own.

    Args:
        plan: Archives and expected numbers; those of this package if None.
    """

    name = "emoji-reid"
    title = "Emoji-ReID"
    description = "1,396 emoji drawn by up to 8 designs, 8,767 pictures of {size} x {size}; fetches 21 MB"
    task = "re-ID (protocols a, b, c0..c7) and classification (fgvc, closed)"
    licence = "Apache-2.0, MIT, CC-BY-4.0, CC-BY-SA-4.0, by design"
    default_size = 64
    sizes = range(16, 1024 + 1)

    def __init__(self, plan: Plan | None = None) -> None:
        self._plan = plan

    @property
    def plan(self) -> Plan:
        """Archives and expected numbers."""
        from vision_suite.datasets.emoji.plan import load_plan

        return self._plan or load_plan()

    def build(self, part: Path, progress: Progress, options: Options) -> None:
        """Fetch the designs, draw the pictures, and write every protocol's folder."""
        from vision_suite.datasets.emoji.build import build

        build(part, self.plan, progress, options)

    def why_not_ready(self, folder: Path) -> str | None:
        """The reason that a folder must be prepared, by its manifest and file counts; None if there is none."""
        from vision_suite.datasets.emoji.build import why_not_ready

        return why_not_ready(folder, self.plan)

    def verify(self, folder: Path, progress: Progress) -> VerifyReport:
        """Recompute every count and checksum from the files themselves."""
        from vision_suite.datasets.emoji.build import verify

        return verify(folder, self.plan, progress)

    def attribution(self) -> str:
        """Credits of every design."""
        return self.plan.attribution()


RECIPE = EmojiReID()
