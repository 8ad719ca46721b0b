"""The file of a sweep: read, checked against W&B's schema, and refused in one line."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from vision_suite.errors import ConfigError, check_choice
from vision_suite.hints import did_you_mean
from vision_suite.sweeps.command import DEFAULT_COMMAND, check_macros
from vision_suite.sweeps.parameters import is_sweep_number, read_parameters
from vision_suite.sweeps.space import SweepParameter, key_of
from vision_suite.yaml_text import read_yaml

METHODS = ("grid", "random", "bayes")
GOALS = ("minimize", "maximize")
IMPUTED = ("worst", "best", "latest")
KEYS = (
    "apiVersion kind description program entity project method command name run_cap metric early_terminate parameters"
).split()
# Keys that only a server reads.
SERVER = {
    "job": "a job of W&B Launch",
    "image_uri": "an image of W&B Launch",
    "controller": "a controller beside the server",
    "scheduler": "a scheduler of the server",
    "metrics": "several goals, which only a scheduler of the server reads",
}
TEXTS = ("apiVersion", "description", "program", "entity", "project", "name")
MOST_POINTS = 1_000_000  # of a grid


@dataclass(frozen=True)
class SweepMetric:
    """Metric that a sweep is about.

    Attributes:
        name: Name under which it is logged.
        goal: ``minimize`` or ``maximize``.
        target: Value at which the sweep ends, None for no such value.
        impute: Value that a failed trial gets in the Bayesian mode: ``worst``, ``best`` or ``latest``.
        impute_while_running: The same for a running trial; ``false`` for the worst one so far.
    """

    name: str
    goal: str = "minimize"
    target: float | None = None
    impute: str = "worst"
    impute_while_running: str = "false"

    @property
    def sign(self) -> float:
        """1 where less is better, -1 where more is."""
        return -1.0 if self.goal == "maximize" else 1.0

    def reached(self, value: float) -> bool:
        """Tell whether a value reaches the target."""
        return self.target is not None and self.sign * value <= self.sign * self.target


@dataclass(frozen=True)
class HyperbandSettings:
    """Settings of ``early_terminate``, see `vision_suite.sweeps.hyperband`.

    Attributes:
        min_iter: First band.
        max_iter: Number of values of a whole run, from which bands are counted downwards.
        s: Number of bands below ``max_iter``.
        eta: Ratio of neighbouring bands, and share of runs that go on.
        strict: Compare the value at the band, and not the best value so far.
    """

    min_iter: int | None = None
    max_iter: int | None = None
    s: int | None = None
    eta: float = 3
    strict: bool = True


@dataclass(frozen=True)
class SweepFile:
    """A sweep as its file describes it.

    Attributes:
        name: Name of the sweep and of its folder.
        method: ``grid``, ``random`` or ``bayes``.
        parameters: Parameters, sorted by letter at each level.
        command: Words of the command, macros included.
        program: Program that the macro ``${program}`` means.
        metric: Metric, None where the file names none.
        early: Settings of hyperband, None where no trial is stopped.
        run_cap: Largest number of trials, None for no limit.
        contents: Contents of the file in plain containers.
    """

    name: str
    method: str
    parameters: tuple[SweepParameter, ...]
    command: tuple[str, ...]
    program: str | None
    metric: SweepMetric | None
    early: HyperbandSettings | None
    run_cap: int | None
    contents: Mapping[str, Any]

    def args(self, values: Sequence[Any]) -> dict[str, Any]:
        """Values of the parameters, in their order, as the arguments that a command gets: nested ones as mappings."""
        found: dict[str, Any] = {}
        for parameter, value in zip(self.parameters, values, strict=True):
            level = found
            for name in parameter.path[:-1]:
                level = level.setdefault(name, {})
            level[parameter.path[-1]] = value
        return found

    @cached_property
    def points(self) -> Mapping[tuple[object, ...], dict[str, Any]]:
        """Every point of a grid by its identity, the last parameter varying fastest; equal points count once."""
        points = (self.args(values) for values in product(*(each.grid() for each in self.parameters)))
        found: dict[tuple[object, ...], dict[str, Any]] = {}
        for point in points:
            found.setdefault(self.key(point), point)
        return found

    def grid(self) -> list[dict[str, Any]]:
        """Every point of a grid, in order."""
        return list(self.points.values())

    def key(self, args: Mapping[str, Any]) -> tuple[object, ...]:
        """Identity of a point: equal for arguments with equal values."""
        return tuple(key_of(each.of(args)) for each in self.parameters)


def read_sweep(path: Path) -> SweepFile:
    """Read a sweep's file.

    Args:
        path: YAML file.

    Raises:
        ConfigError: It is missing, or a key or a value is wrong; the message is one line.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file: name the YAML file of a sweep")
    try:
        return parse_sweep(read_yaml(path), path.stem)
    except ConfigError as error:
        text = str(error)
        raise type(error)(text if text.startswith(str(path)) else f"{path}: {text}") from None


