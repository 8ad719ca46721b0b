"""Export of a network: the file is written, loaded again and compared before it takes its place.

A file that differs never does. The distances found are stored in its metadata as ``parity``.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from vision_suite.drafts import move_whole
from vision_suite.errors import ExportError, storage_error
from vision_suite.export.formats import OUTPUTS, Exportable, Format, Graph, Saver, load_exported, program_of, tracer_of
from vision_suite.export.parity import Parity, compare
from vision_suite.ops.attention import portable_attention


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
    tracer = tracer_of(kind)
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
            if program_of(final, kind) != program_of(compared, kind):
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
