"""Layouts of files: tables that turn the names of other code's tensors into those of a network.

A network that can start from files of other code has an attribute ``layouts``, a tuple of `Layout`. Its own names need
no table.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from torch import Tensor

Row = tuple[str, str]
Tensors = dict[str, Tensor]


def unchanged(tensors: Tensors) -> Tensors:
    """The tensors as they are."""
    return tensors


@dataclass(frozen=True)
class Layout:
    """Names of tensors in the files of one code base.

    In a row, ``*`` stands for the rest of a name, ``{n}`` for a number, and ``{last}`` for the number of the last block
    in the file. A name is turned by the first row that fits it. Where two names lead to the same tensor, the one of the
    earlier row is used.

    Attributes:
        name: Name of the code base.
        anchor: Name that every such file has; what stands before it in a file is a prefix of all its names.
        rows: Name in the file, name in the network.
        prepare: Changes of the file's tensors, under the file's names, before they are renamed.
    """

    name: str
    anchor: str
    rows: tuple[Row, ...]
    prepare: Callable[[Tensors], Tensors] = unchanged

    def prefixes(self, names: Collection[str]) -> list[str]:
        """Prefixes under which a file with these names has this layout."""
        return [name.removesuffix(self.anchor) for name in names if f".{name}".endswith(f".{self.anchor}")]

    def renamed(self, names: Collection[str]) -> dict[str, str]:
        """Name in the file by name in the network; names that no row fits are absent."""
        last = max(
            (int(number) for name in names for number in re.findall(r"(?:^|\.)blocks\.(\d+)\.", name)), default=0
        )
        found: dict[str, str] = {}
        rows = [(_pattern(theirs.replace("{last}", str(last))), ours.replace("{last}", str(last)))
                for theirs, ours in self.rows]  # fmt: skip
        matches: list[tuple[int, str, str]] = []
        for name in names:
            for number, (pattern, ours) in enumerate(rows):
                if (match := pattern.fullmatch(name)) is not None:
                    parts = match.groupdict()
                    target = ours.replace("{n}", parts.get("n") or "").replace("*", parts.get("rest") or "")
                    matches.append((number, target, name))
                    break
        for _, target, name in sorted(matches, key=lambda match: match[0]):
            found.setdefault(target, name)
        return found


def _pattern(theirs: str) -> re.Pattern[str]:
    return re.compile(re.escape(theirs).replace(r"\{n\}", r"(?P<n>\d+)").replace(r"\*", r"(?P<rest>.+)"))


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
