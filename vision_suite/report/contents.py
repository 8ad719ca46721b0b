"""Contents of a run's folder, read for the page. Whatever is missing or damaged becomes a line, never an error.

Folders may come from anywhere: nothing in them is executed, paths in their records are not followed, and of files only
regular ones are read, since a pipe or a device has no end.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vision_suite.errors import SuiteError
from vision_suite.report.words import described, shortened
from vision_suite.runs.log import LOG, RunLog, read_run_log
from vision_suite.runs.record import Run, command_of, read_records, read_run, suffix
from vision_suite.runs.settings import flattened
from vision_suite.yaml_text import read_yaml

STAGES = ("test", "validate")
METRICS = "metrics.json"
LARGEST = 8 * 2**20  # bytes of a metrics.json


@dataclass(frozen=True)
class RunEvaluation:
    """Contents of one ``metrics.json``.

    Attributes:
        stage: ``test`` or ``validate``.
        task: Word for the task.
        metrics: Values by name; NaN where there is none.
        protocol: Protocol of the evaluation and of its data, flattened, as text.
        warnings: Warnings of the evaluation.
        checkpoint: Checkpoint that was evaluated, as its record has it.
    """

    stage: str
    task: str
    metrics: dict[str, float]
    protocol: dict[str, str]
    warnings: tuple[str, ...]
    checkpoint: str | None


@dataclass(frozen=True)
class RunContents:
    """Contents of the folder of one run.

    Attributes:
        folder: The folder, as it was given.
        run: Its newest record of ``fit``, else of any command; None if there is none that can be read.
        trains: The folder is that of a training run.
        records: Records that can be read, from the oldest to the newest.
        settings: Resolved settings, flattened, as text; None if they cannot be read.
        log: Log over all parts.
        evaluations: Results of ``test`` and ``validate`` in this folder.
        pictures: Picture files of these.
        faults: What is missing or damaged, a line each.
    """

    folder: Path
    run: Run | None
    trains: bool
    records: tuple[Mapping[str, Any], ...]
    settings: dict[str, str] | None
    log: RunLog
    evaluations: tuple[RunEvaluation, ...]
    pictures: tuple[Path, ...]
    faults: tuple[str, ...]

    @property
    def newest(self) -> Mapping[str, Any]:
        """The newest record, empty if there is none."""
        return self.run.record if self.run is not None else {}

    @property
    def parts(self) -> int:
        """Number of commands that trained in the folder, from the records or from the log."""
        return max(sum(command_of(record) == "fit" for record in self.records), self.log.parts, 1)

    @property
    def checkpoint(self) -> Path | None:
        """Full path of the checkpoint that a command started from."""
        given, place = self.newest.get("started_from"), self.newest.get("working_folder")
        if not isinstance(given, str) or "\0" in given:
            return None
        return Path(os.path.realpath(Path(place if isinstance(place, str) and "\0" not in place else ".") / given))


def read_contents(folder: Path) -> RunContents:
    """Read the folder of a run."""
    records = read_records(folder)
    faults = [f"run{suffix(number)}.json is no record" for number, record in records.items() if record is None]
    if not records:
        faults.append("run.json is missing")
    training = read_run(folder)
    run = training or read_run(folder, None)
    trains = training is not None or (run is None and (folder / LOG).is_file())
    log = read_run_log(folder) if trains else RunLog({}, 0)  # a test logs its results, which metrics.json holds too
    faults += log.faults
    if trains and not log.parts:
        faults.append(f"{LOG} is missing: nothing was logged")
    settings = _settings(folder, run, faults)
    if training is not None:
        faults += _lost_checkpoints(training)
    evaluations = [_evaluation(folder / stage, stage, faults) for stage in STAGES if (folder / stage).is_dir()]
    pictures = [path for stage in STAGES for path in sorted((folder / stage).glob("*.png"))]
    return RunContents(
        folder,
        run,
        trains,
        tuple(record for record in records.values() if record is not None),
        settings,
        log,
        tuple(found for found in evaluations if found is not None),
        tuple(pictures),
        tuple(faults),
    )


def _settings(folder: Path, run: Run | None, faults: list[str]) -> dict[str, str] | None:
    """Settings of a run's newest configuration.

    When a run goes on, settings of its data that were left open are filled in with what the checkpoint holds. They are
    given as they were in the beginning, so that resumed runs can be compared with others.
    """
    number = run.number if run is not None else 1
    newest = _configuration(folder / f"config{suffix(number)}.yaml", faults)
    first = _configuration(folder / "config.yaml", faults) if number > 1 else None
    if newest is None or first is None:
        return newest
    left_open = [key for key, value in first.items() if key.startswith("data.") and value == "null"]
    filled = [key for key in newest if any(key == name or key.startswith(f"{name}.") for name in left_open)]
    kept = {key: value for key, value in newest.items() if key not in filled}
    return {**{key: value for key, value in first.items() if key in kept or key in left_open}, **kept}


def _configuration(path: Path, faults: list[str]) -> dict[str, str] | None:
    """Settings in a file; the reason why there are none is added to the faults."""
    try:
        _check_regular(path)
        tree = read_yaml(path)
        if isinstance(tree, Mapping):
            return described(flattened(tree))
        faults.append(f"{path.name} holds no settings")
    except FileNotFoundError:
        faults.append(f"{path.name} is missing")
    except SuiteError as error:
        faults.append(str(error).replace(str(path), path.name, 1))
    except OSError as error:
        faults.append(f"{path.name} cannot be read ({error.strerror})")
    return None


def _check_regular(path: Path) -> None:
    """Refuse a pipe, a device or a folder.

    Raises:
        FileNotFoundError: There is nothing.
        OSError: It is no regular file.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "no regular file")


