"""Parameters of a sweep: the forms that W&B knows, and the value of each at a place of the unit interval.

A draw is a number x, uniform in [0, 1], through the inverse of the parameter's distribution. Rounding goes half to
even, and quantised values are not clipped to the bounds, both as in W&B's engine.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from vision_suite.errors import ConfigError
from vision_suite.hints import did_you_mean

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
EDGE = 2.0**-53  # nearest to 0 and 1 that a draw comes, where a distribution has no end
BOUNDS, NORMAL, BETA, Q = ("min", "max"), {"mu": 0.0, "sigma": 1.0}, {"a": 1.0, "b": 1.0}, {"q": 1.0}
# Required settings and defaults of each distribution.
DISTRIBUTIONS: dict[str, tuple[tuple[str, ...], dict[str, float]]] = {
    "q_beta": ((), BETA | Q),
    "beta": ((), BETA),
    "categorical": (("values",), {}),
    "categorical_w_probabilities": (("values", "probabilities"), {}),
    "int_uniform": (BOUNDS, {}),
    "uniform": (BOUNDS, {}),
    "q_uniform": (BOUNDS, Q),
    "log_uniform_values": (BOUNDS, {}),
    "q_log_uniform_values": (BOUNDS, Q),
    "inv_log_uniform_values": (BOUNDS, {}),
    "normal": ((), NORMAL),
    "q_normal": ((), NORMAL | Q),
    "log_normal": ((), NORMAL),
    "q_log_normal": ((), NORMAL | Q),
    "constant": (("value",), {}),
}
# Forms whose bounds are exponents.
DEPRECATED = {name.removesuffix("_values"): name for name in DISTRIBUTIONS if name.endswith("_values")}
KEYS = ("values", "probabilities", "value", "min", "max", "q", "mu", "sigma", "a", "b", "distribution", "parameters")
LEAST = {"q": "above 0", "sigma": "at least 0", "a": "at least 0", "b": "at least 0"}
GRID = ("categorical", "constant", "int_uniform", "q_uniform")


@dataclass(frozen=True)
class SweepParameter:
    """One parameter of a sweep.

    Attributes:
        path: Its name, preceded by the names of the parameters that it is nested in.
        distribution: Name of the distribution.
        settings: Settings of the distribution, defaults included.
    """

    path: tuple[str, ...]
    distribution: str
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Dotted name."""
        return ".".join(self.path)

    @property
    def is_constant(self) -> bool:
        """True for a parameter that is no part of the search."""
        return self.distribution == "constant"

    @property
    def is_logarithmic(self) -> bool:
        """True for a parameter that is drawn on a logarithmic scale."""
        return "log_" in self.distribution

    def of(self, args: Mapping[str, Any]) -> Any:
        """Its value among the arguments of a trial."""
        found: Any = args
        for name in self.path:
            found = found[name]
        return found

    def at(self, x: float) -> Any:
        """The value at a place of the unit interval, in plain Python types.

        Args:
            x: Place from 0 to 1.
        """
        kind, given = self.distribution.removeprefix("q_"), self.settings
        if kind == "constant":
            return given["value"]
        if kind == "categorical":
            return given["values"][_index(x, 0, len(given["values"]))]
        if kind == "categorical_w_probabilities":
            return given["values"][_first_above(x, given["probabilities"])]
        if kind == "int_uniform":
            return _index(x, given["min"], given["max"] + 1)
        value = _continuous(kind, given, x)
        return value if kind == self.distribution else quantised(value, given["q"])

    def grid(self) -> list[Any]:
        """Values of a grid, in order; ``int_uniform`` includes its upper bound, ``q_uniform`` does not.

        Raises:
            ConfigError: The distribution is continuous.
        """
        given = self.settings
        if self.distribution == "constant":
            return [given["value"]]
        if self.distribution == "categorical":
            return list(given["values"])
        if self.distribution == "int_uniform":
            return list(range(given["min"], given["max"] + 1))
        if self.distribution == "q_uniform":
            low, step = given["min"], given["q"]
            return [low + index * step for index in range(math.ceil((given["max"] - low) / step))]
        raise ConfigError(
            f"parameters.{self.name}: a grid takes values, value, int_uniform or q_uniform, not {self.distribution}: "
            "list the values, or choose method: random"
        )

    def places(self) -> list[float]:
        """Places at which a check looks: those of every listed value, else the ends and three quantiles."""
        if self.is_constant:
            return [0.5]
        if self.distribution == "categorical":
            count = len(self.settings["values"])
            return [(index + 0.5) / count for index in range(count)]
        if self.distribution == "categorical_w_probabilities":
            shares = self.settings["probabilities"]
            return [sum(shares[:index]) + share / 2 for index, share in enumerate(shares) if share > 0]
        ends = [0.0, 1.0] if "min" in self.settings else []
        return [*ends[:1], 0.1, 0.5, 0.9, *ends[1:]]


def quantised(value: float, q: float) -> float:
    """The multiple of ``q`` that is nearest, half to even; a whole number where ``q`` is one."""
    found = round(value / q) * q
    return int(found) if isinstance(q, int) else found


