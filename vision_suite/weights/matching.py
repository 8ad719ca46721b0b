"""The reading of a file's names that finds most of a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import Tensor

from vision_suite.layers.layouts import Layout, Tensors


@dataclass(frozen=True)
class Reading:
    """A file read in one layout.

    Attributes:
        layout: Name of the layout.
        prefix: Prefix of the file's names.
        tensors: The file's tensors under that prefix, by their names without it, prepared.
        names: Name in the file, without the prefix, by name in the network's terms, also of parts that it lacks.
        found: Number of names that the network has.
    """

    layout: str
    prefix: str
    tensors: Tensors
    names: dict[str, str]
    found: int


def best_reading(tensors: Tensors, network: Mapping[str, Tensor], layouts: Collection[Layout]) -> Reading | None:
    """The reading that finds the most tensors of the network: in its own names, or in a layout that it declares.

    Args:
        tensors: Tensors of a file.
        network: Tensors of the network.
        layouts: Layouts that the network can start from; an earlier one is preferred to a later one.

    Returns:
        The reading, None if the file has no tensor of the network in any of them.
    """
    readings = []
    for prefix in _own_prefixes(tensors, network):
        own = _below(prefix, tensors)
        readings.append(_reading("own names", prefix, own, {name: name for name in own}, network))
    for layout in layouts:
        for prefix in layout.prefixes(tensors):
            theirs = layout.prepare(_below(prefix, tensors))
            readings.append(_reading(layout.name, prefix, theirs, layout.renamed(theirs), network))
    best = max(readings, key=lambda reading: reading.found, default=None)  # the first one of several
    return best if best is not None and best.found else None


def _reading(layout: str, prefix: str, tensors: Tensors, names: dict[str, str], network: Collection[str]) -> Reading:
    return Reading(layout, prefix, tensors, names, sum(name in network for name in names))


def _below(prefix: str, tensors: Tensors) -> Tensors:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _own_prefixes(names: Collection[str], network: Collection[str]) -> list[str]:
    """Prefixes that stand before names of the network, the most frequent one first."""
    found: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        for index in range(len(parts)):
            if ".".join(parts[index:]) in network:
                found[name[: len(name) - len(".".join(parts[index:]))]] += 1
    return [prefix for prefix, _ in found.most_common(20)]
