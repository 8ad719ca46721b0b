"""Orientation, TIFF in its kinds, and values without a known scale, against pictures made by hand."""

import struct

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from vision_suite.datasets.pictures.images import Reader, check_pictures, load_pictures, open_picture
from vision_suite.errors import DataError

GREY = (np.arange(24).reshape(4, 6) * 10).astype(np.uint8)
SCALED = np.rint(np.linspace(0, 4095, 24)).astype(int).reshape(4, 6)  # of 12 bits


def blocks() -> Image.Image:
    """24 x 16 pixels in three rows and two columns of blocks, each of its own colour."""
    colours = np.array([[[250, 0, 0], [0, 250, 0]], [[0, 0, 250], [250, 250, 0]], [[0, 250, 250], [120, 120, 120]]])
    return Image.fromarray(colours.astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1))


# EXIF 2.3, tag 274: the viewer sees rows of the first axis from the side that the name tells.
SHOWN = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: x[::-1].transpose(1, 0, 2),
    7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
    8: lambda x: x[:, ::-1].transpose(1, 0, 2),
}


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg"])
def test_pictures_are_upright_as_viewers_show_them(tmp_path, suffix):
    read = Reader((24, 16), "bicubic")
    for orientation, shown in SHOWN.items():
        exif = Image.Exif()
        exif[274] = orientation
        path = str(tmp_path / f"{orientation}{suffix}")
        blocks().save(path, exif=exif, **({"lossless": True} if suffix == ".webp" else {}))
        found = np.asarray(open_picture(path)).astype(int)
        expected = shown(np.asarray(blocks())).astype(int)
        assert found.shape == expected.shape
        assert np.abs(found - expected)[2::4, 2::4].max() <= (40 if suffix == ".jpg" else 0)
        with Image.open(path) as image:
            np.testing.assert_array_equal(found, np.asarray(ImageOps.exif_transpose(image)))
        assert check_pictures([path], workers=1) == []
        pictures, rows, bad = load_pictures([path], read, workers=1)
        assert not bad
        assert torch.equal(pictures[rows[0]], read(path))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_tiff_of_any_mode_is_upright(tmp_path, mode, compression):
    """Those that are not compressed are read from memory by Pillow, by another way."""
    grey = Image.fromarray(GREY)
    whole = Image.fromarray(GREY.astype(np.uint16) * 257) if mode == "I;16" else grey.convert(mode)
    for orientation, shown in SHOWN.items():
        exif = Image.Exif()
        exif[274] = orientation
        path = str(tmp_path / f"{orientation}.tif")
        whole.save(path, exif=exif, compression=compression)
        np.testing.assert_array_equal(np.asarray(open_picture(path)), shown(np.stack([GREY] * 3, -1)))
        assert check_pictures([path], workers=1) == []


def test_an_orientation_that_says_nothing_leaves_the_picture(tmp_path):
    for number, value in enumerate((0, 9, 65535)):
        exif = Image.Exif()
        exif[274] = value
        blocks().save(tmp_path / f"{number}.png", exif=exif)
        np.testing.assert_array_equal(np.asarray(open_picture(str(tmp_path / f"{number}.png"))), np.asarray(blocks()))


def tiff(data: bytes, bits: int, *, white: int = 1, samples: int = 1, kind: int = 1) -> bytes:
    """A little-endian TIFF file of 4 rows and 6 columns in one strip, after TIFF 6.0.

    Args:
        data: The pixels.
        bits: Bits of a sample.
        white: Photometric interpretation: 0 white is zero, 1 black is zero, 2 RGB, 5 CMYK.
        samples: Samples of a pixel.
        kind: Sample format: 1 unsigned, 2 signed, 3 floating point.
    """
    fields = {256: 6, 257: 4, 258: bits, 259: 1, 262: white, 273: 0, 277: samples, 278: 4, 279: len(data), 339: kind}
    end = 8 + 2 + 12 * len(fields) + 4
    more = struct.pack(f"<{samples}H", *[bits] * samples) if samples > 2 else b""
    fields[273] = end + len(more)
    out = b"II*\0" + struct.pack("<IH", 8, len(fields))
    for tag, value in fields.items():
        count, value = (samples, end) if tag == 258 and more else (1, value)
        out += struct.pack("<HHII", tag, 3, count, value)
    return out + struct.pack("<I", 0) + more + data


