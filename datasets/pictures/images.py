"""Reading pictures: decode to RGB, check that every file can be read, and hold small sets in memory."""

from __future__ import annotations

import os
import stat
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import Literal, TypeVar

import numpy as np
import torch
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

from vision_suite.errors import ConfigError, DataError
from vision_suite.faults import free_memory

Interpolation = Literal["bicubic", "bilinear"]
Item = TypeVar("Item")

CONTAINER = "::"  # separates a container file from the address of a picture inside it
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
# Everything Pillow lets through for damaged files: found by feeding it truncated and altered files.
_UNREADABLE = (
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_PROGRESS_SECONDS = 10.0
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BITS, _PHOTOMETRIC = 258, 262  # TIFF tags
PIXELS_OF_A_BYTE = 1000  # a JPEG of one colour holds some 60, with the shortest codes 170, as a progressive one 340


@dataclass(frozen=True)
class BadPicture:
    """A picture that cannot be decoded, with the reason."""

    path: str
    reason: str


def to_rgb(image: Image.Image) -> Image.Image:
    """An upright RGB copy of a picture in any mode; transparency shows white, as on a page.

    Colour profiles are not applied. 16-bit and 12-bit grey keep their upper 8 bits, as 16-bit colour does.

    Raises:
        ValueError: The values have no known scale: floating point outside 0..1, or whole numbers of 32 bits.
    """
    image = _upright(image)
    if image.mode == "RGB":
        return image
    if image.has_transparency_data:
        image = image.convert("RGBA")
        page = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(page, image).convert("RGB")
    if image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(_grey_bytes(image))
    return image.convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    """The picture as viewers show it: turned or mirrored as its EXIF (or XMP) orientation says."""
    if isinstance(image, TiffImageFile):
        return image  # turned by Pillow while it is loaded, and only TIFF is
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except _UNREADABLE:
        return image  # the note is damaged, not the picture
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _grey_bytes(image: Image.Image) -> np.ndarray:
    """(h, w) uint8 of a grey picture with more than 8 bits; Pillow would clip the values instead of scaling them."""
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        tags = getattr(image, "tag_v2", {})  # of a TIFF file
        bits = int(tags.get(_BITS, (16,))[0])
        grey: np.ndarray = (values >> (bits - 8)).astype(np.uint8)
        return 255 - grey if tags.get(_PHOTOMETRIC) == 0 else grey  # 0 is white, which Pillow minds for 8 bits alone
    low, high = float(values.min()), float(values.max())
    if image.mode == "F" and 0 <= low <= high <= 1:
        scaled: np.ndarray = np.rint(values * 255).astype(np.uint8)
        return scaled
    kind = "floating-point values" if image.mode == "F" else "32-bit values"
    raise ValueError(
        f"{kind} from {low:g} to {high:g} have no known scale: save it with 8 or 16 bits, or floating point in 0..1"
    )


def open_picture(address: str) -> Image.Image:
    """Decode one picture to RGB, upright; of several pages or frames the first.

    Args:
        address: A file, or ``FILE.mat::BOXES/PAIR/ROW/COLUMN`` for CUHK03's container.

    Raises:
        DataError: The file is missing, truncated or not a picture.
    """
    try:
        if CONTAINER in address:
            from vision_suite.datasets.pictures.containers import read_picture

            return Image.fromarray(read_picture(address))
        with _open(address) as image:
            image.load()
            return to_rgb(image)
    except _UNREADABLE as error:
        raise DataError(f"picture {address!r} cannot be read: {_reason(error)}") from None


def decode_picture(contents: bytes, name: str) -> Image.Image:
    """Decode the contents of a picture's file as `open_picture` does.

    Args:
        contents: Bytes of the file.
        name: Name of the picture, for the message.

    Raises:
        DataError: They are truncated or no picture.
    """
    try:
        with _open(BytesIO(contents)) as image:
            image.load()
            return to_rgb(image)
    except _UNREADABLE as error:
        raise DataError(f"picture {name!r} cannot be read: {_reason(error)}") from None


def _open(path: str | BytesIO) -> Image.Image:
    """A picture whose header is read and whose pixels are not."""
    if isinstance(path, str) and _has_no_end(os.stat(path).st_mode):
        raise ValueError("it is a device or a pipe, not a file")
    image = Image.open(path)
    if isinstance(image, TiffImageFile):
        # Pillow 13 maps files into memory by their name, and mixes up the sides of those that it turns by 90 degrees.
        image.filename = ""
    try:
        _check_fullness(image, path.getbuffer().nbytes if isinstance(path, BytesIO) else os.path.getsize(path))
    except ValueError:
        image.close()
        raise
    return image


def _has_no_end(mode: int) -> bool:
    """Tell whether reading a file of this mode may wait or go on for ever."""
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _check_fullness(image: Image.Image, size: int) -> None:
    """Refuse a JPEG file of so few bytes that most of its pixels would be filled up as grey.

    Raises:
        ValueError: It is one.
    """
    if image.format == "JPEG" and image.width * image.height > PIXELS_OF_A_BYTE * size:
        raise ValueError(f"its {size} bytes cannot hold {image.width} x {image.height} pixels")


@dataclass(frozen=True)
class Reader:
    """Reader that gives pictures in the size that a network needs, before any random change.

    Attributes:
        size: Height and width to resize to, not keeping the aspect ratio.
        interpolation: Filter for resizing.
        crop_bottom: Rows of pixels to cut off at the bottom before resizing (a banner).
    """

    size: tuple[int, int]
    interpolation: Interpolation
    crop_bottom: int = 0

    def open(self, address: str) -> Image.Image:
        """The RGB picture in its own size, without the banner."""
        image = open_picture(address)
        if self.crop_bottom:
            image = image.crop((0, 0, image.width, max(1, image.height - self.crop_bottom)))
        return image

    def __call__(self, address: str) -> Tensor:
        """The resized picture, (3, h, w) uint8."""
        image = self.open(address)
        if image.size != (self.size[1], self.size[0]):
            image = image.resize((self.size[1], self.size[0]), FILTERS[self.interpolation])
        return torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1)


