"""Write a trained network as torch.export or ONNX, with its preprocessing, and prove that the outputs are the same.

The written file is loaded again and compared with the network picture by picture, at several batch sizes, before it
takes its place; a file that differs never does. The distances found are stored in its metadata as ``parity``. Both
formats take any batch size and keep rollout, top-k and the global-local branch inside the graph.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_suite.drafts import move_whole
from vision_suite.errors import ExportError, MissingDependencyError, storage_error
from vision_suite.ops.attention import portable_attention

Format = Literal["torch_export", "onnx"]
Forward = Callable[[Tensor], dict[str, Tensor]]
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


@dataclass(frozen=True)
class Parity:
    """Distance of a written file from the network.

    Attributes:
        pictures: Number of pictures compared.
        near_ties: Pictures left out of the comparison of outputs: two patches had equal weights but for rounding, and
            the runtimes picked different ones.
        worst: By output the largest relative distance of a picture's values, |a - b| / |a|.
    """

    pictures: int
    near_ties: int
    worst: dict[str, float]


def export_network(
    network: Exportable,
    path: Path,
    kind: Format,
    metadata: Mapping[str, object],
    *,
    batches: Sequence[int] = (1, 2, 5),
    tolerance: float = 1e-4,
) -> Parity:
    """Write a network, load the file, compare, and only then put the file at ``path``.

    Args:
        network: A module; it is put in evaluation mode.
        path: File to write; ONNX files above 2 GB get a second file beside them.
        kind: ``torch_export`` or ``onnx``.
        metadata: Plain values stored in the file, by name; the outputs' meaning and the parity bounds are added.
        batches: Batch sizes to compare.
        tolerance: Largest relative distance allowed.

    Raises:
        ExportError: The network cannot be traced, or the outputs differ; nothing is left at ``path`` by this call.
        MissingDependencyError: A package that the format needs is not installed.
        StorageError: The disk is full or the folder is read-only.
    """
    tracer = _tracer(kind)
    graph = Graph(network)
    graph.eval()
    height, width = graph.image_size
    names = list(graph(torch.zeros(1, 3, height, width)))
    described: dict[str, object] = {
        **metadata,
        "image": f"(B, 3, {height}, {width}) float32, prepared as 'preprocessing' says",
        "outputs": {name: OUTPUTS.get(name, "") for name in names},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
        compared, final = (Path(folder) / name / path.name for name in ("compared", "final"))
        try:
            # A reader of the file has PyTorch's operators, not this suite's.
            with warnings.catch_warnings(), torch.no_grad(), portable_attention():
                warnings.simplefilter("ignore")
                save = tracer(graph, names)
                _save(save, compared, described)
        except OSError as error:
            raise storage_error(error, path) from error
        except Exception as error:  # tracing fails in as many ways as there is Python
            reason = " ".join(str(error).split())[:300]
            raise ExportError(f"the network cannot be written as {kind} ({type(error).__name__}: {reason})") from error
        parity = compare(graph, load_exported(compared)[0], graph.image_size, graph.num_queries, batches, tolerance)
        described["parity"] = {**asdict(parity), "tolerance": tolerance, "batches": list(batches)}
        try:
            _save(save, final, described)
            if _program(final, kind) != _program(compared, kind):
                raise ExportError(f"the network written as {kind} again differs from the one compared: try once more")
            for file in sorted(final.parent.iterdir()):
                move_whole(file, path.parent / file.name)
        except OSError as error:
            raise storage_error(error, path) from error
    return parity


def _save(save: Saver, path: Path, metadata: dict[str, object]) -> None:
    """Save a traced network in a folder of its own."""
    path.parent.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save(path, metadata)


def _program(path: Path, kind: Format) -> dict[str, object]:
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


def compare(
    reference: Forward,
    exported: Forward,
    image_size: tuple[int, int],
    num_queries: int,
    batches: Sequence[int],
    tolerance: float,
    seed: int = 0,
) -> Parity:
    """Compare two ways to run a network on generated pictures.

    Picked patches are compared as sets. Where the sets differ, the patches in question must have had the same weight to
    within the tolerance; such a picture is counted and its other outputs are not compared, for they rest on the choice.

    Args:
        reference: The network.
        exported: The file.
        image_size: Height and width of the pictures.
        num_queries: Number of patches picked by their rollout, 0 for none.
        batches: Batch sizes.
        tolerance: Largest relative distance allowed.
        seed: Seed of the pictures.

    Raises:
        ExportError: Outputs, their shapes or their names differ, or no picture could be compared.
    """
    generator = torch.Generator().manual_seed(seed)
    worst: dict[str, float] = {}
    pictures = near_ties = 0
    for size in batches:
        image = _pictures(size, image_size, generator)
        with torch.no_grad():
            expected, found = reference(image), exported(image)
        shapes = [{name: tuple(value.shape) for name, value in outputs.items()} for outputs in (expected, found)]
        if shapes[0] != shapes[1]:
            raise ExportError(f"at batch size {size} the written file gives {shapes[1]}, the network {shapes[0]}")
        usable = torch.ones(size, dtype=torch.bool)
        if num_queries and "rollout" in expected:
            usable = _same_choice(expected["rollout"], found["rollout"], num_queries, tolerance)
        for name, value in expected.items():
            distance = _distances(value, found[name])[usable]
            if not bool((distance <= tolerance).all()):  # a NaN fails too
                raise ExportError(
                    f"the written file's {name} differs from the network's by {float(distance.max()):.2g} (relative, "
                    f"batch size {size}; at most {tolerance:.2g} is allowed): the file was deleted"
                )
            if len(distance):
                worst[name] = max(worst.get(name, 0.0), float(distance.max()))
        pictures += size
        near_ties += size - int(usable.sum())
    if near_ties == pictures:
        raise ExportError(f"none of {pictures} pictures could be compared: all had patches of equal weight")
    return Parity(pictures, near_ties, worst)


def _same_choice(expected: Tensor, found: Tensor, count: int, tolerance: float) -> Tensor:
    """(B,) True where both rollouts (B, h, w) pick the same patches; raises if another choice is no near tie."""
    expected, found = expected.flatten(1), found.flatten(1)
    same = torch.ones(len(expected), dtype=torch.bool)
    for row, (a, b) in enumerate(zip(expected, found, strict=True)):
        kept, other = (set(weights.topk(count).indices.tolist()) for weights in (a, b))
        if kept != other:
            gap = float(a[list(kept - other)].max() - a[list(other - kept)].min())
            if not abs(gap) <= tolerance * float(a.abs().max()):
                raise ExportError(
                    f"the written file picks {len(kept - other)} of {count} patches otherwise than the network, with "
                    f"weights {gap:.2g} apart: the file was deleted"
                )
            same[row] = False
    return same


def _distances(expected: Tensor, found: Tensor) -> Tensor:
    """(B,) relative Euclidean distance of each picture's values."""
    expected, found = expected.flatten(1).double(), found.flatten(1).double()
    length = torch.linalg.vector_norm(expected, dim=1).clamp_min(1e-30)
    relative: Tensor = torch.linalg.vector_norm(expected - found, dim=1) / length
    return relative


def _pictures(count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """(count, 3, h, w) normalised pictures with coarse and fine structure, for attention to choose from."""
    coarse = torch.randn(count, 3, max(2, size[0] // 16), max(2, size[1] // 16), generator=generator)
    fine = torch.randn(count, 3, *size, generator=generator)
    return (F.interpolate(coarse, size, mode="bilinear") + 0.3 * fine).clamp(-2, 2)


def _tracer(kind: Format) -> Callable[[Graph, list[str]], Saver]:
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
