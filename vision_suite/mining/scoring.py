"""Scores of further detectors for the objects of a file of mining: its pictures are read again, the model is not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from vision_suite.errors import DataError
from vision_suite.mining.reading import unscored
from vision_suite.mining.run import Reader
from vision_suite.mining.step import Scorer
from vision_suite.mining.store import Store
from vision_suite.types import Progress


@dataclass
class Added:
    """Scores that were added.

    Attributes:
        scores: Number of objects by detector, abstentions included.
        abstentions: Those of them that the detector does not know.
        problems: Why a picture could not be read, by its name.
    """

    scores: Counter[str] = field(default_factory=Counter)
    abstentions: Counter[str] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The counts for a terminal."""
        lines = [
            f"{name}: {count:,} objects scored, {self.abstentions[name]:,} of them abstentions"
            for name, count in sorted(self.scores.items())
        ]
        return lines + [f"unreadable: {name}: {reason}" for name, reason in sorted(self.problems.items())]


def score_stored(store: Store, run: str, detectors: Mapping[str, Scorer], read: Reader, progress: Progress) -> Added:
    """Let detectors score the objects of a run's pictures that they have not scored.

    The scores of a picture are one transaction: what is killed goes on where it stopped, to the same table. Pictures
    that cannot be read, or have changed, are left for the next start.

    Args:
        store: File of mining, which knows the detectors; see `Store.add_detectors`.
        run: Name of the run.
        detectors: Detectors by name.
        read: Reader of pictures.
        progress: Called with the number of pictures done.
    """
    added = Added()
    pictures = store.rows(
        "SELECT id, path, sha256 FROM image WHERE run = ? AND sha256 IS NOT NULL ORDER BY position, id", (run,)
    )
    for number, (image_id, path, sha256) in enumerate(pictures):
        progress(run, number, len(pictures))
        asked = {name: names for name in detectors if (names := unscored(store, run, name, image_id))}
        if not asked:
            continue
        try:
            image, found = read(path)
        except DataError as error:
            added.problems[image_id] = str(error)
            continue
        if found != sha256:
            added.problems[image_id] = f"picture {path!r} has changed since it was mined"
            continue
        scores = {name: detectors[name].score([image], [names])[0] for name, names in asked.items()}
        store.write_scores(sha256, scores)
        added.scores.update({name: len(own) for name, own in scores.items()})
        added.abstentions.update({name: sum(map(math.isnan, own.values())) for name, own in scores.items()})
    progress(run, len(pictures), len(pictures))
    return added