def key_of(value: object) -> tuple[str, ...]:
    """A form of a value in which equal ones are equal: whole floats equal integers, ``True`` and ``'1'`` do not.

    Example:
        >>> len({key_of(value) for value in (1, 1.0, True, "1")})
        3
    """
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return type(value).__name__, str(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, Mapping):
        return "map", *(repr((str(name), _inner(each))) for name, each in sorted(value.items(), key=lambda it: str(it)))
    if isinstance(value, list | tuple):
        return "list", *(repr(_inner(each)) for each in value)
    return type(value).__name__, repr(value)


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
    return SweepParameter(path, word, settings)


def _distribution(where: str, given: Mapping[str, Any]) -> str:
    """The distribution that settings mean: the one they name, or the first whose form they have."""
    if "distribution" in given:
        word = given["distribution"]
        if word in DEPRECATED:
            raise ConfigError(
                f"{where}: {word} takes exponents as bounds and is deprecated: use {DEPRECATED[word]} with the values"
            )
        if word not in DISTRIBUTIONS:
            hint = did_you_mean(str(word), DISTRIBUTIONS) or _one_of(DISTRIBUTIONS)
            raise ConfigError(f"{where}: unknown distribution {word!r}{hint}")
        return str(word)
    if "values" in given:
        return "categorical_w_probabilities" if "probabilities" in given else "categorical"
    if "min" in given and "max" in given:
        return "int_uniform" if all(_whole(given[key]) for key in BOUNDS) else "uniform"
    if "value" in given:
        return "constant"
    raise ConfigError(f"{where}: no values are told: give values, value, or min and max")


def _check(where: str, word: str, settings: Mapping[str, Any]) -> None:
    """Refuse settings of wrong types or out of range."""
    for key in ("values", "probabilities"):
        if key in settings and (not isinstance(settings[key], list) or not settings[key]):
            raise ConfigError(f"{where}.{key}={settings[key]!r}: give a list, such as [1, 2]")
    numbers = {key: value for key, value in settings.items() if key not in ("values", "value", "probabilities")}
    for key, value in numbers.items():
        if not _number(value):
            raise ConfigError(f"{where}.{key}={value!r}: expected a number")
        bad = value <= 0 if key == "q" else value < 0
        if key in LEAST and bad:
            raise ConfigError(f"{where}.{key}={value!r} must be {LEAST[key]}")
    if "min" in numbers:
        low, high = numbers["min"], numbers["max"]
        if word == "int_uniform" and not (_whole(low) and _whole(high)):
            raise ConfigError(f"{where}: int_uniform takes whole numbers, min and max are {low!r} and {high!r}")
        if low >= high:
            raise ConfigError(f"{where}: min {low!r} is not less than max {high!r}")
        if word in DEPRECATED.values() and low <= 0:
            raise ConfigError(f"{where}.min={low!r}: {word} takes bounds above 0")
    if "probabilities" in settings:
        shares, count = settings["probabilities"], len(settings["values"])
        if not all(_number(share) and share >= 0 for share in shares):
            raise ConfigError(f"{where}.probabilities={shares!r}: expected numbers of at least 0")
        if len(shares) != count:
            raise ConfigError(f"{where}: {len(shares)} probabilities for {count} values: give one for each")
        if not math.isclose(sum(shares), 1, rel_tol=1e-5, abs_tol=1e-8):
            raise ConfigError(f"{where}.probabilities={shares!r}: they sum to {sum(shares):g}, not to 1")


def _continuous(kind: str, given: Mapping[str, Any], x: float) -> float:
    """The value of a distribution, before any quantisation."""
    if kind == "uniform":
        return float(given["min"] + x * (given["max"] - given["min"]))
    if kind == "log_uniform_values":
        low, high = math.log(given["min"]), math.log(given["max"])
        return math.exp(low + x * (high - low))
    if kind == "inv_log_uniform_values":
        low, high = -math.log(given["max"]), -math.log(given["min"])
        return math.exp(-(low + (1 - x) * (high - low)))
    if kind == "beta":
        from scipy.special import betaincinv

        return float(betaincinv(given["a"], given["b"], x))
    deviation = NormalDist().inv_cdf(min(max(x, EDGE), 1 - EDGE))
    value = float(given["mu"] + given["sigma"] * deviation)
    return value if kind == "normal" else math.exp(value)


def _index(x: float, low: int, stop: int) -> int:
    """The least whole number from ``low`` whose share of ``range(low, stop)`` up to itself reaches ``x``."""
    found = min(max(math.ceil(x * (stop - low) + low) - 1, low), stop - 1)
    # The product may have been rounded up over a whole number.
    return found - 1 if found > low and (found - low) / (stop - low) >= x else found


def _first_above(x: float, shares: list[float]) -> int:
    """The first index whose running sum exceeds ``x``; the last one where rounding leaves none."""
    total = 0.0
    for index, share in enumerate(shares):
        total += share
        if total > x:
            return index
    return max(index for index, share in enumerate(shares) if share > 0)


def _inner(value: object) -> object:
    """A value inside a list or mapping: types count there, as in W&B's comparison."""
    if isinstance(value, Mapping):
        return sorted((str(name), repr(_inner(each))) for name, each in value.items())
    return [_inner(each) for each in value] if isinstance(value, list | tuple) else value


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _one_of(names: Iterable[str]) -> str:
    return f": choose one of {', '.join(names)}"
