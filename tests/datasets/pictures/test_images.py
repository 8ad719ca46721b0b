"""Decoding: all modes become RGB, every kind of damage is one clear error, memory cache equals disk."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from synthetic import draw

from vision_suite.datasets.pictures import images
from vision_suite.datasets.pictures.images import Reader, check_pictures, load_pictures, open_picture
from vision_suite.errors import ConfigError, DataError


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "I;16", "RGB"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    suffix = ".tif" if mode == "CMYK" else ".png"
    source = draw(3, 0, 0, (20, 16))
    if mode == "I;16":
        source = Image.fromarray(np.asarray(source.convert("L")).astype(np.uint16) * 257)
    else:
        source = source.convert(mode)
    source.save(tmp_path / f"p{suffix}")
    picture = open_picture(str(tmp_path / f"p{suffix}"))
    assert picture.mode == "RGB"
    assert picture.size == (16, 20)
    if mode in ("L", "I;16"):
        np.testing.assert_array_equal(np.asarray(picture)[..., 0], np.asarray(draw(3, 0, 0, (20, 16)).convert("L")))


def test_transparent_pixels_become_white(tmp_path):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[0, 0] = (10, 20, 30, 255)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    result = np.asarray(open_picture(str(tmp_path / "p.png")))
    assert result[0, 0].tolist() == [10, 20, 30]
    assert (result[1:] == 255).all()


@pytest.mark.parametrize(
    "content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0\x00\x10JFIF"], ids=repr
)
def test_files_that_are_no_pictures(tmp_path, content):
    (tmp_path / "p.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"p\.jpg' cannot be read"):
        open_picture(str(tmp_path / "p.jpg"))
    (bad,) = check_pictures([str(tmp_path / "p.jpg")], workers=1)
    assert bad.path.endswith("p.jpg")


def test_missing_file():
    with pytest.raises(DataError, match="cannot be read: file not found"):
        open_picture("/nowhere/p.png")


@given(
    suffix=st.sampled_from([".png", ".jpg", ".tif", ".webp", ".bmp"]),
    place=st.floats(0, 0.999),
    value=st.integers(0, 255),
    cut=st.booleans(),
)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_never_raise_anything_else(tmp_path, suffix, place, value, cut):
    path = tmp_path / f"p{suffix}"
    draw(1, 0, 0, (32, 16)).save(path)
    content = bytearray(path.read_bytes())
    if cut:
        del content[int(place * len(content)) :]
    else:
        content[int(place * len(content))] = value
    path.write_bytes(bytes(content))
    found_bad = bool(check_pictures([str(path)], workers=1))
    try:
        open_picture(str(path))
    except DataError:
        assert found_bad or not cut, "the cheap check sees truncation"


def test_check_reads_truncated_jpeg_at_reduced_size(tmp_path):
    path = tmp_path / "p.jpg"
    draw(1, 0, 0, (256, 256)).save(path)
    assert check_pictures([str(path)], workers=2) == []
    path.write_bytes(path.read_bytes()[:-200])
    assert len(check_pictures([str(path)], workers=2)) == 1


def test_memory_equals_disk_and_hard_links_share_rows(tmp_path):
    paths = []
    for n in range(5):
        draw(n, 0, 0, (20, 16)).save(tmp_path / f"{n}.png")
        paths.append(str(tmp_path / f"{n}.png"))
    (tmp_path / "again.png").hardlink_to(tmp_path / "2.png")
    paths.append(str(tmp_path / "again.png"))
    read = Reader((24, 12), "bicubic")
    pictures, rows, bad = load_pictures(paths, read, workers=3)
    assert bad == []
    assert len(pictures) == 5
    assert rows.tolist() == [0, 1, 2, 3, 4, 2]
    assert torch.equal(pictures[rows], torch.stack([read(path) for path in paths]))


def test_unreadable_pictures_are_reported_under_every_name(tmp_path):
    draw(0, 0, 0, (8, 8)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"damaged")
    (tmp_path / "link.png").hardlink_to(tmp_path / "bad.png")
    paths = [str(tmp_path / name) for name in ("bad.png", "good.png", "link.png", "gone.png")]
    _, _, bad = load_pictures(paths, Reader((8, 8), "bicubic"), workers=2)
    assert [b.path for b in bad] == [paths[0], paths[2], paths[3]]
    assert bad[-1].reason == "file not found"


def test_too_little_memory_is_said_before_decoding(tmp_path, monkeypatch):
    draw(0, 0, 0, (8, 8)).save(tmp_path / "p.png")
    monkeypatch.setattr(images, "free_memory", lambda: 100)
    with pytest.raises(ConfigError, match=r"cache='memory' needs .* --data\.cache none"):
        load_pictures([str(tmp_path / "p.png")], Reader((64, 64), "bicubic"), workers=1)


def test_banner_is_cut_before_resizing(tmp_path):
    pixels = np.zeros((30, 10, 3), np.uint8)
    pixels[20:] = 255
    Image.fromarray(pixels).save(tmp_path / "p.png")
    assert int(Reader((15, 5), "bicubic", crop_bottom=10)(str(tmp_path / "p.png")).max()) == 0
