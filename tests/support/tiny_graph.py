"""Graphs of TensorFlow.js in files, written from a short list of operations."""

import base64
import json

import numpy as np


def attribute(value):
    """An attribute as in a graph's JSON."""
    if isinstance(value, bool):
        return {"b": value}
    if isinstance(value, list):
        kind = "s" if value and isinstance(value[0], str) else "i"
        return {"list": {kind: [next(iter(attribute(each).values())) for each in value]}}
    if isinstance(value, str) and value.startswith("DT_"):
        return {"type": value}
    return {"s": base64.b64encode(value.encode()).decode()} if isinstance(value, str) else {"i": str(value)}


def write_graph(folder, operations, constants, *, half=()):
    """Write ``graph.json`` and ``weights.bin``; every graph has one placeholder called ``image``.

    Args:
        folder: Folder to write into.
        operations: Tuples of name, operator, inputs and attributes.
        constants: Arrays by name.
        half: Names of constants that are stored in half precision.
    """
    entries, blob = [], b""
    for name, value in constants.items():
        value = np.asarray(value)
        whole = value.dtype.kind == "i"
        entry = {"name": name, "shape": list(value.shape), "dtype": "int32" if whole else "float32"}
        if name in half:
            entry["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
        entries.append(entry)
        blob += value.astype("<i4" if whole else "<f2" if name in half else "<f4").tobytes()
    nodes = [{"name": "image", "op": "Placeholder", "attr": {"dtype": {"type": "DT_FLOAT"}}}]
    nodes += [{"name": name, "op": "Const"} for name in constants]
    nodes += [
        {"name": name, "op": kind, "input": list(inputs), "attr": {k: attribute(v) for k, v in settings.items()}}
        for name, kind, inputs, settings in operations
    ]
    graph = {
        "format": "graph-model",
        "modelTopology": {"node": nodes},
        "weightsManifest": [{"paths": ["weights.bin"], "weights": entries}],
    }
    (folder / "graph.json").write_text(json.dumps(graph))
    (folder / "weights.bin").write_bytes(blob)
    return folder / "graph.json"
