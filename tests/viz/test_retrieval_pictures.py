"""Gallery strips and CMC curves, judged by their pixels."""

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from vision_suite.viz import canvas
from vision_suite.viz.reid import RankedRow, StripPicture, cmc_curves, gallery_strip

COLOURS = {"green": canvas.CORRECT, "red": canvas.WRONG, "grey": canvas.NEUTRAL, "blue": canvas.QUERY}


def picture(level: int, size: tuple[int, int] = (40, 80)) -> Image.Image:
    return Image.new("RGB", size, (level, 128, 255 - level))


def frames(image: Image.Image) -> list[list[str]]:
    """Colours of the picture frames, row by row and from left to right: large connected areas of a frame's colour."""
    pixels = np.asarray(image)
    found = []
    for name, colour in COLOURS.items():
        areas, _ = ndimage.label((pixels == colour).all(axis=2))
        for place in ndimage.find_objects(areas):
            height, width = (part.stop - part.start for part in place)
            if height > 60 and width > 50:
                found.append((place[0].start, place[1].start, name))
    rows = sorted({top for top, _, _ in found})
    return [[name for top, _, name in sorted(found) if top == row] for row in rows]


def test_frames_tell_right_from_wrong():
    matches = [[True, False, False, True], [False, None, True, False]]
    rows = [
        RankedRow(
            StripPicture(picture(9), 7, 1),
            [StripPicture(picture(50 * r), 7, 2, 0.1 * r, m) for r, m in enumerate(row)],
            0.4,
        )
        for row in matches
    ]
    expected = [["blue", *({True: "green", False: "red", None: "grey"}[m] for m in row)] for row in matches]
    assert frames(gallery_strip(rows, title="T", subtitle="S")) == expected


def test_the_whole_picture_is_shown_undistorted():
    tall = Image.new("RGB", (30, 90), (1, 2, 3))
    strip = np.asarray(gallery_strip([RankedRow(StripPicture(tall, 1), [StripPicture(picture(200), 1, 0, 0.5, True)])]))
    places = ndimage.find_objects(ndimage.label((strip == (1, 2, 3)).all(axis=2))[0])
    height, width = max((p[0].stop - p[0].start, p[1].stop - p[1].start) for p in places)
    assert height / width == pytest.approx(3.0, rel=0.05)


def test_rows_may_be_short_or_empty():
    rows = [
        RankedRow(StripPicture(picture(0), 1)),
        RankedRow(StripPicture(picture(0), 1), [StripPicture(picture(1), 2, 0, 0.1, False)]),
    ]
    assert frames(gallery_strip(rows)) == [["blue"], ["blue", "red"]]
    with pytest.raises(ValueError, match="at least one row"):
        gallery_strip([])


def test_nothing_touches_the_margin():
    entry = StripPicture(picture(3), 123456789, 99, 1.23456, False, name="x" * 200)
    rows = [RankedRow(StripPicture(picture(3, (300, 30)), name="query_" * 30), [entry] * 3, 1.0)]
    pixels = np.asarray(gallery_strip(rows, title="title " * 60, subtitle="subtitle " * 60)).astype(int)
    border = np.concatenate([pixels[:8].reshape(-1, 3), pixels[-8:].reshape(-1, 3), pixels[:, :8].reshape(-1, 3)])
    assert (border == 255).all()
    assert (pixels[:, -8:] == 255).all()


@given(st.text(max_size=60), st.integers(30, 300))
def test_text_is_cut_to_its_width(text, width):
    face = canvas.font(13)
    drawable = canvas.printable(text)
    assert len(drawable) == len(text)
    for cut in (canvas.fit_text, canvas.fit_middle):
        short = cut(text, face, width)
        assert face.getlength(short) <= width
        assert short == drawable or (canvas.ELLIPSIS in short and face.getlength(drawable) > width)
    lines = canvas.wrap_text(text, face, width, 2)
    assert len(lines) <= 2
    assert all(face.getlength(line) <= width for line in lines)


def test_odd_file_names_are_drawn():
    names = ["a\nb.jpg", "\x00\x1b[31m.png", "\udcff\udcfe.jpg", "\u202egnp.exe", "画像.png", ""]
    assert gallery_strip([RankedRow(StripPicture(picture(0), name=name)) for name in names]).height > 100


def test_marks_differ_in_shape_and_not_only_in_colour():
    tick, cross = (np.asarray(canvas.mark(correct, 32).convert("L"), dtype=int) for correct in (True, False))
    white = [np.asarray(canvas.mark(correct, 32))[..., :3].min(axis=2) > 200 for correct in (True, False)]
    assert tick.shape == cross.shape == (32, 32)
    assert (white[0] != white[1]).mean() > 0.1


def test_cmc_draws_every_branch_and_leaves_pyplot_alone():
    backend = matplotlib.get_backend()
    settings = dict(matplotlib.rcParams)
    curves = {"": np.linspace(0.5, 1, 20), "sa": np.linspace(0.4, 0.9, 20), "glca": np.linspace(0.3, 0.8, 20)}
    image = cmc_curves(curves, {"": 0.4, "sa": 0.3}, title="T")
    pixels = np.asarray(image).reshape(-1, 3)
    for colour in canvas.CURVES[:3]:
        rgb = tuple(int(colour[n : n + 2], 16) for n in (1, 3, 5))
        assert (pixels == rgb).all(axis=1).sum() > 100
    assert image.size == (1120, 768)
    assert matplotlib.get_backend() == backend
    assert dict(matplotlib.rcParams) == settings


@pytest.mark.parametrize("length", [1, 2, 50])
def test_cmc_of_any_length(length):
    assert cmc_curves({"": np.ones(length)}, {}).size == (1120, 768)
