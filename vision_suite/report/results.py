"""Tables of results: a row for each run, and mean and standard deviation over runs that differ only in the seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vision_suite.report.compare import Column, ComparedKey, common, differences
from vision_suite.report.contents import RunContents, RunEvaluation
from vision_suite.report.environment import environment
from vision_suite.report.runs import ReportedRun, varies_alone
from vision_suite.report.words import number_text, shortened, spread_text

MOST_COLUMNS = 8  # metrics that are columns; more of them become rows
LOGGED = "last validation during training"

Group = tuple[object, ...]


@dataclass(frozen=True)
class Outcome:
    """One evaluation of one run.

    Attributes:
        run: Number of the run.
        group: What it has in common with the runs that differ from it only in the seed.
        seed: Seed of the training, as text; None where nothing tells it.
        commit: Commit of the training's code.
        note: Checkpoint that was evaluated.
        metrics: Values by name.
        protocol: Protocol, flattened; None where nothing tells it.
    """

    run: int
    group: Group
    seed: str | None
    commit: str | None
    note: str
    metrics: Mapping[str, float]
    protocol: Column


@dataclass(frozen=True)
class ResultCell:
    """A value of the table: its text, and the number by which it is sorted."""

    text: str
    value: float


@dataclass(frozen=True)
class ResultRow:
    """A row of the table, or a column of one whose rows are metrics.

    Attributes:
        runs: Numbers of the runs: one, or those of a mean.
        note: Checkpoint, or over what the mean is.
        cells: A value for each metric.
    """

    runs: tuple[int, ...]
    note: str
    cells: tuple[ResultCell, ...]

    @property
    def is_mean(self) -> bool:
        """True for a mean over runs."""
        return len(self.runs) > 1


@dataclass(frozen=True)
class ResultTable:
    """Table of the metrics of one part of the names.

    Attributes:
        part: What the names begin with: nothing for metrics of the whole, ``glca`` for ``glca/mAP``.
        metrics: Names of the metrics.
        rows: Runs of one group together, then their mean.
        upright: Metrics are rows and runs are columns, because there are many metrics.
    """

    part: str
    metrics: tuple[str, ...]
    rows: tuple[ResultRow, ...]
    upright: bool


@dataclass(frozen=True)
class Results:
    """Results of one kind of evaluation.

    Attributes:
        heading: Stage and task.
        tables: Table of the metrics of the whole, then those of parts.
        without: Names of metrics of which no run has a value.
        protocol: Entries of the protocol that all rows share.
        differing: Entries in which rows differ.
        columns: Run of each column of `differing`.
    """

    heading: str
    tables: tuple[ResultTable, ...]
    without: tuple[str, ...]
    protocol: Mapping[str, str]
    differing: Sequence[ComparedKey]
    columns: tuple[int, ...]


def name_part(name: str) -> str:
    """Group of a metric: all but the last part of its name."""
    return name.rpartition("/")[0]


def all_results(runs: Sequence[ReportedRun]) -> list[Results]:
    """Results of ``test`` and ``validate``, then of the last validation in training.

    Args:
        runs: Runs of the page.
    """
    found: dict[str, list[Outcome]] = {}
    for stage in ("test", "validate"):
        for run in runs:
            for folder, evaluation in run.evaluations:
                if evaluation.stage == stage:
                    heading = f"{stage}, {evaluation.task}" if evaluation.task else stage
                    found.setdefault(heading, []).append(_outcome(run, folder, evaluation))
    logged = [_last_logged(run) for run in runs]
    if any(outcome.metrics for outcome in logged):
        found[LOGGED] = [outcome for outcome in logged if outcome.metrics]
    return [_results(heading, outcomes) for heading, outcomes in found.items()]


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (divisor n - 1) of at least two values; NaN if one is not finite."""
    if not all(math.isfinite(value) for value in values):
        return math.nan, math.nan
    return statistics.fmean(values), statistics.stdev(values)


def _outcome(run: ReportedRun, folder: RunContents, evaluation: RunEvaluation) -> Outcome:
    """The outcome of a ``metrics.json``."""
    note = Path(evaluation.checkpoint).name if evaluation.checkpoint else ""
    tested = (evaluation.protocol or {}).get("data.fingerprint.sha256")
    group = (_seedless(run.contents), _data(run.contents), _seedless(folder), tested, note)
    # A test whose training run is not on the page does not tell the seed of the training.
    alone = (
        () if run.contents.trains and run.contents.settings is not None and folder.settings is not None else (folder,)
    )
    return Outcome(
        run.number, (*group, *map(id, alone)), *_origin(run.contents), note, evaluation.metrics, evaluation.protocol
    )


