"""Curves of a training run: their points, and a method's own words for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from vision_suite.types.arrays import Floats

Series: TypeAlias = tuple[Floats, Floats]
"""Steps (T,) and values (T,) of one curve."""


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