def parse_sweep(contents: Any, name: str = "sweep") -> SweepFile:
    """Check the contents of a sweep's file.

    Args:
        contents: Contents in plain containers.
        name: Name of the sweep where the contents give none.

    Raises:
        ConfigError: A key or a value is wrong.
    """
    if not isinstance(contents, Mapping):
        raise ConfigError("a sweep is a mapping of method, parameters, metric, ...")
    for key in contents:
        if key in SERVER:
            raise ConfigError(f"{key}: {SERVER[key]} works on W&B's server only: remove it")
        if key not in KEYS:
            hint = did_you_mean(str(key), KEYS) or f": choose one of {', '.join(KEYS)}"
            raise ConfigError(f"unknown key '{key}'{hint}")
    for key in TEXTS:
        if key in contents and not isinstance(contents[key], str):
            raise ConfigError(f"{key}={contents[key]!r}: expected a text, in quotes if need be")
    if contents.get("kind", "sweep") != "sweep":
        raise ConfigError(f"kind={contents['kind']!r}: the only kind is sweep")
    if "method" not in contents:
        raise ConfigError(f"method is missing: choose one of {', '.join(METHODS)}")
    method = contents["method"]
    if method == "custom":
        raise ConfigError("method=custom is a scheduler of W&B's server: choose one of grid, random, bayes")
    if method not in METHODS:
        hint = did_you_mean(str(method), METHODS) or f": choose one of {', '.join(METHODS)}"
        raise ConfigError(f"method={method!r} is not known{hint}")
    if "parameters" not in contents:
        raise ConfigError("parameters is missing: name the settings to search")
    parameters = tuple(read_parameters(contents["parameters"]))
    _check_names(parameters)
    metric = _metric(contents["metric"]) if "metric" in contents else None
    early = _early(contents["early_terminate"]) if "early_terminate" in contents else None
    if metric is None and (method == "bayes" or early is not None):
        raise ConfigError(f"{'method=bayes' if early is None else 'early_terminate'} needs metric: name what is logged")
    if method == "grid":
        _check_grid(parameters)
    if method == "bayes" and all(each.is_constant for each in parameters):
        raise ConfigError("method=bayes needs a parameter with more than one value")
    command, program = _command(contents.get("command")), contents.get("program")
    check_macros(command, program)
    cap = _whole(contents["run_cap"], "run_cap", least=1) if "run_cap" in contents else None
    return SweepFile(
        str(contents.get("name") or name), method, parameters, command, program, metric, early, cap, dict(contents)
    )


def folder_name(name: str) -> str:
    """Name of a sweep's folder."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.")[:80] or "sweep"


def _check_names(parameters: Sequence[SweepParameter]) -> None:
    names = [each.name for each in parameters]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"parameters.{name}: given twice, with dots and nested: keep one")
        if any(other.startswith(f"{name}.") for other in names) and "." in name:
            inner = next(other for other in names if other.startswith(f"{name}."))
            raise ConfigError(f"parameters.{name} holds parameters.{inner}: keep one of them")


def _check_grid(parameters: Sequence[SweepParameter]) -> None:
    if math.prod(each.count() for each in parameters) > MOST_POINTS:
        raise ConfigError(f"the grid has more than {MOST_POINTS:,} points: choose method: random, or list fewer values")


def _command(given: object) -> tuple[str, ...]:
    if given is None:
        return DEFAULT_COMMAND
    if not isinstance(given, list) or not given:
        raise ConfigError(f"command={given!r}: give a list of words, such as [{', '.join(DEFAULT_COMMAND)}]")
    return tuple(str(word) for word in given)


def _metric(given: object) -> SweepMetric:
    if not isinstance(given, Mapping) or "name" not in given:
        raise ConfigError(f"metric={given!r}: give 'name', and 'goal' where more is better")
    _known("metric", given, [field.name for field in fields(SweepMetric)])
    if not isinstance(given["name"], str):
        raise ConfigError(f"metric.name={given['name']!r}: expected a text")
    found = SweepMetric(**given)
    check_choice("metric.goal", found.goal, GOALS)
    check_choice("metric.impute", found.impute, IMPUTED)
    check_choice("metric.impute_while_running", found.impute_while_running, (*IMPUTED, "false"))
    if "target" in given and not is_sweep_number(found.target):
        raise ConfigError(f"metric.target={found.target!r}: expected a number")
    return found


def _early(given: object) -> HyperbandSettings:
    where = "early_terminate"
    if not isinstance(given, Mapping) or given.get("type") != "hyperband":
        raise ConfigError(f"{where}={given!r}: the only type is hyperband")
    settings = {key: value for key, value in given.items() if key != "type"}
    _known(where, settings, [field.name for field in fields(HyperbandSettings)])
    if "min_iter" not in settings and not {"max_iter", "s"} <= settings.keys():
        raise ConfigError(f"{where}: give min_iter, or max_iter and s")
    whole = {"min_iter": 1, "max_iter": None, "s": None}
    for key, least in whole.items():
        if key in settings:
            settings[key] = _whole(settings[key], f"{where}.{key}", least)
    eta = settings.get("eta", 3)
    if not is_sweep_number(eta) or eta <= 1:
        raise ConfigError(f"{where}.eta={eta!r} must be a number above 1")
    if not isinstance(settings.get("strict", True), bool):
        raise ConfigError(f"{where}.strict={settings['strict']!r}: expected true or false")
    found = HyperbandSettings(**settings)
    if found.max_iter is not None and found.s is not None and (found.s < 1 or found.max_iter / found.eta < 1):
        raise ConfigError(f"{where}: max_iter={found.max_iter}, s={found.s}, eta={eta} give no band: raise max_iter")
    return found


def _known(where: str, given: Mapping[str, Any], names: Sequence[str]) -> None:
    for key in given:
        if key not in names:
            hint = did_you_mean(str(key), names) or f": choose one of {', '.join(names)}"
            raise ConfigError(f"{where}: unknown key '{key}'{hint}")


def _whole(value: Any, name: str, least: int | None = None) -> int:
    """A whole number; a float such as 20.0 is one, as in W&B's schema."""
    if not is_sweep_number(value) or value != int(value) or (least is not None and value < least):
        limit = "" if least is None else f" of at least {least}"
        raise ConfigError(f"{name}={value!r}: expected a whole number{limit}")
    return int(value)