def _last_logged(run: ReportedRun) -> Outcome:
    """The last finite value of each validation metric in the log of a run."""
    metrics = {}
    for key, (_, values) in run.contents.log.series.items():
        finite = [value for value in values.tolist() if math.isfinite(value)]
        if key.startswith("val/") and finite:
            metrics[key.removeprefix("val/")] = finite[-1]
    alone = () if run.contents.settings is not None else (run.number,)
    data = {key: value for key, value in environment(run.contents).items() if key.startswith("data.")}
    group = (_seedless(run.contents), _data(run.contents), *alone)
    return Outcome(run.number, group, *_origin(run.contents), "", metrics, data or None)


def _seedless(contents: RunContents) -> frozenset[tuple[str, str]]:
    """Settings of a run without those that runs with other seeds may differ in."""
    settings = contents.settings or {}
    return frozenset(item for item in settings.items() if not varies_alone(item[0]))


def _data(contents: RunContents) -> str | None:
    """Fingerprint of the data that a run was trained on."""
    return environment(contents).get("data.fingerprint.sha256")


def _origin(contents: RunContents) -> tuple[str | None, str | None]:
    """Seed and commit of a run."""
    seed = contents.newest.get("seed")
    return None if seed is None else shortened(seed), environment(contents).get("git.commit")


def _results(heading: str, outcomes: Sequence[Outcome]) -> Results:
    """Results from the outcomes of one kind."""
    names = dict.fromkeys(name for outcome in outcomes for name in outcome.metrics)
    valued = {name for outcome in outcomes for name, value in outcome.metrics.items() if not math.isnan(value)}
    parts: dict[str, list[str]] = {}
    for name in names:
        if name in valued:
            parts.setdefault(name_part(name), []).append(name)
    protocols = [outcome.protocol for outcome in outcomes]
    return Results(
        heading,
        tuple(
            _table(part, parts[part], outcomes)
            for part in sorted(parts, key=lambda part: (part != "", part.count("/")))
        ),
        tuple(name for name in names if name not in valued),
        common(protocols),
        differences(protocols),
        tuple(outcome.run for outcome in outcomes),
    )


def _table(part: str, metrics: Sequence[str], outcomes: Sequence[Outcome]) -> ResultTable:
    """The table of one part of the names."""
    rows = tuple(_rows(outcomes, metrics))
    return ResultTable(part, tuple(metrics), rows, len(metrics) > max(MOST_COLUMNS, len(rows)))


def _rows(outcomes: Sequence[Outcome], metrics: Sequence[str]) -> Iterator[ResultRow]:
    """Rows of all groups, in the order in which the groups first appear."""
    groups: dict[Group, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.group, []).append(outcome)
    for group in groups.values():
        for outcome in group:
            values = [outcome.metrics.get(name, math.nan) for name in metrics]
            yield ResultRow(
                (outcome.run,), outcome.note, tuple(ResultCell(number_text(value), value) for value in values)
            )
        newest = {outcome.run: outcome for outcome in group}  # of several tests of one run the last
        if len(newest) > 1:
            columns = [[each.metrics.get(name, math.nan) for each in newest.values()] for name in metrics]
            spreads = [mean_and_deviation(column) for column in columns]
            cells = tuple(ResultCell(spread_text(*spread), spread[0]) for spread in spreads)
            yield ResultRow(tuple(newest), _over(list(newest.values())), cells)


def _over(outcomes: Sequence[Outcome]) -> str:
    """Words on what a mean is over: a seed that two runs have is one seed, and code of several commits is told."""
    seeds, commits = {outcome.seed for outcome in outcomes}, {outcome.commit for outcome in outcomes}
    told = f"mean of {len(outcomes)} seeds"
    if len(seeds - {None}) < len(outcomes):
        told = f"mean of {len(outcomes)} runs, {len(seeds - {None})} known seed{'s' * (len(seeds - {None}) != 1)}"
    return told if len(commits) == 1 else f"{told}, {len(commits)} commits"
