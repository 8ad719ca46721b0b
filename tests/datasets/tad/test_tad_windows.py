"""Cells, seconds and windows: nothing lost, nothing twice, one rule in both directions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_suite.datasets.tad.annotations import Video
from vision_suite.datasets.tad.sampling import FeatureInfo
from vision_suite.datasets.tad.stream import windows_of
from vision_suite.datasets.tad.windows import compare_lengths, row_clock, stride_of, whole_clock, window_starts
from vision_suite.errors import ConfigError, DataError
from vision_suite.ops.windows import WindowCutter


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 400), st.integers(1, 130), st.floats(0, 0.95))
def test_windows_see_every_row_and_none_is_there_twice(rows, length, overlap):
    stride = stride_of(length, overlap)
    starts = window_starts(rows, length, stride)
    assert len(set(starts)) == len(starts)
    assert starts == sorted(starts)
    seen = set()
    for start in starts:
        assert start + length <= rows or rows < length
        seen |= set(range(start, min(start + length, rows)))
    assert seen == set(range(rows))


def test_published_losses_do_not_happen():
    assert window_starts(190, 128, 96) == [0, 62]
    assert window_starts(192, 128, 64) == [0, 64]


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 200), st.integers(1, 40), st.floats(0, 0.9), st.integers(0, 10**6))
def test_a_stream_gives_the_same_windows_whatever_its_pieces(rows, length, overlap, seed):
    values = np.arange(rows, dtype=np.float32)[:, None]
    stride = stride_of(length, overlap)
    rng = np.random.default_rng(seed)
    cutter, found, at = WindowCutter(length, stride), [], 0
    most = 0
    while at < rows:
        size = int(rng.integers(1, 3 * length + 1))
        piece = values[at : at + size].copy()
        found += cutter.feed(piece)
        piece[:] = -1  # a reader fills its buffer again
        most = max(most, cutter.held)
        at += size
    found.append(cutter.close())
    assert [start for start, _ in found] == window_starts(rows, length, stride)
    for start, part in found:
        np.testing.assert_array_equal(part, values[start : start + length])
    assert most <= 4 * length + stride


def test_a_stream_without_rows_is_one_line():
    with pytest.raises(DataError, match="without a row"):
        WindowCutter(4, 2).close()


def test_time_of_resized_and_of_windowed_features():
    video = Video("a", "t", duration=14.07, frames=422)
    resized = whole_clock(video, 100, FeatureInfo(resized=True), 100)
    assert resized.seconds(100) == pytest.approx(14.07)
    # 26 snippets of 16 frames cover 416 of 422 frames.
    covered = whole_clock(video, 26, FeatureInfo(stride=16, clip=16), 100)
    assert covered.seconds(100) == pytest.approx(416 / 422 * 14.07)
    # Features that reach beyond the end are capped at the duration.
    assert whole_clock(video, 27, FeatureInfo(stride=16, clip=16), 100).seconds(100) == pytest.approx(14.07)
    rows = row_clock(Video("b", "t", 60.0, 1800), 400, FeatureInfo(fps=None, stride=4, clip=16, offset=8))
    assert rows.seconds(10) == pytest.approx((10 * 4 + 8) / 30)
    assert rows.after(5).seconds(5) == pytest.approx((10 * 4 + 8) / 30)


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 100), st.integers(1, 500), st.floats(1, 60), st.floats(1, 32))
def test_seconds_and_cells_are_inverse(cell, rows, fps, stride):
    clock = row_clock(Video("a", "t", float("nan")), rows, FeatureInfo(fps=fps, stride=stride, clip=16))
    cell = min(cell, rows)
    assert clock.cell(clock.seconds(cell)) == pytest.approx(cell, abs=1e-6)


def test_unknown_times_are_one_line():
    with pytest.raises(DataError, match="has no duration"):
        row_clock(Video("a", "t", float("nan")), 5, FeatureInfo(resized=True))
    with pytest.raises(DataError, match="its own frame rate is needed"):
        row_clock(Video("a", "t", 10.0), 5, FeatureInfo(stride=16, clip=16))
    with pytest.raises(ConfigError, match="must be from 0 to below 1"):
        stride_of(10, 1.0)


def test_rows_must_fit_the_duration():
    """A row is a second; clips of 2 seconds leave the last one out, or see beyond the end."""
    info = FeatureInfo(fps=8, stride=8, clip=16, offset=4)

    def lead(duration, rows):
        return compare_lengths([Video("a", "t", duration)], [rows], info)

    assert lead(101.0, 99) == {}
    assert lead(101.0, 97) == {"a": -3.5}
    assert lead(101.0, 104) == {"a": 3.5}
    assert lead(float("nan"), 5) == {}
    assert lead(3.0, 1) == {}, "half a video, but within a clip"
    assert compare_lengths([Video("a", "t", 100.0)], [5], FeatureInfo(resized=True)) == {}
    with pytest.raises(DataError, match=r"of 1 of 1 videos don't fit.*'a' \(10 rows cover 10.5 s of 30 s\)"):
        lead(30.0, 10)
    with pytest.raises(DataError, match=r"rows cover 60.5 s of 30 s\).*correct fps"):
        lead(30.0, 60)


def test_horizons_of_a_stream():
    video, info = Video("a", "t", 100.0), FeatureInfo(fps=1, stride=1, clip=1)
    values = np.zeros((25, 2), dtype=np.float32)
    windows = list(windows_of([values], lambda count: row_clock(video, count, info), 10, 5))
    assert [w.clock.origin for w in windows] == [0, 5, 10, 15]
    assert [w.horizon for w in windows] == [5, 10, 15, float("inf")]
