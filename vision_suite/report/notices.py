"""Warnings of the page: what a reader must know before trusting its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from vision_suite.report.environment import environment
from vision_suite.report.runs import ReportedRun
from vision_suite.report.words import shortened
from vision_suite.runs.record import FINISHED

DIGITS = 10  # of a commit


class Notice(NamedTuple):
    """One warning: its run, None for all of them, and the text."""

    run: int | None
    text: str


def notices(runs: Sequence[ReportedRun]) -> list[Notice]:
    """Warnings on each run, then those on runs beside each other."""
    found = [Notice(run.number, text) for run in runs for text in dict.fromkeys(_of(run))]
    found += [Notice(None, text) for text in _together(runs)]
    return found


def _of(run: ReportedRun) -> Iterator[str]:
    """Warnings on one run."""
    status, _ = run.status
    if run.contents.run is not None and status != FINISHED:
        reason = run.contents.newest.get("reason")
        yield f"not finished: {status}{f' ({shortened(reason)})' if isinstance(reason, str) else ''}"
    for folder in run.folders:
        where = "" if folder is run.contents else f"{shortened(folder.folder.name)}: "
        for fault in folder.faults:
            yield shortened(f"{where}{fault}")
        git = folder.newest.get("git")
        if isinstance(git, dict) and git.get("dirty") is True:
            yield f"{where}the checkout had changes that are not in commit {shortened(git.get('commit'))[:DIGITS]}"
        elif folder.run is not None and not (isinstance(git, dict) and isinstance(git.get("commit"), str)):
            yield f"{where}the commit of the code is not known"
        for evaluation in folder.evaluations:
            for warning in evaluation.warnings:
                yield f"{where}{evaluation.stage}: {warning}"
    for key, (_, values) in run.contents.log.series.items():
        if lost := int(np.count_nonzero(~np.isfinite(values))):
            yield f"{shortened(key)}: {lost:,} of {len(values):,} values are not finite"


def _together(runs: Sequence[ReportedRun]) -> Iterator[str]:
    """Warnings on what runs that are compared do not share."""
    known = [environment(run.contents) for run in runs]
    for key, what in (("git.commit", "commits"), ("data.fingerprint.sha256", "data")):
        values = {facts[key] for facts in known if facts.get(key, "null") != "null"}
        if len(values) > 1:
            yield f"the runs come from different {what}: see Environment"
