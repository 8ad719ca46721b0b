"""ScanMatch against the numbers of the reference programs, and a plain loop with their odd first row."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.scanpath import multimatch, scanmatch, scanmatches, stde, substitution_matrix
from vision_suite.metrics.scanpath.pairwise.symbols import grid_cells, repeats

P1 = [(100, 100, 0.20), (300, 150, 0.25), (350, 400, 0.15), (700, 420, 0.30), (640, 200, 0.22)]
P2 = [(120, 110, 0.22), (310, 170, 0.20), (600, 400, 0.35), (660, 220, 0.25)]
SCREEN, BINS = (1024, 768), (12, 8)


def small(path):
    return np.array(path) * (320 / 1024, 240 / 768, 1)


def loop_scanmatch(a, b, gains, threshold, gap):
    table = np.zeros((len(a) + 1, len(b) + 1))
    table[:, 0], table[0] = gap * np.arange(1, len(a) + 2), gap * np.arange(1, len(b) + 2)
    for i in range(len(a)):
        for j in range(len(b)):
            diagonal = table[i, j] + gains[a[i], b[j]]
            table[i + 1, j + 1] = max(diagonal, table[i, j + 1] + gap, table[i + 1, j] + gap)
    return table.max() / (threshold * max(len(a), len(b)))


@pytest.mark.parametrize(
    ("settings_", "expected"),
    [
        ({}, 0.7428571429),
        ({"temp_bin": 0.1}, 0.7532467532),
        ({"temp_bin": 0.05}, 0.7467532468),
        ({"gap": -1}, 0.6285714286),
    ],
)
def test_oracles(settings_, expected):
    assert scanmatch(P1, P2, SCREEN, BINS, 3.5, **settings_) == pytest.approx(expected, abs=1e-9)
    assert scanmatch(P2, P1, SCREEN, BINS, 3.5, **settings_) == pytest.approx(expected, abs=1e-9)


def test_oracles_on_a_small_screen():
    assert scanmatch(small(P1), small(P2), (320, 240)) == pytest.approx(0.7428571429)
    assert scanmatch(small(P1), small(P2), (320, 240), temp_bin=0.05) == pytest.approx(0.7402597403)


def test_bins():
    for path, screen, bins, expected in [
        (P1, SCREEN, BINS, [13, 15, 52, 56, 31]),
        (P2, SCREEN, BINS, [13, 15, 55, 31]),
        (small(P1), (320, 240), (16, 12), [17, 36, 101, 106, 58]),
        (small(P2), (320, 240), (16, 12), [17, 36, 105, 58]),
        ([(-10, -5), (600, 400), (256, 160)], (512, 320), (16, 12), [0, 191, 104]),
    ]:
        assert grid_cells(np.array(path, dtype=float)[:, :2], np.array(screen, dtype=float), bins).tolist() == expected


def test_points_outside_count_for_the_border():
    outside, border = [(-10, -5), (600, 400), (256, 160)], [(0, 0), (511, 319), (256, 160)]
    assert scanmatch(outside, border, (512, 320)) == 1
    assert scanmatch(border[:1], border[1:2], (512, 320)) == 0


def test_substitution():
    gains = substitution_matrix(BINS, 3.5)
    assert gains.shape == (96, 96)
    assert gains.max() == 3.5
    assert gains.min() == pytest.approx(-9.5384048, abs=1e-7)
    np.testing.assert_array_equal(gains, gains.T)
    np.testing.assert_array_equal(np.diag(gains), 3.5)


def test_repetition():
    assert repeats([row[2] for row in P1], 0.05, rounded=True).sum() == 22
    assert repeats([row[2] for row in P2], 0.05, rounded=True).sum() == 20
    # Halves go to the even neighbour, as NumPy rounds.
    assert repeats([0.125, 0.175, 0.024], 0.05, rounded=True).tolist() == [2, 4, 0]


def test_edge_cases():
    assert scanmatch([], [], SCREEN) == 1
    assert scanmatch([], P1, SCREEN) == 0
    assert scanmatch(P1, [], SCREEN, gap=-1) == 0
    assert scanmatch(P1, P1, SCREEN, BINS) == 1
    assert scanmatch(P1[:1], P1[:1], SCREEN) == 1
    unknown = [(100, 100, np.nan), (300, 150, 0.2)]
    assert np.isnan(scanmatch(unknown, P1, SCREEN, temp_bin=0.05))
    assert np.isnan(scanmatch([point[:2] for point in P1], P1, SCREEN, temp_bin=0.05))
    assert scanmatch(unknown, unknown, SCREEN) == 1
    # 20 ms write no symbol of 50 ms, and two paths of such fixations are equal only by that.
    short, other = [(100, 100, 0.02), (300, 150, 0.02)], [(900, 700, 0.02), (640, 200, 0.01)]
    assert np.isnan(scanmatch(short, other, SCREEN, temp_bin=0.05))
    assert np.isnan(scanmatch(short, P1, SCREEN, temp_bin=0.05))
    assert np.isnan(scanmatch(short, [], SCREEN, temp_bin=0.05))
    assert scanmatch([], [], SCREEN, temp_bin=0.05) == 1
    assert scanmatch(short, other, SCREEN, temp_bin=0.02) < 1


def test_units_of_points():
    far = [(5000, 5000), (6000, 9000)], [(7000, 5000), (9000, 9000)]
    with pytest.warns(UserWarning, match="4 of 4 fixations lie outside the screen of 1024 x 768 pixels and count at"):
        assert scanmatch(*far, SCREEN) == 1, "clamped into the last bin, as published"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scanmatch([*P1, *P2, (1024, 768, 0.1), (1025, 0, 0.1)], P1, SCREEN)  # one of a few: the border is inside
    shares = [(0.1, 0.1), (0.2, 0.9)], [(0.9, 0.9), (0.5, 0.1)]
    for score in (scanmatch, multimatch, stde):
        with pytest.raises(DataError, match="all 4 fixations have coordinates from 0 to 1 on a screen of 1024 x 768"):
            score(*shares, SCREEN)
    # On a screen of one pixel all whole pixels are equal.
    with pytest.raises(ConfigError, match=r"bins=\(16, 12\) on a screen of 1 x 1 pixels"):
        scanmatch(*shares, (1, 1))
    assert stde(*shares, (1, 1)) < 1, "distances need no whole pixels"


@pytest.mark.filterwarnings("ignore:.*lie outside the screen")
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, -0.7, -1.0]), st.sampled_from([None, 0.1]))
def test_many_pairs_equal_a_loop(seed, gap, temp_bin):
    generator = np.random.default_rng(seed)
    paths = [
        np.column_stack([generator.uniform(-20, 700, (n, 2)), generator.uniform(0.06, 0.5, n)])
        for n in generator.integers(1, 8, 6)
    ]
    pairs = [(i, j) for i in range(6) for j in range(6)]
    found = scanmatches(paths, pairs, (640, 480), BINS, 3.5, temp_bin, gap)
    strings = []
    for path in paths:
        cells = grid_cells(path[:, :2], np.array([640.0, 480.0]), BINS)
        strings.append(cells if temp_bin is None else np.repeat(cells, repeats(path[:, 2], temp_bin, rounded=True)))
    gains = substitution_matrix(BINS, 3.5)
    expected = [loop_scanmatch(strings[i], strings[j], gains, 3.5, gap) for i, j in pairs]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("settings_", "error", "message"),
    [
        ({"temp_bin": 50}, ConfigError, "temp_bin=50 must be in seconds, above 0 and at most 1: 50 ms are 0.05"),
        ({"temp_bin": 10}, ConfigError, "temp_bin=10 must be in seconds"),
        ({"temp_bin": 1.001}, ConfigError, "temp_bin=1.001 must be in seconds"),
        ({"temp_bin": float("nan")}, ConfigError, "temp_bin=nan must be in seconds"),
        ({"threshold": float("nan")}, ConfigError, "threshold=nan"),
        ({"gap": float("nan")}, ConfigError, "gap=nan"),
        ({"temp_bin": 0}, ConfigError, "temp_bin=0 must be in seconds"),
        ({"gap": 1}, ConfigError, "rewards gaps"),
        ({"bins": (0, 8)}, ConfigError, r"bins=\(0, 8\)"),
        ({"bins": (1.5, 8)}, ConfigError, r"bins=\(1.5, 8\)"),
        ({"bins": 5}, ConfigError, "bins=5"),
        ({"threshold": 0}, ConfigError, "threshold=0"),
        ({"screen_size": (-1, 5)}, DataError, "screen_size"),
        ({"screen_size": (np.inf, 5)}, DataError, "screen_size"),
    ],
)
def test_settings_are_checked(settings_, error, message):
    with pytest.raises(error, match=message):
        scanmatch(P1, P2, **{"screen_size": SCREEN, **settings_})
