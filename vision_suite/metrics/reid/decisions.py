"""Same, different or unsure: thresholds on the distance of two pictures, chosen on the pairs of a validation split."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from vision_suite.errors import CheckpointError, ConfigError
from vision_suite.metrics.reid.expansion import Expansion
from vision_suite.metrics.reid.ranking import AnyFloats
from vision_suite.types.arrays import Floats

KEY = "verification"  # entry of a checkpoint's operating point
FEW = 10  # pairs beyond a threshold, below which its rate is hardly measured
Decision = Literal["same", "different", "unsure"]


@dataclass(frozen=True)
class Thresholds:
    """Two distances that decide on a pair: the same up to ``accept``, different beyond ``reject``, unsure between them.

    Attributes:
        fpr: Rate of both errors: at most this share of the validation's negative pairs lies up to ``accept``, and at
            most this share of its positive pairs beyond ``reject``.
        accept: Largest distance of a pair called the same.
        reject: Largest distance that is not called different; never below ``accept``.
        tpr: Share of the validation's positive pairs up to ``accept``.
    """

    fpr: float
    accept: float
    reject: float
    tpr: float

    def decide(self, distances: AnyFloats) -> list[Decision]:
        """Decide on each distance.

        Example:
            >>> Thresholds(0.01, 0.2, 0.5, 0.9).decide(np.array([0.2, 0.3, 0.6]))
            ['same', 'unsure', 'different']
        """
        return [
            "same" if distance <= self.accept else "different" if distance > self.reject else "unsure"
            for distance in distances.tolist()
        ]


@dataclass(frozen=True)
class Verification:
    """Points of the validation's ROC curve that predictions decide by, as a checkpoint stores them.

    Attributes:
        fpr: Rate that the thresholds were chosen for.
        points: Columns ``fpr``, ``tpr``, ``accept`` and ``reject`` as of `vision_suite.metrics.reid.roc.Roc.table`.
        positives: Number of positive pairs.
        negatives: Number of negative pairs.
        search: Settings that the distances depend on, such as flipping and query expansion.
        step: Training step of the weights.
    """

    fpr: float
    points: dict[str, list[float]] = field(repr=False)
    positives: int
    negatives: int
    search: dict[str, Any]
    step: int

    @classmethod
    def choose(
        cls, table: Mapping[str, Floats], fpr: float, pairs: Mapping[str, int], search: Mapping[str, Any], step: int
    ) -> Verification:
        """Keep the points of a curve."""
        points = {name: column.tolist() for name, column in table.items()}
        return cls(fpr, points, pairs["positive"], pairs["negative"], dict(search), step)

    @classmethod
    def read(cls, stored: object) -> Verification:
        """Check the stored form, which may come from an untrusted file.

        Raises:
            CheckpointError: It is damaged.
        """
        damaged = CheckpointError(f"the operating point {KEY!r} is damaged: validate again, or use another checkpoint")
        try:
            found = cls(**stored)  # type: ignore[arg-type]  # whatever it is
            columns = [found.points[name] for name in ("fpr", "tpr", "accept", "reject")]
            numbers = [number for column in columns for number in column]
        except (TypeError, KeyError):
            raise damaged from None
        counts = (found.positives, found.negatives, found.step)
        if not (
            all(type(each) is int and each >= 0 for each in counts)
            and isinstance(found.search, dict)
            and numbers
            and all(isinstance(number, float) and math.isfinite(number) for number in [found.fpr, *numbers])
            and len({len(column) for column in columns}) == 1
            and columns[0] == sorted(columns[0])
        ):
            raise damaged
        return found

    def plain(self) -> dict[str, Any]:
        """The form that is stored."""
        return asdict(self)

    def at(self, fpr: float | None = None) -> Thresholds:
        """Thresholds for a rate: those of the largest stored rate that is not above it.

        Args:
            fpr: False positive rate; None for the one chosen in validation.

        Raises:
            ConfigError: The validation split cannot tell so small a rate.
        """
        wanted = self.fpr if fpr is None else fpr
        rates = self.points["fpr"]
        row = int(np.searchsorted(rates, wanted, side="right")) - 1
        if row < 0:
            raise ConfigError(
                f"fpr={wanted:g}: the {self.negatives} negative pairs of the validation split tell rates from "
                f"{rates[0]:g}: choose a larger one, or validate on more identities"
            )
        accept = self.points["accept"][row]
        return Thresholds(rates[row], accept, max(accept, self.points["reject"][row]), self.points["tpr"][row])


@dataclass(frozen=True)
class Search:
    """Settings by which a module's features are compared, in evaluation and in prediction.

    Attributes:
        fpr: False positive rate of the decisions.
        expansion: Query expansion.
        settings: Settings that the feature of a picture depends on, besides weights and preprocessing; plain values.
        obstacle: Reason why thresholds of the validation do not hold for predictions; empty if they do.
    """

    fpr: float
    expansion: Expansion = Expansion()  # noqa: RUF009  (a plain record, never changed)
    settings: Mapping[str, Any] = field(default_factory=dict)
    obstacle: str = ""

    @property
    def facts(self) -> dict[str, Any]:
        """Everything that distances depend on besides weights and preprocessing."""
        return {**self.settings, "query_expansion": self.expansion.facts}


def thresholds_for(
    point: Mapping[str, Any], search: Search, step: int | None = None
) -> tuple[Thresholds | None, list[str]]:
    """Thresholds for a search from an operating point.

    Args:
        point: Operating point, as a checkpoint has it.
        search: Settings of the search.
        step: Training step of the weights; None if unknown.

    Returns:
        The thresholds, or None if there are none for this search; lines that tell why not, or what to mind.

    Raises:
        CheckpointError: The operating point is damaged.
        ConfigError: The validation split cannot tell so small a rate.

    Example:
        >>> thresholds_for({}, Search(fpr=0.01))[0] is None
        True
    """
    if KEY not in point:
        return None, ["the checkpoint has no operating point (written without validation, or by an earlier version)"]
    chosen = Verification.read(point[KEY])
    other = [
        f"{name}={search.facts.get(name)} now, {chosen.search.get(name)} in validation"
        for name in sorted({*search.facts, *chosen.search})
        if search.facts.get(name) != chosen.search.get(name)
    ]
    if other:
        return None, [f"the operating point was chosen with other settings ({'; '.join(other)})"]
    stale = step is not None and step != chosen.step
    notes = [f"the thresholds were chosen at step {chosen.step}, and the weights are of step {step}"] if stale else []
    return chosen.at(search.fpr), notes


def few_pairs(fpr: float, negatives: int) -> str | None:
    """Line for a split with too few negative pairs for a rate; None if there are enough.

    Example:
        >>> few_pairs(0.001, 500)
        'fpr=0.001 of 500 negative pairs is 0.5 pairs, fewer than 10: the threshold rests on chance; ...'
    """
    if fpr * negatives >= FEW:
        return None
    rate = 1.05 * FEW / max(negatives, 1)  # 1.05: for the rounding below
    other = f", or choose --model.fpr {rate:.2g} or more" if rate < 0.5 else ""
    return (
        f"fpr={fpr:g} of {negatives} negative pairs is {fpr * negatives:.3g} pairs, fewer than {FEW}: the threshold "
        f"rests on chance; validate on more identities{other}"
    )
