"""Curves of a training run in a method's own words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class CurvePanel:
    """A set of axes in ``training.png``.

    Attributes:
        heading: Heading.
        curves: Label of each curve by the name under which its values are logged, such as ``val/mAP``, the main one
            first; a curve with an empty label is not drawn.
        unit: Unit of the values.
        share: Values are fractions of one, drawn in percent.
    """

    heading: str
    curves: Mapping[str, str]
    unit: str = ""
    share: bool = False
