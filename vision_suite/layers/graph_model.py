"""Graphs of TensorFlow.js run in torch, node by node: a file is data, and only operators of a table are known."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vision_suite.errors import CheckpointError, ConfigError, SuiteError
from vision_suite.layers.graph_operators import OPERATORS, Value

FEW = 5  # names that a message shows
STORED = {"float32": "<f4", "float16": "<f2", "int32": "<i4"}


@dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        name: Name of its output; a further output has the name with ``:1``.
        kind: TensorFlow's name of the operator.
        inputs: Names of the outputs that it takes.
        settings: Its attributes in plain values.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    settings: Mapping[str, Any]


class GraphModel(nn.Module):
    """A graph model of TensorFlow.js. Pictures have their channels last, as in the graph.

    Constants of floating point are parameters under their own names, so the graph can be moved, stored and tuned like
    any network. The output of every node can be asked for.

    Attributes:
        nodes: Operations in an order in which they can be run.
        inputs: Names of the placeholders.
    """

    def __init__(self, nodes: Sequence[Node], constants: Mapping[str, Tensor]) -> None:
        """Check and order the graph.

        Args:
            nodes: Operations other than constants, in any order.
            constants: Weights and settings by node name; integers as int64.

        Raises:
            CheckpointError: An operator is not known, an input is missing, or the graph has a circle.
        """
        super().__init__()
        unknown = sorted({node.kind for node in nodes} - set(OPERATORS) - {"Placeholder"})
        if unknown:
            raise CheckpointError(f"the graph has operators that are not known: {', '.join(unknown[:FEW])}")
        self.nodes = _ordered(nodes, set(constants))
        self.inputs = tuple(node.name for node in self.nodes if node.kind == "Placeholder")
        self._by_name = {node.name: node for node in self.nodes}
        for name, value in constants.items():
            if not name or "." in name or hasattr(self, name):
                raise CheckpointError(f"the graph has a constant called {name!r:.40}, which no parameter can be called")
            if value.is_floating_point():
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)
        self._constants = tuple(constants)

    @classmethod
    def load(cls, path: Path) -> GraphModel:
        """Read a graph from its JSON file, and the weights from the files that it names beside it.

        Raises:
            CheckpointError: It cannot be read, is no graph model, or its weights have another length.
        """
        try:
            contents = json.loads(path.read_bytes())
            if contents["format"] != "graph-model":
                raise CheckpointError(f"{path}: the format is {contents['format']!r:.40}, not 'graph-model'")
            constants: dict[str, Tensor] = {}
            for group in contents["weightsManifest"]:
                parts = [path.parent / name for name in group["paths"]]
                if any(part.parent != path.parent for part in parts):
                    raise CheckpointError(f"{path}: its weights lie outside of its folder, which is refused")
                constants |= _weights(path, b"".join(part.read_bytes() for part in parts), group["weights"])
            found = [_node(each) for each in contents["modelTopology"]["node"]]
        except CheckpointError:
            raise
        except OSError as error:
            raise CheckpointError(
                f"{path}: {error.strerror or error}: prepare it again, or give another file"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
            raise CheckpointError(f"{path} is no graph model ({type(error).__name__}: {str(error)[:80]})") from error
        lost = [node.name for node in found if node.kind == "Const" and node.name not in constants]
        if lost:
            raise CheckpointError(f"{path}: no weights for {lost[0]!r} ({len(lost)} missing)")
        return cls([node for node in found if node.kind != "Const"], constants)

    @classmethod
    def of_structure(cls, structure: Mapping[str, Any]) -> GraphModel:
        """Build a graph from `structure`, its floating-point constants zero.

        Raises:
            CheckpointError: It is no such structure.
        """
        try:
            nodes = [Node(name, kind, tuple(inputs), more) for name, kind, inputs, more in structure["nodes"]]
            constants = {name: torch.zeros(shape) for name, shape in structure["shapes"].items()}
            # Sizes and permutations steer the graph.
            constants |= {name: torch.tensor(each, dtype=torch.int64) for name, each in structure["numbers"].items()}
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"the structure of a graph is malformed ({type(error).__name__})") from error
        return cls(nodes, constants)

    def structure(self) -> dict[str, Any]:
        """The graph without its weights, in plain containers, of which `of_structure` makes it again."""
        constants = {name: getattr(self, name) for name in self._constants}
        return {
            "nodes": [[each.name, each.kind, list(each.inputs), dict(each.settings)] for each in self.nodes],
            "shapes": {name: list(each.shape) for name, each in constants.items() if each.is_floating_point()},
            "numbers": {name: each.tolist() for name, each in constants.items() if not each.is_floating_point()},
        }

    def forward(self, image: Tensor, outputs: Sequence[str]) -> list[Tensor]:
        """Run the part of the graph that some outputs need.

        Args:
            image: (N, H, W, 3) float values of the only placeholder, in the range that the graph was trained with.
            outputs: Names of nodes, with ``:1`` for a second output.

        Returns:
            Their values, in the same order; pictures and maps have their channels last.

        Raises:
            ConfigError: There is no such node, or the graph takes more than one input.
        """
        if len(self.inputs) != 1:
            raise ConfigError(f"the graph has {len(self.inputs)} inputs: only graphs with one are run")
        for name in outputs:
            if _base(name) not in self._by_name:
                some = ", ".join(list(self._by_name)[-FEW:])
                raise ConfigError(f"the graph has no node {name!r}: its last ones are {some}")
        needed = self._needed(outputs)
        values: dict[str, Value] = {name: getattr(self, name) for name in self._constants}
        values[self.inputs[0]] = image
        for node in self.nodes:
            if node.name in needed and node.kind != "Placeholder":
                values[node.name] = _run(node, values)
        try:
            return [_output(values, name) for name in outputs]
        except (IndexError, ValueError):
            raise ConfigError(f"outputs={list(outputs)}: a node has fewer outputs than is asked for") from None

    def _needed(self, outputs: Sequence[str]) -> set[str]:
        """Names of the nodes before some outputs, and of these."""
        found: set[str] = set()
        waiting = [_base(name) for name in outputs]
        while waiting:
            name = waiting.pop()
            if name in self._by_name and name not in found:
                found.add(name)
                waiting += [_base(each) for each in self._by_name[name].inputs]
        return found


def _run(node: Node, values: Mapping[str, Value]) -> Value:
    """Output of a node.

    Raises:
        CheckpointError: Its settings or inputs do not fit.
    """
    try:
        return OPERATORS[node.kind]([_output(values, name) for name in node.inputs], node.settings)
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, SuiteError) or "memory" in str(error):
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise CheckpointError(f"node {node.name!r:.40} ({node.kind}) of the graph cannot be run ({reason})") from error


def _base(name: str) -> str:
    """Name of the node of an output."""
    return name.partition(":")[0]


def _output(values: Mapping[str, Value], name: str) -> Tensor:
    base, _, number = name.partition(":")
    value = values[base]
    return value[int(number or 0)] if isinstance(value, tuple) else value


def _ordered(nodes: Sequence[Node], constants: set[str]) -> tuple[Node, ...]:
    """The nodes such that each comes after its inputs."""
    names = Counter([*constants, *(node.name for node in nodes)])
    if twins := [name for name, count in names.items() if count > 1]:
        raise CheckpointError(f"the graph has two nodes called {twins[0]!r:.40}")
    lacking = {node.name: {_base(name) for name in node.inputs} - constants for node in nodes}
    users: dict[str, list[Node]] = {}
    for node in nodes:
        for name in lacking[node.name]:
            users.setdefault(name, []).append(node)
    order = [node for node in nodes if not lacking[node.name]]
    for node in order:  # which grows
        for user in users.get(node.name, ()):
            lacking[user.name].remove(node.name)
            if not lacking[user.name]:
                order.append(user)
    if len(order) < len(nodes):
        name = next(node.name for node in nodes if lacking[node.name])
        raise CheckpointError(f"the graph cannot be run: {name!r:.40} waits for {min(lacking[name])!r:.40}")
    return tuple(order)


def _node(entry: Mapping[str, Any]) -> Node:
    settings = {name: _setting(value) for name, value in entry.get("attr", {}).items()}
    # A name that begins with a hat is a mere order of execution.
    inputs = tuple(str(name) for name in entry.get("input", []) if not name.startswith("^"))
    return Node(str(entry["name"]), str(entry["op"]), inputs, settings)


def _setting(value: Mapping[str, Any]) -> Any:
    """A plain value of an attribute; text is in base 64, whole numbers are text."""
    if "list" in value:
        return [each for kind, items in value["list"].items() for each in (_setting({kind: item}) for item in items)]
    if "s" in value:
        return base64.b64decode(value["s"]).decode()
    if "i" in value:
        return int(value["i"])
    return next((value[kind] for kind in ("b", "f", "type") if kind in value), None)


def _weights(path: Path, contents: bytes, entries: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """Tensors that lie one after another in the bytes of a group of files."""
    found, start = {}, 0
    for entry in entries:
        stored = entry.get("quantization", {}).get("dtype", entry["dtype"])
        if stored not in STORED or entry["dtype"] not in ("float32", "int32"):
            raise CheckpointError(
                f"{path}: weights of {entry['name']!r} are stored as {stored!r:.20}, which is not read"
            )
        count = math.prod(entry["shape"])
        size = count * np.dtype(STORED[stored]).itemsize
        if min(entry["shape"], default=0) < 0 or start + size > len(contents):
            raise CheckpointError(f"{path}: the weights end before {entry['name']!r}: fetch them again")
        values = np.frombuffer(contents, STORED[stored], count, start).reshape(entry["shape"])
        kind = torch.float32 if entry["dtype"] == "float32" else torch.int64
        found[str(entry["name"])] = torch.from_numpy(values.astype(np.float32 if kind == torch.float32 else np.int64))
        start += size
    if start != len(contents):
        raise CheckpointError(f"{path}: its weights have {len(contents):,} bytes, {start:,} expected: fetch them again")
    return found
