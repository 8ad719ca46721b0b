"""Pictures of conversations: bytes from files, archives and tables, squared, resized and normalised."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vision_suite.datasets.loading import Cache, available_cores
from vision_suite.datasets.pictures.checks import find_bad
from vision_suite.datasets.pictures.images import FILTERS, Interpolation, decode_picture, open_picture
from vision_suite.datasets.pictures.transforms import Prepare
from vision_suite.errors import ConfigError, DataError
from vision_suite.faults import free_memory
from vision_suite.types.instruct import ImageRef

Square = Literal["pad", "stretch"]


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
        from vision_suite.datasets.instruct.tables import picture_of_cell

        return picture_of_cell(ref)
    if ref.start < 0:
        return open_picture(str(ref.path))
    name = f"{ref.path} at {ref.start}"
    try:
        with ref.path.open("rb") as file:
            file.seek(ref.start)
            contents = file.read(ref.length)
    except OSError as error:
        raise DataError(f"picture {name!r} cannot be read: {error.strerror or error}") from None
    return decode_picture(contents, name)


def unreadable(refs: Iterable[ImageRef]) -> dict[ImageRef, str]:
    """Reason for each picture that cannot be read; every one is decoded once."""
    unique = list(dict.fromkeys(refs))
    files = {str(ref.path): ref for ref in unique if ref.start < 0 and not ref.column}
    found = {files[bad.path]: bad.reason for bad in find_bad(list(files))}

    def check(ref: ImageRef) -> str:
        try:
            read_picture(ref)
        except DataError as error:
            return str(error)
        return ""

    inside = [ref for ref in unique if ref.start >= 0 or ref.column]
    with ThreadPoolExecutor(max(1, available_cores())) as pool:
        found |= {ref: reason for ref, reason in zip(inside, pool.map(check, inside), strict=True) if reason}
    return found


@dataclass
class PictureStore:
    """Pictures of one stage, from memory or from their files.

    Attributes:
        appearance: Form in which the network sees them.
        cache: Keep all of them resized in memory, or read each when it is needed.
        blank: Pictures that are replaced by the mean colour because they cannot be read.
    """

    appearance: Appearance
    cache: Cache
    blank: frozenset[ImageRef] = frozenset()
    _held: Tensor | None = field(default=None, repr=False)
    _row: dict[ImageRef, int] = field(default_factory=dict, repr=False)

    def load(self, refs: Iterable[ImageRef]) -> None:
        """Read all pictures of the stage into memory, if they are to be kept there.

        Raises:
            ConfigError: They do not fit.
            DataError: One cannot be read.
        """
        if self.cache != "memory":
            return
        unique = list(dict.fromkeys(refs))
        height, width = self.appearance.size
        need, free = len(unique) * 3 * height * width, free_memory()
        if need > 0.8 * free:
            raise ConfigError(
                f"cache='memory' needs {need / 2**30:.1f} GiB for {len(unique)} pictures of {height}x{width} but "
                f"{free / 2**30:.1f} GiB are free: pass --data.cache none or a smaller size"
            )
        held = torch.empty((len(unique), 3, height, width), dtype=torch.uint8)

        def load(numbered: tuple[int, ImageRef]) -> None:
            held[numbered[0]] = self._read(numbered[1])

        with ThreadPoolExecutor(max(1, available_cores())) as pool:
            list(pool.map(load, enumerate(unique)))
        self._held, self._row = held, {ref: row for row, ref in enumerate(unique)}

    def __call__(self, refs: Sequence[ImageRef]) -> Tensor:
        """Network input of some pictures, (N, 3, h, w) float32."""
        if not refs:
            return torch.empty((0, 3, *self.appearance.size))
        if self._held is not None:
            return self.appearance.normalise(self._held[[self._row[ref] for ref in refs]])
        return self.appearance.normalise(torch.stack([self._read(ref) for ref in refs]))

    def _read(self, ref: ImageRef) -> Tensor:
        return self.appearance.blank if ref in self.blank else self.appearance.pixels(read_picture(ref))
