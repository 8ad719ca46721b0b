"""Section ``parameters`` of a sweep's file: read, and refused in one line where a name or a value is wrong."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vision_suite.errors import ConfigError, is_number
from vision_suite.hints import did_you_mean
from vision_suite.sweeps.space import DEPRECATED, DISTRIBUTIONS, EDGE, SweepParameter

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
KEYS = ("values", "probabilities", "value", "min", "max", "q", "mu", "sigma", "a", "b", "distribution", "parameters")
BOUNDS = ("min", "max")
LEAST = {"q": "above 0", "sigma": "at least 0", "a": "at least 0", "b": "at least 0"}
LARGEST = 1e300  # size of a number: differences of two are finite
PLACES = (0.0, EDGE, 0.1, 0.5, 0.9, 1 - EDGE, 1.0)  # at which a distribution is tried


def read_parameters(given: object, above: tuple[str, ...] = ()) -> Iterator[SweepParameter]:
    """The parameters of a section, sorted by letter at each level.

    Args:
        given: Section ``parameters`` in plain containers.
        above: Names of the parameters that the section is nested in.

    Raises:
        ConfigError: A name, a setting or a value is wrong.
    """
    where = ".".join(("parameters", *above))
    if not isinstance(given, Mapping) or not given:
        raise ConfigError(f"{where}: give at least one parameter, such as 'model.optim.lr: {{values: [0.1, 0.01]}}'")
    for name in given:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ConfigError(f"{where}: {name!r} is no name: letters, digits, '_', '.' and '-' are allowed")
    for name, settings in sorted(given.items()):
        path = (*above, name)
        if not isinstance(settings, Mapping):
            raise ConfigError(f"parameters.{'.'.join(path)}={settings!r}: write 'value: {settings}' below it")
        if set(settings) == {"parameters"}:
            yield from read_parameters(settings["parameters"], path)
        else:
            yield _parameter(path, settings)


def _parameter(path: tuple[str, ...], given: Mapping[str, Any]) -> SweepParameter:
    """One parameter, checked."""
    where = f"parameters.{'.'.join(path)}"
    for key in given:
        if key not in KEYS:
            raise ConfigError(f"{where}: unknown key '{key}'{did_you_mean(str(key), KEYS) or _one_of(KEYS)}")
    word = _distribution(where, given)
    required, defaults = DISTRIBUTIONS[word]
    missing = [key for key in required if key not in given]
    if missing:
        raise ConfigError(f"{where}: {word} needs {' and '.join(missing)}")
    for key in given:
        if key != "distribution" and key not in required and key not in defaults:
            known = ", ".join([*required, *defaults]) or "no settings"
            raise ConfigError(f"{where}: {word} takes no '{key}': it takes {known}")
    settings = {**defaults, **{key: value for key, value in given.items() if key != "distribution"}}
    _check(where, word, settings)
    parameter = SweepParameter(path, word, settings)
    if "values" not in settings and not parameter.is_constant and not _is_finite(parameter):
        told = ", ".join(f"{key} {value!r}" for key, value in settings.items())
        raise ConfigError(f"{where}: {word} with {told} has draws that are not finite: choose less extreme settings")
    return parameter


def _is_finite(parameter: SweepParameter) -> bool:
    """True if every draw of a distribution is a finite number."""
    try:
        return all(math.isfinite(parameter.at(x)) for x in PLACES)
    except (OverflowError, ValueError):
        return False


def _distribution(where: str, given: Mapping[str, Any]) -> str:
    """The distribution that settings mean: the one they name, or the first whose form they have."""
    if "distribution" in given:
        word = given["distribution"]
        if not isinstance(word, str):
            raise ConfigError(f"{where}.distribution={word!r}: expected the name of one, such as uniform")
        if word in DEPRECATED:
            raise ConfigError(
                f"{where}: {word} takes exponents as bounds and is deprecated: use {DEPRECATED[word]} with the values"
            )
        if word not in DISTRIBUTIONS:
            hint = did_you_mean(word, DISTRIBUTIONS) or _one_of(DISTRIBUTIONS)
            raise ConfigError(f"{where}: unknown distribution {word!r}{hint}")
        return word
    if "values" in given:
        return "categorical_w_probabilities" if "probabilities" in given else "categorical"
    if "min" in given and "max" in given:
        return "int_uniform" if all(_is_whole(given[key]) for key in BOUNDS) else "uniform"
    if "value" in given:
        return "constant"
    raise ConfigError(f"{where}: no values are told: give values, value, or min and max")


def _check(where: str, word: str, settings: Mapping[str, Any]) -> None:
    """Refuse settings of wrong types or out of range."""
    for key in ("values", "probabilities"):
        if key in settings and (not isinstance(settings[key], list) or not settings[key]):
            raise ConfigError(f"{where}.{key}={settings[key]!r}: give a list, such as [1, 2]")
    for value in [*settings.get("values", ()), settings.get("value")]:
        if isinstance(value, int) and abs(value) > LARGEST:
            raise ConfigError(f"{where}: {value!r} is beyond 1e300: give a smaller number")
    numbers = {key: value for key, value in settings.items() if key not in ("values", "value", "probabilities")}
    for key, value in numbers.items():
        if not is_sweep_number(value):
            raise ConfigError(f"{where}.{key}={value!r}: expected a number from -1e300 to 1e300")
        bad = value <= 0 if key == "q" else value < 0
        if key in LEAST and bad:
            raise ConfigError(f"{where}.{key}={value!r} must be {LEAST[key]}")
    if "min" in numbers:
        low, high = numbers["min"], numbers["max"]
        if word == "int_uniform" and not (_is_whole(low) and _is_whole(high)):
            raise ConfigError(f"{where}: int_uniform takes whole numbers, min and max are {low!r} and {high!r}")
        if low >= high:
            raise ConfigError(f"{where}: min {low!r} is not less than max {high!r}")
        if word in DEPRECATED.values() and low <= 0:
            raise ConfigError(f"{where}.min={low!r}: {word} takes bounds above 0")
    if "probabilities" in settings:
        shares, count = settings["probabilities"], len(settings["values"])
        if not all(is_sweep_number(share) and share >= 0 for share in shares):
            raise ConfigError(f"{where}.probabilities={shares!r}: expected numbers of at least 0")
        if len(shares) != count:
            raise ConfigError(f"{where}: {len(shares)} probabilities for {count} values: give one for each")
        if not math.isclose(sum(shares), 1, rel_tol=1e-5, abs_tol=1e-8):
            raise ConfigError(f"{where}.probabilities={shares!r}: they sum to {sum(shares):g}, not to 1")


def is_sweep_number(value: object) -> bool:
    """True for a number that a setting takes."""
    return is_number(value, LARGEST)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _one_of(names: Iterable[str]) -> str:
    return f": choose one of {', '.join(names)}"
