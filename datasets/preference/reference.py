"""Log-probabilities of continuations before training, kept in one file for each network.

A number is found again by everything that it depends on: weights and number format, the bytes and form of the
pictures, and all ids (sentinel's reference is the same for each epoch and run, so it is computed once).
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vision_suite.datasets.conversations.pictures import picture_sha256
from vision_suite.datasets.preference.encode import PairSample
from vision_suite.drafts import write_whole
from vision_suite.errors import DataError
from vision_suite.prepared import data_dir
from vision_suite.types.conversations import ImageRef
from vision_suite.types.preference import PreferenceBatch

Score = Callable[[PreferenceBatch], Tensor]
KEY = 32  # bytes of a SHA-256


class KeyedLogps:
    """Log-probabilities by key, in one file that is written whole or not at all.

    Args:
        path: The file; it need not exist.

    Raises:
        DataError: It is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[bytes, float] = {}
        if path.is_file():
            self._known = _read(path)

    def __contains__(self, key: bytes) -> bool:
        return key in self._known

    def __getitem__(self, key: bytes) -> float:
        return self._known[key]

    def __len__(self) -> int:
        return len(self._known)

    def add(self, keys: Sequence[bytes], logps: Sequence[float]) -> None:
        """Add numbers, and write the file anew.

        Args:
            keys: Their keys.
            logps: The numbers.

        Raises:
            StorageError: The file cannot be written; the earlier one is unchanged.
        """
        self._known |= dict(zip(keys, logps, strict=True))
        stream = io.BytesIO()
        names = np.frombuffer(b"".join(self._known), dtype=np.uint8).reshape(-1, KEY)
        np.savez(stream, keys=names, logps=np.array(list(self._known.values()), dtype=np.float64))
        write_whole(self.path, stream.getvalue())


def reference_path(weights: str) -> Path:
    """The file of a network in the data cache.

    Args:
        weights: Checksum of its weights.
    """
    return data_dir() / "reference-logps" / f"{hashlib.sha256(weights.encode()).hexdigest()[:32]}.npz"


def branch_keys(samples: Sequence[PairSample], **facts: object) -> list[tuple[bytes, bytes]]:
    """Keys of both continuations of each pair.

    Args:
        samples: The pairs.
        **facts: What else the numbers depend on: weights, number format, form of the pictures.
    """
    told = repr(sorted(facts.items())).encode()
    pictures: dict[ImageRef, str] = {}
    for ref in (ref for sample in samples for ref in sample.images):
        if ref not in pictures:
            pictures[ref] = picture_sha256(ref)
    found = []
    for sample in samples:
        begin = hashlib.sha256(told)
        begin.update(" ".join(pictures[ref] for ref in sample.images).encode())
        for part in (sample.prefix.ids, sample.prefix.image_of_token):
            begin.update(len(part).to_bytes(8, "little") + part.tobytes())
        both = []
        for ids in sample.branches:
            own = begin.copy()
            own.update(ids.tobytes())
            both.append(own.digest())
        found.append((both[0], both[1]))
    return found


def reference_of(
    samples: Sequence[PairSample],
    keys: Sequence[tuple[bytes, bytes]],
    stored: KeyedLogps,
    score: Score,
    batch_of: Callable[[list[int]], Any],
    batch_size: int,
) -> Tensor:
    """Log-probabilities (N, 2) float64 of the continuations of pairs; those that are not stored yet are computed.

    Args:
        samples: The pairs.
        keys: Keys of their continuations.
        stored: Log-probabilities that are known; takes the new ones, all at once.
        score: Function from a batch to the log-probabilities (B, 2) of its continuations.
        batch_of: Function from indices of pairs to their batch.
        batch_size: Pairs in one batch.

    Raises:
        DataError: The function gives other shapes, or numbers that are not finite.
    """
    lacking = [index for index, both in enumerate(keys) if not all(key in stored for key in both)]
    lacking.sort(key=lambda index: samples[index].length)
    names: list[bytes] = []
    found: list[float] = []
    for start in range(0, len(lacking), batch_size):
        part = lacking[start : start + batch_size]
        with torch.no_grad():
            logps = score(batch_of(part)).detach().double().cpu()
        if logps.shape != (len(part), 2) or not bool(torch.isfinite(logps).all()):
            raise DataError(
                f"reference log-probabilities of {len(part)} pairs have the shape {tuple(logps.shape)} or are not "
                "finite: check the starting weights"
            )
        names += [key for index in part for key in keys[index]]
        found += logps.flatten().tolist()
    if names:
        stored.add(names, found)
    return torch.tensor([[stored[one], stored[other]] for one, other in keys], dtype=torch.float64).reshape(-1, 2)


def _read(path: Path) -> dict[bytes, float]:
    try:
        with np.load(path, allow_pickle=False) as file:
            names, logps = file["keys"], file["logps"]
        if names.shape != (len(logps), KEY) or names.dtype != np.uint8 or logps.dtype != np.float64:
            raise ValueError("it has other arrays")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{str(path)!r} is damaged ({str(error)[:80]}): remove it, it is computed again") from None
    return {bytes(name): float(logp) for name, logp in zip(names, logps, strict=True)}