def _lost_checkpoints(run: Run) -> list[str]:
    """Lines on checkpoints that the record names and the folder does not have."""
    named = {name for key in ("checkpoint", "best") if isinstance(name := run.record.get(key), str)}
    inside = [name for name in named if not os.path.isabs(name) and ".." not in Path(name).parts and "\0" not in name]
    return [f"{name} is missing" for name in sorted(inside) if not os.path.exists(run.folder / name)]


def _evaluation(folder: Path, stage: str, faults: list[str]) -> RunEvaluation | None:
    """The results in a folder; the reason why there are none is added to the faults."""
    path, name = folder / METRICS, f"{stage}/{METRICS}"
    try:
        _check_regular(path)
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
        if len(raw) > LARGEST:
            raise ValueError(f"larger than {LARGEST:,} bytes")
        record = json.loads(raw)
        if not isinstance(record, dict) or not isinstance(record.get("metrics"), dict):
            raise ValueError("it has no metrics")
        data, own = record.get("data"), record.get("protocol")
        protocol = {"data": data, **(own if isinstance(own, dict) else {})}
        warnings = protocol.pop("warnings", None)
        if isinstance(data, dict):
            protocol["data"] = {key: value for key, value in data.items() if key != "warnings"}
        checkpoint = record.get("checkpoint")
        return RunEvaluation(
            stage,
            shortened(record.get("task", "")),
            {shortened(key): _value(value) for key, value in flattened(record["metrics"]).items()},
            described(flattened(protocol)),
            tuple(shortened(line) for line in warnings) if isinstance(warnings, list) else (),
            shortened(checkpoint) if isinstance(checkpoint, str) else None,
        )
    except FileNotFoundError:
        faults.append(f"{name} is missing")
    except OSError as error:
        faults.append(f"{name} cannot be read ({error.strerror})")
    except RecursionError:
        faults.append(f"{name} is nested too deeply")
    except ValueError as error:
        faults.append(f"{name} cannot be read ({error})")
    return None


def _value(value: object) -> float:
    """A metric as a number; NaN for one that is none."""
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return math.inf
