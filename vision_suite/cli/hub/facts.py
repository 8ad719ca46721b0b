"""Facts of a run for an entry of the hub, without the paths of this machine."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vision_suite.errors import ConfigError
from vision_suite.prepared import data_dir
from vision_suite.runs.record import Run
from vision_suite.yaml_text import read_yaml

ABSOLUTE = re.compile(r"(?<![\w.:/~])(?:/|~/)[\w.@+-][\w.@+/-]*")


@dataclass(frozen=True)
class RunFacts:
    """Facts of the run that wrote a checkpoint.

    Attributes:
        training: Section ``training`` of ``config.json``.
        config: Text of ``config.yaml``.
    """

    training: dict[str, Any]
    config: str


def facts_of(run: Run | None, settings: Mapping[str, Any]) -> RunFacts:
    """The facts that a run's record and configuration tell; empty ones for a checkpoint that lies in no run.

    Args:
        run: The run.
        settings: Settings of the module in plain containers, for a run without a configuration.
    """
    record: Mapping[str, Any] = {} if run is None else run.record
    data = record.get("data") or {}
    root = str(data.get("root") or "")
    name = data_name(root, str(data.get("dataset") or data.get("name") or ""))
    git, seed = record.get("git") or {}, record.get("seed")
    commit = git.get("commit")
    fingerprint = data.get("fingerprint")
    digest = fingerprint.get("sha256", "") if isinstance(fingerprint, Mapping) else str(fingerprint or "")
    training = {
        "command": [without_paths(str(word), root, name) for word in record.get("command_line") or []],
        "commit": commit if isinstance(commit, str) and re.fullmatch(r"[0-9a-f]{40}", commit) else None,
        "dirty": git.get("dirty") if isinstance(git.get("dirty"), bool) else None,
        "seed": seed if type(seed) is int and seed >= 0 else None,
        "data": {"name": name, "fingerprint": str(digest)},
        "hardware": _hardware(record.get("hardware") or {}),
    }
    file = None if run is None else run.config
    config = read_yaml(file) if file is not None else {"model": {"init_args": dict(settings)}}
    text = yaml.safe_dump(plain_texts(config, root, name), sort_keys=False, allow_unicode=True)
    return RunFacts(training, text)


def data_name(root: str, dataset: str) -> str:
    """Name of a data set: of the prepared set that its root lies in, else of its layout or its folder."""
    path = Path(root).expanduser()
    if root and path.is_absolute() and path.is_relative_to(data_dir()) and path != data_dir():
        return path.relative_to(data_dir()).parts[0]
    return path.name if root else dataset


def without_paths(text: str, root: str, name: str) -> str:
    """A text in which the data's root is the data's name, and other paths of this machine are their last part."""
    if root:
        text = text.replace(root, name)
    return ABSOLUTE.sub(lambda match: match[0].rstrip("/").rpartition("/")[2], text)


def plain_texts(value: Any, root: str, name: str) -> Any:
    """Nested containers in which every text is `without_paths`."""
    if isinstance(value, Mapping):
        return {str(key): plain_texts(each, root, name) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain_texts(each, root, name) for each in value]
    return without_paths(value, root, name) if isinstance(value, str) else value


def figures_of(tests: Sequence[Path], names: Sequence[str]) -> list[dict[str, Any]]:
    """Section ``metrics`` of ``config.json``: the mean over several tests, and their standard deviation.

    Args:
        tests: Files ``metrics.json`` of tests, one for each seed.
        names: Metrics to take; none takes all that are finite in every file.

    Raises:
        ConfigError: A file is no such one, or has no such metric, or the tests are of other data.
    """
    records = [_metrics(path) for path in tests]
    if not records:
        return []
    chosen = list(names) or [
        name for name in records[0]["metrics"] if all(_known(record["metrics"].get(name)) for record in records)
    ]
    seeds = [seed for path in tests if (seed := _seed(path)) is not None]
    data = records[0].get("protocol") or {}
    found = []
    for name in chosen:
        values = [record["metrics"].get(name) for record in records]
        if not all(map(_known, values)):
            raise ConfigError(f"--figures {name}: {tests[0]} has {', '.join(records[0]['metrics'])}")
        found.append(
            {
                "name": name, "value": statistics.fmean(values),
                "std": statistics.stdev(values) if len(values) > 1 else None, "seeds": seeds, "split": "test",
                "data": data_name(str(data.get("root") or ""), str(data.get("dataset") or data.get("name") or "")),
                "protocol": _protocol(data),
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


def _seed(path: Path) -> int | None:
    """Seed of the run whose test a file is of."""
    for file in sorted(path.absolute().parent.parent.glob("run*.json")):
        try:
            seed = json.loads(file.read_text(encoding="utf-8")).get("seed")
        except (OSError, ValueError, AttributeError):
            continue
        if type(seed) is int and seed >= 0:
            return seed
    return None


def _protocol(data: Mapping[str, Any]) -> dict[str, Any]:
    """The short facts of a protocol: words and numbers that name no place."""
    short = {name: value for name, value in data.items() if isinstance(value, str | int | float | bool)}
    return {name: value for name, value in short.items() if not (isinstance(value, str) and ABSOLUTE.search(value))}


def _known(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _hardware(hardware: Mapping[str, Any]) -> str:
    """Processor or GPUs in words."""
    gpus = hardware.get("gpus") or []
    if gpus:
        return ", ".join(str(gpu.get("name", gpu)) if isinstance(gpu, Mapping) else str(gpu) for gpu in gpus)
    cores = hardware.get("cores")
    return f"{hardware.get('processor') or 'unknown'}{f', {cores} cores' if cores else ''}"
