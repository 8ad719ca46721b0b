"""Pictures of conversations: bytes from files, archives and tables, squared, resized and normalised."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vision_suite.datasets.loading import Cache, available_cores
from vision_suite.datasets.pictures.checks import REMEMBER_FROM, RULES, find_bad
from vision_suite.datasets.pictures.images import FILTERS, Interpolation, decode_picture, open_picture
from vision_suite.datasets.pictures.transforms import Prepare
from vision_suite.drafts import write_whole
from vision_suite.errors import ConfigError, DataError
from vision_suite.faults import free_memory
from vision_suite.prepared import data_dir
from vision_suite.types.conversations import ImageRef

Square = Literal["pad", "stretch"]
LARGEST_SIDE = 8192  # pixels of a picture that is padded as it is


@dataclass(frozen=True)
class Appearance:
    """Form in which the network sees a picture.

    Attributes:
        size: Height and width in pixels.
        mean: Mean of each channel, of values 0..1.
        std: Standard deviation of each channel.
        interpolation: Filter for resizing.
        square: Pad to the shape of `size` in the mean colour, centred, as LLaVA and Wings do, or stretch.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Interpolation = "bicubic"
    square: Square = "pad"

    @property
    def background(self) -> tuple[int, int, int]:
        """The mean colour, 0..255, rounded down as the reference does."""
        red, green, blue = (int(255 * value) for value in self.mean)
        return red, green, blue

    @property
    def blank(self) -> Tensor:
        """A picture of the mean colour, (3, h, w) uint8."""
        return torch.tensor(self.background, dtype=torch.uint8).view(3, 1, 1).expand(3, *self.size).clone()

    def pixels(self, image: Image.Image) -> Tensor:
        """The resized picture, (3, h, w) uint8."""
        height, width = self.size
        if self.square == "pad" and max(image.size) > LARGEST_SIDE:
            image = image.copy()
            image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))  # the canvas of a long strip would take gigabytes
        if self.square == "pad" and image.width * height != image.height * width:
            # The canvas has the shape of `size` and the picture's own scale, the odd pixel goes right and below.
            across = max(image.width, -(-image.height * width // height))
            down = max(image.height, -(-image.width * height // width))
            canvas = Image.new("RGB", (across, down), self.background)
            canvas.paste(image, ((across - image.width) // 2, (down - image.height) // 2))
            image = canvas
        if image.size != (width, height):
            image = image.resize((width, height), FILTERS[self.interpolation])
        return torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1).contiguous()

    def normalise(self, pixels: Tensor) -> Tensor:
        """Network input (N, 3, h, w) float32 of pixels (N, 3, h, w) uint8."""
        return Prepare(self.size, self.mean, self.std, None)(pixels, torch.Generator())


def read_picture(ref: ImageRef) -> Image.Image:
    """The picture in its own size.

    Raises:
        DataError: It is missing, or cannot be decoded.
    """
    if ref.column:
        from vision_suite.datasets.conversations.tables import picture_of_cell

        return picture_of_cell(ref)
    if ref.start < 0:
        return open_picture(str(ref.path))
    return decode_picture(_span(ref), f"{ref.path} at {ref.start}")


def picture_sha256(ref: ImageRef) -> str:
    """Checksum of a picture's bytes as they are stored; empty if there are none.

    Raises:
        DataError: Its archive or table cannot be read.
    """
    if ref.column:
        from vision_suite.datasets.conversations.tables import stored_in_cell

        found = stored_in_cell(ref)
        contents = found if isinstance(found, bytes) else _whole(found)
    else:
        contents = _span(ref) if ref.start >= 0 else _whole(ref.path)
    return hashlib.sha256(contents).hexdigest() if contents else ""


def _span(ref: ImageRef) -> bytes:
    """Bytes of a member of an archive."""
    try:
        with ref.path.open("rb") as file:
            file.seek(ref.start)
            return file.read(ref.length)
    except OSError as error:
        raise DataError(f"picture '{ref.path} at {ref.start}' cannot be read: {error.strerror or error}") from None


def _whole(path: Path | None) -> bytes:
    """Bytes of a file, none if it cannot be read."""
    try:
        return b"" if path is None else path.read_bytes()
    except OSError:
        return b""


def unreadable(refs: Iterable[ImageRef]) -> dict[ImageRef, str]:
    """Reason for each picture that cannot be read; every one is decoded once, and the outcome for many is kept."""
    unique = list(dict.fromkeys(refs))
    files = {str(ref.path): ref for ref in unique if ref.start < 0}
    found = {files[bad.path]: bad.reason for bad in find_bad(list(files))}
    inside = [ref for ref in unique if ref.start >= 0]
    memo = _memo(inside)
    if memo.is_file():
        return found | {inside[number]: reason for number, reason in json.loads(memo.read_text(encoding="utf-8"))}

    def check(ref: ImageRef) -> str:
        try:
            read_picture(ref)
        except DataError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(max(1, available_cores())) as pool:
        bad = [(number, reason) for number, reason in enumerate(pool.map(check, inside)) if reason]
    if len(inside) >= REMEMBER_FROM:
        write_whole(memo, json.dumps(bad))
    return found | {inside[number]: reason for number, reason in bad}


def _memo(refs: Sequence[ImageRef]) -> Path:
    """File that keeps the outcome of a check of pictures inside archives and tables."""
    digest = hashlib.sha256(f"{RULES}\n".encode())
    for path in dict.fromkeys(ref.path for ref in refs):
        status = path.stat()
        digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    for ref in refs:
        digest.update(f"{ref.start}\0{ref.length}\0{ref.column}\n".encode())
    return data_dir() / "checked" / f"{digest.hexdigest()[:32]}.json"


class PictureStore:
    """Pictures of one stage, from memory or from their files, or their features.

    Args:
        appearance: Form in which the network sees them.
        cache: Keep all of them resized in memory, or read each when it is needed.
        refs: The pictures, each once.
        blank: Those that are replaced by the mean colour because they cannot be read.

    Raises:
        ConfigError: They do not fit into memory.
        DataError: One cannot be read.
    """

    def __init__(
        self, appearance: Appearance, cache: Cache, refs: Sequence[ImageRef], blank: frozenset[ImageRef] = frozenset()
    ) -> None:
        self._appearance, self._blank = appearance, blank
        self._row = {ref: row for row, ref in enumerate(refs)}
        self._held = self._loaded(refs) if cache == "memory" else None
        self._features: Tensor | None = None

    def use_features(self, tower: Callable[[Tensor], Tensor], batch_size: int) -> None:
        """Run a frozen tower over all pictures once, and give its output in place of the pictures from then on.

        Args:
            tower: Function from pictures (N, 3, h, w) to features (N, T, W).
            batch_size: Pictures in one call.
        """
        refs, self._features = list(self._row), None
        parts = [refs[start : start + batch_size] for start in range(0, len(refs), batch_size)]
        with torch.no_grad():
            made = [tower(self(part)["image"]).cpu() for part in parts]
        self._features = torch.cat(made) if made else None

    def __call__(self, refs: Sequence[ImageRef]) -> dict[str, Tensor]:
        """Entries of a batch: ``image`` (N, 3, h, w) float32, or ``features`` (N, T, W)."""
        if self._features is not None:
            return {"features": self._features[[self._row[ref] for ref in refs]]}
        if not refs:
            return {"image": torch.empty((0, 3, *self._appearance.size))}
        if self._held is not None:
            pixels = self._held[[self._row[ref] for ref in refs]]
        else:
            pixels = torch.stack([self._read(ref) for ref in refs])
        return {"image": self._appearance.normalise(pixels)}

    def _loaded(self, refs: Sequence[ImageRef]) -> Tensor:
        """All pictures, (U, 3, h, w) uint8."""
        height, width = self._appearance.size
        need, free = len(refs) * 3 * height * width, free_memory()
        if need > 0.8 * free:
            raise ConfigError(
                f"cache='memory' needs {need / 2**30:.1f} GiB for {len(refs)} pictures of {height}x{width} but "
                f"{free / 2**30:.1f} GiB are free: pass --data.cache none or a smaller size"
            )
        held = torch.empty((len(refs), 3, height, width), dtype=torch.uint8)

        def load(numbered: tuple[int, ImageRef]) -> None:
            held[numbered[0]] = self._read(numbered[1])

        with ThreadPoolExecutor(max(1, available_cores())) as pool:
            list(pool.map(load, enumerate(refs)))
        return held

    def _read(self, ref: ImageRef) -> Tensor:
        return self._appearance.blank if ref in self._blank else self._appearance.pixels(read_picture(ref))
