"""Files of torch.export and ONNX: tracing, saving, loading, and what they hold besides their metadata.

Both formats take any batch size and keep rollout, top-k and the global-local branch inside the graph.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from vision_suite.errors import ExportError, MissingDependencyError
from vision_suite.export.parity import Forward

Format = Literal["torch_export", "onnx"]
Saver = Callable[[Path, dict[str, object]], None]

SUFFIXES: dict[Format, str] = {"torch_export": ".pt2", "onnx": ".onnx"}
OPSET = 20
METADATA = "metadata.json"
VARYING = (METADATA, ".data/serialization_id")  # entries that depend on the metadata, the latter as a checksum
OUTPUTS = {
    "feature": "(B, D) float32 of unit length: compare by 1 - cosine",
    "rollout": "(B, h, w) float32: accumulated attention of the class token to each patch",
    "probability": "(B, C) float32: probability of each class",
}


@runtime_checkable
class Exportable(Protocol):
    """A network that can be exported.

    Attributes:
        image_size: Height and width of its pictures.
        num_queries: Number R of patches it picks by their rollout, 0 if it picks none.
    """

    image_size: tuple[int, int]
    num_queries: int

    def inference(self, image: Tensor) -> dict[str, Tensor]:
        """Outputs by name for pictures (B, 3, H, W); a ``rollout`` (B, h, w) decides which patches are picked."""


class Graph(nn.Module):
    """A network reduced to its inference."""

    def __init__(self, network: Exportable) -> None:
        super().__init__()
        self.network = network
        self.image_size, self.num_queries = (network.image_size[0], network.image_size[1]), network.num_queries

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Outputs by name, those that are explained first and in that order."""
        found = self.network.inference(image)
        return {
            name: found[name] for name in [*(n for n in OUTPUTS if n in found), *(n for n in found if n not in OUTPUTS)]
        }


def load_exported(path: Path) -> tuple[Forward, dict[str, Any]]:
    """A written file as a function from pictures to outputs, and its metadata.

    Args:
        path: A ``.pt2`` or ``.onnx`` file of `export_network`.

    Returns:
        The function (its tensors are on the CPU), and the metadata.

    Raises:
        MissingDependencyError: onnxruntime is not installed.
    """
    if path.suffix == SUFFIXES["onnx"]:
        _need("onnxruntime")
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]

        def run(image: Tensor) -> dict[str, Tensor]:
            values = session.run(names, {"image": image.numpy()})
            return {name: torch.from_numpy(value) for name, value in zip(names, values, strict=True)}

        stored = session.get_modelmeta().custom_metadata_map
        return run, {name: json.loads(value) for name, value in stored.items()}
    extra = {METADATA: ""}
    module = torch.export.load(path, extra_files=extra).module()

    def run_module(image: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            outputs: dict[str, Tensor] = module(image)
        return outputs

    return run_module, json.loads(extra[METADATA])


def program_of(path: Path, kind: Format) -> dict[str, object]:
    """Everything in a written file, and in files beside it, but its metadata."""
    beside = {file.name: _sha256(file) for file in path.parent.iterdir() if file != path}
    if kind == "torch_export":
        with zipfile.ZipFile(path) as archive:
            entries = {each.filename: (each.CRC, each.file_size) for each in archive.infolist()}
        return {**beside, **{name: entry for name, entry in entries.items() if not name.endswith(VARYING)}}
    import onnx

    model = onnx.load(path, load_external_data=False)
    del model.metadata_props[:]
    return {**beside, path.name: hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()}


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tracer_of(kind: Format) -> Callable[[Graph, list[str]], Saver]:
    """The function that traces a network for a format, once the packages it needs are known to be there."""
    if kind == "torch_export":
        return _trace_torch_export
    for package in ("onnx", "onnxscript", "onnxruntime"):
        _need(package)
    return _trace_onnx


def _example(graph: Graph) -> tuple[tuple[Tensor], dict[str, dict[int, torch.export.Dim]]]:
    """Example input and the declaration that its first dimension may have any length."""
    # Two pictures: a first dimension of one would be taken for a constant.
    return (torch.zeros(2, 3, *graph.image_size),), {"image": {0: torch.export.Dim("batch", min=1)}}


def _trace_torch_export(graph: Graph, names: list[str]) -> Saver:
    example, dynamic = _example(graph)
    program = torch.export.export(graph, example, dynamic_shapes=dynamic)

    def save(path: Path, metadata: dict[str, object]) -> None:
        torch.export.save(program, path, extra_files={METADATA: json.dumps(metadata)})

    return save


def _trace_onnx(graph: Graph, names: list[str]) -> Saver:
    example, dynamic = _example(graph)
    # Its registry of operators warns of every version it was not tested with.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    program = torch.onnx.export(
        graph,
        example,
        dynamo=True,
        opset_version=OPSET,
        input_names=["image"],
        output_names=names,
        dynamic_shapes=dynamic,
        verbose=False,
    )
    if program is None:
        raise ExportError("the ONNX exporter gave nothing back")

    def save(path: Path, metadata: dict[str, object]) -> None:
        program.model.metadata_props.update({name: json.dumps(value) for name, value in metadata.items()})
        program.save(path)

    return save


def _need(package: str) -> None:
    """Refuse to go on without a package of the extra ``export``."""
    if importlib.util.find_spec(package) is None:
        raise MissingDependencyError("ONNX export", package, "export")
