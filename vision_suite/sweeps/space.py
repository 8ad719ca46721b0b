"""Parameters of a sweep: the forms that W&B knows, and the value of each at a place of the unit interval.

A draw is a number x, uniform in [0, 1], through the inverse of the parameter's distribution. Rounding goes half to
even, and quantised values are not clipped to the bounds, both as in W&B's engine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from vision_suite.errors import ConfigError

FAR = 1e300  # values of a grid at most, whose true number may be infinite
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

    def count(self) -> int:
        """Number of values of a grid, without listing them.

        Raises:
            ConfigError: The distribution is continuous.
        """
        given = self.settings
        if self.is_constant:
            return 1
        if self.distribution == "categorical":
            return len(given["values"])
        if self.distribution == "int_uniform":
            return int(given["max"] - given["min"] + 1)
        if self.distribution == "q_uniform":
            steps: float = (given["max"] - given["min"]) / given["q"]
            return math.ceil(min(steps, FAR))
        raise ConfigError(
            f"parameters.{self.name}: a grid takes values, value, int_uniform or q_uniform, not {self.distribution}: "
            "list the values, or choose method: random"
        )

    def grid(self) -> list[Any]:
        """Values of a grid, in order; ``int_uniform`` includes its upper bound, ``q_uniform`` does not.

        Raises:
            ConfigError: The distribution is continuous.
        """
        given, count = self.settings, self.count()
        if self.is_constant:
            return [given["value"]]
        if self.distribution == "categorical":
            return list(given["values"])
        return [given["min"] + index * given.get("q", 1) for index in range(count)]

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