def twelve_bits(values: np.ndarray) -> bytes:
    """Two samples in three bytes, the highest bits first."""
    first, second = values.reshape(-1, 2).T
    return np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1).astype(np.uint8).tobytes()


COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], -1)
INK = np.concatenate([255 - COLOUR, np.zeros((4, 6, 1), np.uint8)], -1)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (tiff(GREY.tobytes(), 8), GREY),
        (tiff((255 - GREY).tobytes(), 8, white=0), GREY),
        (tiff((GREY.astype("<u2") * 257).tobytes(), 16), GREY),
        (tiff((65535 - GREY.astype("<u2") * 257).tobytes(), 16, white=0), GREY),
        (tiff(twelve_bits(SCALED), 12), SCALED // 16),
        (tiff((GREY / 255).astype("<f4").tobytes(), 32, kind=3), GREY),
        (tiff((COLOUR.astype("<u2") * 257).tobytes(), 16, white=2, samples=3), COLOUR),
        (tiff(INK.tobytes(), 8, white=5, samples=4), COLOUR),
    ],
    ids=["8", "8, 0 is white", "16", "16, 0 is white", "12", "floating point", "16 RGB", "CMYK"],
)  # fmt: skip
def test_tiff_values(tmp_path, content, expected):
    (tmp_path / "p.tif").write_bytes(content)
    found = np.asarray(open_picture(str(tmp_path / "p.tif")))
    np.testing.assert_array_equal(found, expected if expected.ndim == 3 else np.stack([expected] * 3, -1))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tiff(GREY.astype("<f4").tobytes(), 32, kind=3), "floating-point values from 0 to 230 have no known scale"),
        (tiff(np.full((4, 6), np.nan, "<f4").tobytes(), 32, kind=3), "floating-point values from nan"),
        (tiff(GREY.astype("<u4").tobytes(), 32), "32-bit values from 0 to 230 have no known scale"),
        (tiff((GREY / 255).astype("<f8").tobytes(), 64, kind=3), "cannot identify"),
        (tiff(GREY.tobytes(), 8)[:-20], "truncated"),
    ],
    ids=["floating point up to 230", "NaN", "32 bits", "64 bits", "cut"],
)
def test_pictures_without_a_known_scale_are_one_line_in_check_and_reading(tmp_path, content, reason):
    path = str(tmp_path / "p.tif")
    (tmp_path / "p.tif").write_bytes(content)
    with pytest.raises(DataError, match=rf"p\.tif' cannot be read: .*{reason}"):
        open_picture(path)
    (bad,) = check_pictures([path], workers=1)
    assert reason in bad.reason


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_tags_are_one_line(tmp_path):
    whole = tiff((GREY.astype("<u2") * 257).tobytes(), 16)
    path, refused = tmp_path / "p.tif", []
    for place in range(8, 134):
        for value in (2, 5, 12, 255):
            path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            try:
                open_picture(str(path))
            except DataError as error:
                refused.append(str(error))
    assert len(refused) > 100
    assert all("cannot be read" in line and "\n" not in line for line in refused)


def test_palettes_and_pages(tmp_path):
    first, second = Image.fromarray(GREY).convert("P"), Image.fromarray(255 - GREY).convert("P")
    first.save(tmp_path / "p.tiff", save_all=True, append_images=[second])
    np.testing.assert_array_equal(np.asarray(open_picture(str(tmp_path / "p.tiff")))[..., 0], GREY)
