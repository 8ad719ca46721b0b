"""Mining of many pictures into a store: begun, gone on with after any interruption, to the same table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from PIL import Image

from vision_suite.errors import DataError
from vision_suite.mining.reading import mined_image, scores_of
from vision_suite.mining.step import MiningImage, MiningStep, State
from vision_suite.mining.store import MINED, Store
from vision_suite.types import Progress

Reader = Callable[[str], tuple[Image.Image, str]]
"""Function from the path of a picture to its RGB pixels and the checksum (SHA-256) of its file."""


def begin(
    store: Store,
    run: str,
    step: MiningStep,
    items: Sequence[MiningImage],
    settings: Mapping[str, Any],
    detectors: Mapping[str, Any],
) -> None:
    """Record a run and its pictures before the first step, or check that it goes on as it began.

    Args:
        store: File of mining.
        run: Name of the run.
        step: The step.
        items: Pictures; later calls may bring more.
        settings: Settings of sampler and extractor, as JSON values.
        detectors: Settings of each detector, as JSON values.

    Raises:
        ConfigError: The file has the run, a detector or a picture with other settings.
    """
    limits = {name: asdict(each) for name, each in step.thresholds.items()}
    own = {"count": step.count, "seed": step.seed, "rules": asdict(step.rules), "thresholds": limits}
    whole = {**settings, **own, "detectors": sorted(detectors)}
    store.begin(run, json.loads(json.dumps(whole)), json.loads(json.dumps(detectors)))
    store.derived(run, MINED, step.rules, step.thresholds)
    store.add(run, items)


def bootstrap(
    store: Store, run: str, step: MiningStep, items: Sequence[MiningImage], read: Reader, progress: Progress
) -> None:
    """Mine the pictures that have not come to their end, each from its last step on.

    A picture that cannot be read is recorded with the reason and left for the next start.

    Args:
        store: File of mining, in which the run has begun; see `begin`.
        run: Name of the run.
        step: The step.
        items: Pictures.
        read: Reader of pictures.
        progress: Called with the number of pictures done.
    """
    for number, item in enumerate(items):
        progress(run, number, len(items))
        mine(store, run, step, item, read)
    progress(run, len(items), len(items))


def mine(store: Store, run: str, step: MiningStep, item: MiningImage, read: Reader) -> None:
    """Mine one picture to its end."""
    known = mined_image(store, run, item.id)
    if known.stop:
        return
    try:
        image, sha256 = read(item.path)
    except DataError as error:
        store.give_up(run, item.id, str(error))
        return
    if known.sha256 and known.sha256 != sha256:
        raise DataError(
            f"picture {item.path!r} has changed since its first step in run {run!r}: give the run another name"
        )
    # Scores of another picture with the same bytes, or of another run, are this one's too.
    state = known.state() if known.steps else State(scores=scores_of(store, sha256))
    for rows in step.whole(item, image, state):
        store.write(run, sha256, rows)
