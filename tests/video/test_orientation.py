"""Pictures as they are meant to be seen: all eight orientations that a display matrix can say."""

import itertools

import numpy as np
import pytest

from vision_suite.video.decode import thumbnails, timed_frames
from vision_suite.video.orientation import upright

ONE = 1 << 16
# a, b, c, d of each orientation, and the corner colours that the picture then shows: top left, top right, bottom right.
EIGHT = {
    "as stored": ((1, 0, 0, 1), "RGB"),
    "quarter turn to the right": ((0, 1, -1, 0), "WRG"),
    "half turn": ((-1, 0, 0, -1), "BWR"),
    "quarter turn to the left": ((0, -1, 1, 0), "GBW"),
    "mirrored": ((-1, 0, 0, 1), "GRW"),
    "mirrored, half turn": ((1, 0, 0, -1), "WBG"),
    "mirrored, quarter turn": ((0, 1, 1, 0), "RWB"),
    "mirrored, other quarter turn": ((0, -1, -1, 0), "BGR"),
}
COLOURS = {"R": (200, 30, 30), "G": (30, 200, 30), "B": (30, 30, 200), "W": (220, 220, 220)}


def corners():
    """64 x 48 with a colour in each corner, clockwise from the top left: R G B W."""
    picture = np.zeros((48, 64, 3), dtype=np.uint8)
    picture[:24, :32], picture[:24, 32:] = COLOURS["R"], COLOURS["G"]
    picture[24:, 32:], picture[24:, :32] = COLOURS["B"], COLOURS["W"]
    return picture


def named(picture):
    height, width = picture.shape[:2]
    places = [(height // 4, width // 4), (height // 4, 3 * width // 4), (3 * height // 4, 3 * width // 4)]
    return "".join(
        min(COLOURS, key=lambda name: np.abs(picture[place].astype(int) - COLOURS[name]).sum()) for place in places
    )


def write(path, matrix):
    import av

    a, b, c, d = (number * ONE for number in matrix)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(corners(), format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(("matrix", "expected"), EIGHT.values(), ids=EIGHT.keys())
def test_every_orientation(tmp_path, matrix, expected):
    path = write(tmp_path / "a.mp4", matrix)
    for short_side in (None, 24):
        _, frame = next(timed_frames(path, short_side))
        assert named(frame) == expected
        assert frame.shape[0] < frame.shape[1] if matrix[0] else frame.shape[0] > frame.shape[1]
    assert named(np.asarray(thumbnails(path, 1)[0][1])) == expected


@pytest.mark.parametrize("matrix", [m for m, _ in EIGHT.values()])
def test_each_pixel_lands_where_the_matrix_sends_it(matrix):
    """The definition: pixel (x, y) is shown at (a x + c y, b x + d y), shifted so that the picture begins at 0."""
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    a, b, c, d = matrix
    places = {(a * x + c * y, b * x + d * y): pixels[y, x] for y, x in itertools.product(range(2), range(3))}
    left, top = (min(place[axis] for place in places) for axis in (0, 1))
    found = upright(pixels, tuple(number * ONE for number in matrix))
    for (x, y), value in places.items():
        np.testing.assert_array_equal(found[y - top, x - left], value)


def test_slanted_and_empty_matrices():
    picture = corners()
    assert upright(picture, None) is picture
    assert upright(picture, (0, 0, 0, 0)) is picture
    slanted = tuple(round(ONE * value) for value in (0.98, 0.17, -0.17, 0.98))
    np.testing.assert_array_equal(upright(picture, slanted), picture)
