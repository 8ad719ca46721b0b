"""Figures of tests for an entry of the hub: mean and standard deviation over seeds."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vision_suite.cli.hub.facts import data_name, without_paths
from vision_suite.errors import ConfigError, is_number
from vision_suite.runs.record import Run, read_run
from vision_suite.runs.search import run_of


def figures_of(tests: Sequence[Path], names: Sequence[str]) -> list[dict[str, Any]]:
    """Section ``metrics`` of ``config.json``: the mean over several tests, and their standard deviation.

    Args:
        tests: Files ``metrics.json`` of tests, one for each seed.
        names: Metrics to take; none takes all that are finite in every file.

    Raises:
        ConfigError: A file is no such one or lacks a metric, the tests are of several data sets, or a seed is unknown
            or given twice.
    """
    records = [_metrics(path) for path in tests]
    if not records:
        return []
    chosen = list(names) or [
        name for name in records[0]["metrics"] if all(is_number(record["metrics"].get(name)) for record in records)
    ]
    seeds = [_seed(path, record) for path, record in zip(tests, records, strict=True)]
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"--tests: seeds {', '.join(map(str, seeds))}: give one test of each training")
    names_of_data = [_data(record) for record in records]
    for path, data in zip(tests[1:], names_of_data[1:], strict=True):
        if data != names_of_data[0]:
            raise ConfigError(f"--tests {path}: it is of other data than {tests[0]}: give tests of one data set")
    found = []
    for name in chosen:
        values = [record["metrics"].get(name) for record in records]
        if not all(map(is_number, values)):
            raise ConfigError(f"--figures {name}: {tests[0]} has {', '.join(records[0]['metrics'])}")
        found.append(
            {
                "name": name, "value": statistics.fmean(values),
                "std": statistics.stdev(values) if len(values) > 1 else None, "seeds": seeds, "split": "test",
                "data": names_of_data[0][0], "protocol": _protocol(records[0].get("protocol") or {}),
            }
        )  # fmt: skip
    return found


def read_figures(path: Path) -> list[dict[str, Any]]:
    """Section ``metrics`` of ``config.json`` out of a file.

    Raises:
        ConfigError: The file is no list of objects in JSON.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--metrics {path}: it cannot be read ({' '.join(str(error).split())[:100]})") from error
    if not isinstance(found, list):
        raise ConfigError(
            f"--metrics {path}: give a list of objects with name, value, std, seeds, split, data, protocol"
        )
    return found


def _metrics(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--tests {path}: it cannot be read ({' '.join(str(error).split())[:100]})") from error
    if not isinstance(record, dict) or not isinstance(record.get("metrics"), dict):
        raise ConfigError(f"--tests {path}: give the file metrics.json of a test")
    return record


def _seed(path: Path, record: Mapping[str, Any]) -> int:
    """Seed of the training run whose checkpoint was tested."""
    folder, checkpoint = path.absolute().parent.parent, record.get("checkpoint")
    run = _run_of(checkpoint, folder) if isinstance(checkpoint, str) and checkpoint else read_run(folder)
    seed = None if run is None else run.record.get("seed")
    if type(seed) is not int or seed < 0:
        raise ConfigError(
            f"--tests {path}: the run that trained {checkpoint or 'its network'} is not found, so its seed is unknown: "
            "give the figures as --metrics"
        )
    return seed


def _run_of(checkpoint: str, folder: Path) -> Run | None:
    """The run that wrote the checkpoint of a test, whose path is relative to where the test was started."""
    tested = read_run(folder, command=None)
    return None if tested is None else run_of(Path(str(tested.record.get("working_folder") or "")) / checkpoint)


def _data(record: Mapping[str, Any]) -> tuple[str, str]:
    """Name and fingerprint of the data of a test."""
    data = {**(record.get("protocol") or {}), **(record.get("data") or {})}
    fingerprint = data.get("fingerprint")
    digest = fingerprint.get("sha256") if isinstance(fingerprint, Mapping) else fingerprint
    name = data_name(str(data.get("root") or ""), str(data.get("dataset") or data.get("name") or ""))
    return name, str(digest or "")


def _protocol(data: Mapping[str, Any]) -> dict[str, Any]:
    """The short facts of a protocol: words and numbers that name no place."""
    return {
        name: value
        for name, value in data.items()
        if isinstance(value, int | float) or (isinstance(value, str) and without_paths(value, "", "") == value)
    }