def check_pictures(paths: Sequence[str], workers: int) -> list[BadPicture]:
    """Decode every picture once, cheaply, and return those that fail.

    JPEG files are decoded at an eighth of their size: every byte is still read, so truncation is seen.
    """

    def check(path: str) -> None:
        if CONTAINER in path:
            open_picture(path)
            return
        with _open(path) as image:
            image.draft("RGB", (1, 1))
            image.load()
            to_rgb(image)  # values without a known scale are found here too

    return [bad for bad in _each(check, paths, workers, "Checked") if isinstance(bad, BadPicture)]


def load_pictures(paths: Sequence[str], read: Reader, workers: int) -> tuple[Tensor, Tensor, list[BadPicture]]:
    """Decode and resize every picture into one array; hard links of one file share a row.

    Returns:
        Pictures (U, 3, h, w) uint8 of the U different files; the row of each path, (N,) int64; unreadable pictures,
        whose rows are black.

    Raises:
        ConfigError: The array doesn't fit into the free memory.
    """
    unique: dict[tuple[int, int] | str, int] = {}
    first: list[str] = []
    rows = torch.empty(len(paths), dtype=torch.int64)
    for position, path in enumerate(paths):
        key = path if CONTAINER in path else _file_key(path)
        if key not in unique:
            unique[key] = len(first)
            first.append(path)
        rows[position] = unique[key]
    need, free = len(first) * 3 * read.size[0] * read.size[1], free_memory()
    if need > 0.8 * free:
        raise ConfigError(
            f"cache='memory' needs {need / 2**30:.1f} GiB for {len(first)} pictures of {read.size[0]}x{read.size[1]} "
            f"but {free / 2**30:.1f} GiB are free: pass --data.cache none or a smaller size"
        )
    pictures = torch.zeros((len(first), 3, *read.size), dtype=torch.uint8)

    def load(numbered: tuple[int, str]) -> None:
        pictures[numbered[0]] = read(numbered[1])

    results = _each(load, list(enumerate(first)), workers, "Loaded")
    broken = {row: result for row, result in enumerate(results) if isinstance(result, BadPicture)}
    numbered = zip(paths, rows.tolist(), strict=True)
    bad = [BadPicture(path, broken[row].reason) for path, row in numbered if row in broken]
    return pictures, rows, bad


def _each(action: Callable[[Item], None], items: Sequence[Item], workers: int, verb: str) -> list[BadPicture | None]:
    """Run `action` on every item in threads (decoding releases the interpreter lock); failures become records."""

    def attempt(item: Item) -> BadPicture | None:
        try:
            action(item)
        except DataError as error:
            return BadPicture(_name(item), str(error).partition("cannot be read: ")[2] or str(error))
        except _UNREADABLE as error:
            return BadPicture(_name(item), _reason(error))
        return None

    from pytorch_lightning.utilities import rank_zero_info  # only here: pictures are read without Lightning too

    results: list[BadPicture | None] = []
    reported = time.monotonic()
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for result in pool.map(attempt, items):
            results.append(result)
            if time.monotonic() - reported > _PROGRESS_SECONDS:
                reported = time.monotonic()
                rank_zero_info(f"{verb} {len(results)} of {len(items)} pictures")
    return results


def _name(item: object) -> str:
    return str(item[1]) if isinstance(item, tuple) else str(item)


def _reason(error: BaseException) -> str:
    return (
        "file not found"
        if isinstance(error, FileNotFoundError)
        else " ".join(str(error).split()) or type(error).__name__
    )


def _file_key(path: str) -> tuple[int, int] | str:
    try:
        status = os.stat(path)
    except OSError:
        return path  # reported when it is opened
    return (status.st_dev, status.st_ino) if status.st_ino else path
