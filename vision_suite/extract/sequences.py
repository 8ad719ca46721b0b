"""Features of a trained recogniser from sequences on disk: class semantics for a detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from vision_suite.datasets.tad.features import read_rows
from vision_suite.datasets.tad.sampling import FeatureInfo, read_info, write_info
from vision_suite.errors import CheckpointError, DataError
from vision_suite.layers.grouped import pad_channels
from vision_suite.models.csa.recognizer import SequenceRecognizer
from vision_suite.types import Progress
from vision_suite.video.store import Extracted, Store, checksum


def recognizer_from(contents: dict[str, object], path: Path) -> SequenceRecognizer:
    """The network of a checkpoint of `vision_suite.lit_modules.recognizer.LitRecognizer`, ready for evaluation.

    Raises:
        CheckpointError: It is of another class, or its settings do not fit its weights.
    """
    settings, state = contents.get("hyper_parameters"), contents.get("state_dict")
    if not isinstance(settings, dict) or not isinstance(state, dict) or "model.embed.weight" not in state:
        raise CheckpointError(f"{path} is no checkpoint of LitRecognizer: train one with csa/watch_tad_recognizer")
    names = ("in_channels", "num_classes", "width", "depth", "kernel", "dropout")
    try:
        network = SequenceRecognizer(**{name: settings[name] for name in names if name in settings})
        network.load_state_dict({k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")})
    except (TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{path}: its weights or settings do not fit LitRecognizer ({reason})") from error
    return network.eval()


@torch.inference_mode()
def extract_sequences(
    network: SequenceRecognizer, source: Path, target: Path, stride: int, origin: str, progress: Progress
) -> Extracted:
    """Write the network's features and logits of every sequence, averaged over each ``stride`` rows.

    Args:
        network: The recogniser.
        source: Folder of features with ``features.json``.
        target: Folder to write; files that it holds already are kept.
        stride: Number of rows averaged to one.
        origin: Origin of the network, noted for readers; the checksum of its weights identifies it.
        progress: Function that is told the progress.

    Raises:
        DataError: The source holds no features, or the target holds others.
    """
    info = read_info(source)
    files = sorted(path for path in source.iterdir() if path.suffix == ".npy")
    if not files:
        raise DataError(f"{source} holds no .npy features")
    extractor = {"kind": "recognizer", "checkpoint": origin, "source": source.name, "stride": stride}
    extractor["checksum"] = checksum(network.state_dict())
    store = Store(target, extractor)
    written = present = width = 0
    failed: dict[str, str] = {}
    for done, path in enumerate(files):
        progress("extracting", done, len(files))
        if store.has(path.stem):
            present += 1
            width = width or read_rows(str(store.path(path.stem))).shape[1]
            continue
        try:
            rows = read_rows(str(path))
        except DataError as error:
            failed[path.stem] = str(error)
            continue
        semantics = network.semantics(torch.from_numpy(rows.T.copy())[None])[0].T.numpy()
        count = max(len(semantics) // stride, 1)
        pooled = np.stack([part.mean(axis=0) for part in np.array_split(semantics[: count * stride], count)])
        padded = pad_channels(pooled)
        store.write(path.stem, padded)
        written, width = written + 1, padded.shape[1]
    progress("extracting", len(files), len(files))
    rate = None if info.fps is None else info.fps
    write_info(
        target,
        FeatureInfo(rate, info.stride * stride, info.clip * stride, info.offset, width, info.resized, extractor),
    )
    return Extracted(written, present, failed, width)
