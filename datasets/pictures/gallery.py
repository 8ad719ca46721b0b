"""A gallery that grows: features of pictures in a folder on disk, which later searches read instead of computing them.

The folder holds ``gallery.json`` (what the features were made with, and a row for each picture) and the features in
``features-*.npy``, one file for each addition. Files are written whole and never changed, ``gallery.json`` is replaced
in one step, and additions wait for each other, so a killed process or two at once leave a whole store.
"""

from __future__ import annotations

import contextlib
import errno
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from vision_suite.datasets.pictures.gallery_plan import GalleryPlan, StoredPicture, file_checksum, plan_additions
from vision_suite.drafts import UNSUPPORTED, replacing, write_whole
from vision_suite.errors import STORAGE, ConfigError, DataError, storage_error

FORMAT = 1
INDEX = "gallery.json"
CHUNK = 4096  # rows copied at once
Features = npt.NDArray[np.float32]


class GalleryStore:
    """Features of gallery pictures in a folder.

    Args:
        folder: The folder; made by the first addition.
        identity: What the features are made with, in plain values: ``checkpoint`` (``path`` and ``sha256``),
            ``preprocessing`` and ``settings``.

    Raises:
        ConfigError: The store was made with another checkpoint, preprocessing or other settings.
        DataError: The store is damaged.
    """

    def __init__(self, folder: str | Path, identity: Mapping[str, Any]) -> None:
        self.folder = Path(folder).expanduser()
        self.identity: dict[str, Any] = json.loads(json.dumps(identity))
        self.plan = GalleryPlan([], {})
        self._width = 0
        self._pieces: list[dict[str, Any]] = []
        self._pictures: dict[str, StoredPicture] = {}
        self._read_index()

    def __len__(self) -> int:
        return len(self._pictures)

    @property
    def paths(self) -> list[str]:
        """Absolute paths of the pictures, sorted; the order of the gallery."""
        return sorted(self._pictures)

    def find(self, paths: Sequence[str]) -> GalleryPlan:
        """Compare pictures with the store, and keep the result as `plan`.

        Raises:
            ConfigError: A picture lies in a container file.
        """
        self.plan = plan_additions(self._pictures, paths)
        return self.plan

    def add(self, paths: Sequence[str], features: Features) -> int:
        """Add pictures with their features, and those of the plan whose contents are known; waits for other processes.

        Args:
            paths: Paths of new pictures, as the plan has them.
            features: (len(paths), D) finite features.

        Returns:
            Number of pictures that were added or replaced.

        Raises:
            DataError: The store holds features of another length, or is damaged.
            StorageError: The disk is full or the folder is read-only.
        """
        found = self.plan.found
        with self._locked():
            self._read_index()  # another process may have added some
            row_of = {picture.sha256: picture.row for picture in self._pictures.values()}
            start = sum(piece["rows"] for piece in self._pieces)
            rows: list[int] = []
            for number, path in enumerate(paths):
                if path in found and found[path][0] not in row_of:
                    row_of[found[path][0]] = start + len(rows)
                    rows.append(number)
            if rows:
                if self._width not in (0, features.shape[1]):
                    raise DataError(f"{self.folder}: holds features of length {self._width}, not {features.shape[1]}")
                self._width = int(features.shape[1])
                whole = len(rows) == len(features)
                self._pieces.append(self._write_piece(features if whole else features[rows]))
            changed = {
                path: StoredPicture(*entry, row_of[entry[0]]) for path, entry in found.items() if entry[0] in row_of
            }
            count = sum(
                path not in self._pictures or self._pictures[path].sha256 != picture.sha256
                for path, picture in changed.items()
            )
            if any(self._pictures.get(path) != picture for path, picture in changed.items()):
                self._pictures |= changed
                for old in self.plan.moved.values():
                    self._pictures.pop(old, None)
                self._write_index()
        return count

    def gather(self, target: Path) -> Features:
        """All features in the order of `paths`, as a file mapped into memory.

        Args:
            target: File to write them to.

        Raises:
            DataError: A file of features is missing or damaged.
        """
        rows = np.array([self._pictures[path].row for path in self.paths], dtype=np.int64)
        out = np.memmap(target, mode="w+", dtype=np.float32, shape=(len(rows), self._width))
        start = 0
        for piece in self._pieces:
            values = self._open(piece)
            wanted = np.flatnonzero((rows >= start) & (rows < start + len(values)))
            for at in range(0, len(wanted), CHUNK):
                some = wanted[at : at + CHUNK]
                out[some] = values[rows[some] - start]
            start += len(values)
        return out

    def _open(self, piece: Mapping[str, Any]) -> Features:
        """One file of features, verified."""
        path = self.folder / piece["file"]
        try:
            if file_checksum(path) != piece["sha256"]:
                raise self._damaged(f"{piece['file']} has other contents than when it was written")
            values: Features = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise self._damaged(f"{piece['file']} cannot be read ({error})") from None
        if values.shape != (piece["rows"], self._width) or values.dtype != np.float32:
            raise self._damaged(f"{piece['file']} holds {values.dtype} {values.shape}")
        return values

    def _read_index(self) -> None:
        """Read ``gallery.json``, if there is one, and compare what the features were made with."""
        path = self.folder / INDEX
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            raise self._damaged(f"{INDEX} cannot be read ({error})") from None
        try:
            form, identity = stored["format"], dict(stored["identity"])
            self._width, self._pieces = int(stored["width"]), [dict(piece) for piece in stored["pieces"]]
            self._pictures = {str(name): StoredPicture(**entry) for name, entry in stored["pictures"].items()}
            total = sum(int(piece["rows"]) for piece in self._pieces)
            outside = [each for each in self._pictures.values() if not 0 <= each.row < total]
            strange = [piece for piece in self._pieces if Path(str(piece["file"])).name != piece["file"]]
            strange += [piece for piece in self._pieces if not isinstance(piece["sha256"], str)]
            before, now = identity["checkpoint"], self.identity["checkpoint"]
            checkpoints = [f"{each['path']} (sha256 {each['sha256'][:12]})" for each in (before, now)]
            others = {name: (dict(identity[name]), self.identity[name]) for name in ("preprocessing", "settings")}
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise self._damaged(f"{INDEX} has no usable {error}") from None
        if form != FORMAT or outside or strange:
            raise self._damaged(f"{INDEX} is of format {form}" if form != FORMAT else f"{INDEX} is inconsistent")
        if before["sha256"] != now["sha256"]:
            raise ConfigError(
                f"gallery_store {str(self.folder)!r} holds features of {checkpoints[0]}, not of {checkpoints[1]}: "
                "use another folder, or that checkpoint"
            )
        for name, (theirs, ours) in others.items():
            unlike = [
                f"{key}={theirs.get(key)} there, {ours.get(key)} now"
                for key in sorted({*theirs, *ours})
                if theirs.get(key) != ours.get(key)
            ]
            if unlike:
                raise ConfigError(
                    f"gallery_store {str(self.folder)!r} holds features made with other {name}: {'; '.join(unlike)}: "
                    "use another folder, or those settings"
                )

    def _write_index(self) -> None:
        contents = {
            "format": FORMAT,
            "identity": self.identity,
            "width": self._width,
            "pieces": self._pieces,
            "pictures": {path: asdict(self._pictures[path]) for path in self.paths},
        }
        write_whole(self.folder / INDEX, json.dumps(contents, indent=0, ensure_ascii=False) + "\n")

    def _write_piece(self, features: Features) -> dict[str, Any]:
        """Write features into a file of their own, after removing what a killed process left."""
        kept = {piece["file"] for piece in self._pieces}
        for left in [*self.folder.glob("features-*.npy"), *self.folder.glob(".features-*")]:
            if left.name not in kept:
                left.unlink(missing_ok=True)
        path = self.folder / f"features-{uuid.uuid4().hex[:12]}.npy"
        try:
            with replacing(path, shared=True) as file:
                np.save(file, np.ascontiguousarray(features, dtype=np.float32), allow_pickle=False)
        except OSError as error:
            raise storage_error(error, path, features.nbytes) from error
        return {"file": path.name, "rows": len(features), "sha256": file_checksum(path)}

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from adding; without effect where the file system has no locks."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / ".lock").open("a")
        except OSError as error:
            if error.errno in STORAGE:
                raise storage_error(error, self.folder) from error
            raise
        with lock:
            _wait_for(lock)
            yield

    def _damaged(self, reason: str) -> DataError:
        return DataError(f"gallery_store {str(self.folder)!r} is damaged: {reason}: remove the folder to make it again")


def _wait_for(lock: TextIO) -> None:
    """Lock a file until it is closed, as soon as no other process has."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in UNSUPPORTED | {errno.ENOLCK}:
            raise
