"""Features of a trained recogniser from sequences on disk: class semantics for a detector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning.utilities import rank_zero_warn

from vision_suite.datasets.saved import MISSING, SavedPreprocessing, data_state
from vision_suite.datasets.tad.features import feature_files, read_rows, resize_rows
from vision_suite.datasets.tad.sampling import FeatureInfo, other_times, read_info, write_info
from vision_suite.datasets.tad.settings import stored_settings
from vision_suite.errors import CheckpointError, DataError
from vision_suite.layers.grouped import pad_channels
from vision_suite.models.csa.recognizer import SequenceRecognizer
from vision_suite.types import Progress
from vision_suite.types.arrays import Floats32
from vision_suite.video.files import refuse_same_names
from vision_suite.video.store import Extracted, Store, checksum

ENDINGS = (".npy",)


@dataclass(frozen=True)
class SequenceInput:
    """Steps from the rows of a sequence to a recogniser's input, as in its training.

    Attributes:
        every: Step between the rows that are kept.
        cells: Number of rows that every sequence is resized to; None keeps its length.
        sampling: Times of the rows in training, None if unknown.
    """

    every: int = 1
    cells: int | None = None
    sampling: FeatureInfo | None = None

    @classmethod
    def of(cls, contents: Mapping[str, Any]) -> SequenceInput:
        """The steps that a checkpoint's data tell; those of rows as they are, for a checkpoint without data.

        Raises:
            CheckpointError: The stored preprocessing is malformed.
        """
        state = data_state(contents)
        if state is None:
            return cls()
        known = stored_settings(SavedPreprocessing(state["preprocessing"]))
        found = {name: value for name, value in known.items() if value is not MISSING}
        cells = found.get("num_cells") if found.get("mode") == "resize" else None
        sampling = FeatureInfo(**found["sampling"]) if "sampling" in found else None
        return cls(found.get("every", 1), cells, sampling)

    def rows(self, rows: Floats32) -> Floats32:
        """Rows (L, C) of a sequence as the network reads them."""
        kept = rows[:: self.every]
        return kept if self.cells is None else resize_rows(kept, self.cells)

    def changes_length(self, path: Path) -> bool:
        """Tell whether a sequence is really resized, so that its rows get other times."""
        if self.cells is None:
            return False
        try:
            return len(read_rows(str(path))[:: self.every]) != self.cells
        except DataError:  # counted as failed
            return False

    def plain(self) -> dict[str, int]:
        """The steps that change rows, for a store of their results."""
        return {**({"every": self.every} if self.every > 1 else {}), **({"cells": self.cells} if self.cells else {})}


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
    network: SequenceRecognizer,
    source: Path,
    target: Path,
    stride: int,
    origin: str,
    progress: Progress,
    prepare: SequenceInput = SequenceInput(),
) -> Extracted:
    """Write the network's features and logits of every sequence, averaged over each ``stride`` rows that it read.

    Args:
        network: The recogniser.
        source: Folder of features with ``features.json``.
        target: Folder to write; files that it holds already are kept.
        stride: Number of rows averaged to one.
        origin: Origin of the network, noted for readers; the checksum of its weights identifies it.
        progress: Function that is told the progress.
        prepare: Steps from rows to the network's input.

    Raises:
        DataError: The source holds no features, or the target holds others.
    """
    info = read_info(source)
    found = feature_files(source, ENDINGS)
    files = found.files
    if not files:
        raise DataError(f"{source} holds no .npy features" + (f" but {found.note()}" if found.note() else ""))
    refuse_same_names(files)
    if prepare.sampling is not None and (other := other_times(prepare.sampling, info)):
        rank_zero_warn(f"the recogniser was trained on rows of {other[0]}, those of {source} have {other[1]}")
    every, width_in = prepare.every, network.embed.in_channels
    extractor: dict[str, Any] = {"kind": "recognizer", "checkpoint": origin, "source": source.name, "stride": stride}
    extractor |= prepare.plain()
    extractor["checksum"] = checksum(network.state_dict())
    store = Store(target, extractor)
    written = present = width = 0
    failed: dict[str, str] = {}
    constant: list[str] = []
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
        if rows.shape[1] != width_in:
            failed[path.stem] = f"rows have width {rows.shape[1]}, those that the recogniser reads {width_in}"
            continue
        if (rows == rows[0]).all():
            constant.append(path.stem)
        rows = prepare.rows(rows)
        semantics = network.semantics(torch.from_numpy(rows.T.copy())[None])[0].T.numpy()
        if not np.isfinite(semantics).all():
            failed[path.stem] = "the recogniser gives values that are not finite: check the features and its checkpoint"
            continue
        count = max(len(semantics) // stride, 1)
        pooled = np.stack([part.mean(axis=0) for part in np.array_split(semantics[: count * stride], count)])
        padded = pad_channels(pooled)
        store.write(path.stem, padded)
        written, width = written + 1, padded.shape[1]
    progress("extracting", len(files), len(files))
    if constant:
        rank_zero_warn(
            f"{len(constant)} of {len(files)} sequences in {source} hold the same row all the time, or zeros (first: "
            f"{constant[0]!r}): check them"
        )
    step, resized = stride * every, info.resized or any(prepare.changes_length(path) for path in files)
    write_info(
        target,
        FeatureInfo(info.fps, info.stride * step, info.clip * step, info.offset, width, resized, extractor),
    )
    return Extracted(written, present, failed, width)
