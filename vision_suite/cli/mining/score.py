"""``vision-suite bootstrap score``: further detectors for what was mined, without the model."""

from __future__ import annotations

import argparse

from vision_suite.cli.mining.config import read_config
from vision_suite.cli.mining.parts import load_detectors, read_picture, recorded_detectors
from vision_suite.cli.trainer.lines import plain_warnings
from vision_suite.datasets.prepare.base import progress_bars
from vision_suite.mining.reading import run_of, unscored
from vision_suite.mining.scoring import score_stored
from vision_suite.mining.store import Store


def score(options: argparse.Namespace) -> None:
    """Let the detectors of a configuration score the objects of a run that they have not scored."""
    plain_warnings()
    config = read_config(options.config)
    with Store(options.file, new=False) as store:
        run = run_of(store, options.run)
        lacking = [name for name in config.detectors if unscored(store, run, name)]
        detectors = load_detectors(config, lacking, options.device)
        store.add_detectors(recorded_detectors(config))  # behind the loading, which finds settings that are wrong
        with progress_bars(options.quiet) as progress:
            added = score_stored(store, run, detectors, read_picture, progress)
    known = [name for name in config.detectors if name not in lacking]
    lines = added.lines() + ([f"complete before: {', '.join(known)}"] if known else [])
    for name, detector in detectors.items():
        own = getattr(detector, "threshold", None)
        lines += [f"{name}: the threshold of its own validation is {own:.4g}"] if own is not None else []
    print("\n".join(lines))
