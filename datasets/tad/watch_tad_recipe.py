"""The recipe of Watch-TAD: its archive and credits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vision_suite.datasets.prepare.base import Options, Progress, Recipe, VerifyReport
from vision_suite.datasets.prepare.fetch import Archive

MEMBER = "seglearn/data/watch_dataset.npy"
ARCHIVE = Archive(
    client="pip",
    name="seglearn",
    version="1.2.5",
    file="seglearn-1.2.5-py3-none-any.whl",
    sha256="ec6b952c85c9627050102854b372d85951563d3b990df677d7c55547e87413dd",
    members={MEMBER: "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"},
)


class WatchTAD(Recipe):
    """Watch-TAD."""

    name = "watch-tad"
    title = "Watch-TAD"
    description = "240 sequences of 30 s from 10 people's smartwatches, 6 exercises; fetches 11 MB"
    task = "temporal action detection, tested on unseen people"
    licence = "package BSD; the recordings' own terms are not stated in it"
    archives = (ARCHIVE,)

    def build(self, part: Path, progress: Progress, options: Options) -> None:
        """Fetch the recordings and assemble the sequences."""
        from vision_suite.datasets.tad.watch_tad import build

        build(part, progress, options.source)

    def verify(self, folder: Path, progress: Progress) -> VerifyReport:
        """Recompute the checksum of every file, and look for files that do not belong to the set.

        Features that a recogniser added stand in folders of their own, which are not looked at.
        """
        report = super().verify(folder, progress)
        names = self.manifest(folder)["checksums"]
        folders = sorted({(folder / name).parent for name in names} - {folder})
        found = [str(path.relative_to(folder)) for own in folders if own.is_dir() for path in sorted(own.iterdir())]
        strangers = tuple(f"{name}: not part of the set" for name in found if name not in names)
        return replace(report, problems=report.problems + strangers)

    def attribution(self) -> str:
        """Credits of the recordings."""
        return (
            "Smartwatch recordings of shoulder exercises (D. Burns et al.), as the Python package seglearn 1.2.5 (BSD "
            "licence) carries them; the recordings' own terms are not stated there.\n"
            "Changes: pieces of recordings joined to sequences of 30 s; statistics of short windows as features.\n"
        )


RECIPE = WatchTAD()
