"""MultiMatch against the numbers of multimatch_gaze 0.1.3, hand calculations, and the package itself."""

import multimatch_gaze
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.scanpath import Simplify, multimatch, multimatches
from vision_suite.metrics.scanpath.pairwise.multimatch import _cheapest_paths
from vision_suite.metrics.scanpath.pairwise.simplify import saccades_of

P1 = [(100, 100, 0.20), (300, 150, 0.25), (350, 400, 0.15), (700, 420, 0.30), (640, 200, 0.22)]
P2 = [(120, 110, 0.22), (310, 170, 0.20), (600, 400, 0.35), (660, 220, 0.25)]
RIGHT = [(0, 0, 0.1), (100, 0, 0.1), (200, 0, 0.1)]
DOWN = [(0, 0, 0.1), (0, 100, 0.1), (0, 200, 0.1)]
STILL = [(256, 160, 0.2), (256, 160, 0.2), (400, 100, 0.3)]
G1 = [(100, 100, 0.30), (200, 110, 0.04), (300, 115, 0.04), (600, 400, 0.30), (620, 410, 0.04), (640, 300, 0.30)]
G2 = [(100, 100, 0.30), (300, 120, 0.30), (610, 405, 0.30), (640, 300, 0.30)]
GROUP = Simplify(TDir=45, TDur=0.3, TAmp=100)


def random_path(generator, low=3, high=12):
    count = generator.integers(low, high)
    return np.column_stack([generator.uniform(0, 800, (count, 2)), generator.uniform(0.03, 0.6, count)])


@pytest.mark.parametrize(
    ("a", "b", "screen", "simplify", "expected"),
    [
        (P1, P2, (1024, 768), None, (0.9326378119, 0.8087843474, 0.9773974324, 0.8881362190, 0.8685714286)),
        (P2, P1, (1024, 768), None, (0.9326378119, 0.8087843474, 0.9773974324, 0.8881362190, 0.8685714286)),
        (P1, P2, (512, 320), None, (0.8571924468, 0.8087843474, 0.9520826526, 0.7628492585, 0.8685714286)),
        (RIGHT, DOWN, (300, 400), None, (0.8585786438, 0.5, 1, 0.8585786438, 1)),
        (RIGHT, RIGHT[::-1], (300, 400), None, (0.8, 0, 1, 0.8, 1)),
        (STILL, RIGHT, (512, 320), None, (0.9277858636, 0.9371670418, 0.8708127584, 0.5649445403, 0.5)),
        (G1, G2, (1280, 720), None, (0.9657842744, 0.9841767338, 0.9408683876, 0.9923871010, 0.1333333333)),
        (G1, G2, (1280, 720), GROUP, (0.9351114786, 0.9353873725, 0.8896943269, 0.9923871010, 1)),
        (RIGHT[:2], RIGHT, (300, 400), None, (np.nan,) * 5),
        ([], RIGHT, (300, 400), None, (np.nan,) * 5),
        ([], [], (300, 400), None, (np.nan,) * 5),
    ],
)
def test_oracles(a, b, screen, simplify, expected):
    np.testing.assert_allclose(multimatch(a, b, screen, simplify), expected, atol=1e-9)


def test_values_have_names():
    result = multimatch(P1, P2, (1024, 768))
    assert result._fields == ("vector", "direction", "length", "position", "duration")
    assert result.position == pytest.approx(0.8881362190)


def test_padding_with_ones_reproduces_old_numbers():
    expected = (0.921388, 0.864545, 0.887240, 0.827063)
    np.testing.assert_allclose(multimatch(P1[:2], P2, (1024, 768), short="pad_ones")[:4], expected, atol=1e-6)
    assert multimatch(P1[:2], P1[:2], (1024, 768), short="pad_ones") == (1, 1, 1, 1, 1)
    with pytest.raises(ConfigError, match="short='ones'"):
        multimatch(P1, P2, (1024, 768), short="ones")


def test_unknown_durations_spare_the_other_dimensions():
    without = [point[:2] for point in P1]
    np.testing.assert_allclose(multimatch(without, P2, (1024, 768))[:4], multimatch(P1, P2, (1024, 768))[:4])
    assert np.isnan(multimatch(without, P2, (1024, 768)).duration)
    # Only durations of starting fixations on the path count: the last one has no saccade.
    assert multimatch([*P1[:4], (640, 200, np.nan)], P2, (1024, 768)).duration == pytest.approx(0.8685714286)
    no_time = np.array(P1) * (1, 1, 0)
    assert multimatch(no_time, no_time, (1024, 768)).duration == 1


@pytest.mark.parametrize("simplify", [None, GROUP])
def test_many_pairs_equal_one_by_one(simplify):
    generator = np.random.default_rng(3)
    paths = [random_path(generator, 0, 12) for _ in range(25)]
    sizes = generator.uniform(800, 1000, (25, 2))
    pairs = generator.integers(0, 25, (150, 2))
    found = multimatches(paths, pairs, sizes, simplify)
    one_by_one = [multimatch(paths[i], paths[j], tuple(sizes[i]), simplify) for i, j in pairs]
    np.testing.assert_array_equal(found, one_by_one)
    short = np.array([min(len(paths[i]), len(paths[j])) < 3 for i, j in pairs])
    np.testing.assert_array_equal(np.isnan(found).any(axis=1), short)
    assert 0 < short.sum() < len(short)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_properties(seed):
    generator = np.random.default_rng(seed)
    a, b = random_path(generator), random_path(generator)
    there = np.array(multimatch(a, b, (800, 800)))
    assert multimatch(a, a, (800, 800)) == (1, 1, 1, 1, 1)
    np.testing.assert_allclose(there, multimatch(b, a, (800, 800)), atol=1e-12)
    assert ((there >= 0) & (there <= 1)).all()
    move = np.array([50, -20, 0])
    shifted = np.array(multimatch(a + move, b + move, (800, 800)))
    np.testing.assert_allclose(there, shifted, atol=1e-9)
    scaled = np.array(multimatch(a * (2, 2, 1), b * (2, 2, 1), (1600, 1600)))
    np.testing.assert_allclose(there, scaled, atol=1e-9)


def test_cheapest_way_is_the_cheapest_of_all():
    generator = np.random.default_rng(1)
    ends = np.array([[1, 1], [1, 4], [3, 1], [3, 4], [4, 4], [2, 3]])
    cost = generator.uniform(0, 1, (len(ends), 4, 4))

    def ways(row, column):
        if row == column == 0:
            return [[(0, 0)]]
        steps = [(row - 1, column), (row, column - 1), (row - 1, column - 1)]
        return [[*way, (row, column)] for r, c in steps if r >= 0 and c >= 0 for way in ways(r, c)]

    rows, columns, used = _cheapest_paths(cost, ends[:, 0], ends[:, 1])
    for table, end, row, column, on in zip(cost, ends, rows, columns, used, strict=True):
        best = min(ways(*(end - 1)), key=lambda way: sum(table[cell] for cell in way[1:]))
        assert list(zip(row[on].tolist(), column[on].tolist(), strict=True))[::-1] == best


def test_simplification_keeps_both_ends_where_the_last_saccade_is_long():
    saccades = saccades_of(np.array(G1), GROUP)
    np.testing.assert_allclose(saccades[0, :2], G1[0][:2])
    np.testing.assert_allclose(saccades[:, 2:4].sum(axis=0), np.subtract(G1[-1][:2], G1[0][:2]))
    assert len(saccades) < len(G1) - 1
    np.testing.assert_array_equal(saccades_of(np.array(G1), Simplify(0, 0, 0)), saccades_of(np.array(G1)))


def test_zero_length_saccades_have_no_direction_to_merge():
    still = np.array([(0, 0, 0.1), (0, 0, 0.1), (500, 0, 0.1), (500, 0, 0.1), (500, 400, 0.1)])
    assert len(saccades_of(still, Simplify(180, 1, 0))) == 4


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ([1, 2, 3], r"has shape \(3,\)"),
        ([(1, 2, 3, 4)] * 3, r"has shape \(3, 4\)"),
        ([(0, np.nan, 0.1)] * 3, "not finite"),
        ([(0, 0, 250)] * 3, "divide milliseconds by 1000"),
    ],
)
def test_malformed_paths_are_refused(path, message):
    with pytest.raises(DataError, match=message):
        multimatch(path, P2, (1024, 768))
    with pytest.raises(DataError, match="screen_size"):
        multimatch(P1, P2, (1024, 0))


@pytest.mark.parametrize(
    ("limits", "message"), [((200,), "TDir=200"), ((45, 300), "300 ms are 0.3"), ((45, 0.3, -1), "TAmp=-1"),
                            ((np.nan,), "TDir=nan"), ({"TDur": 50}, "TDur=50 must be seconds")]
)  # fmt: skip
def test_thresholds_out_of_range_are_refused(limits, message):
    with pytest.raises(ConfigError, match=message):
        multimatch(P1, P2, (1024, 768), limits)


@pytest.mark.parametrize("simplify", [None, GROUP, Simplify(60, 0.2, 250)])
def test_equals_the_package(simplify):
    generator = np.random.default_rng(7)
    kinds = [("start_x", float), ("start_y", float), ("duration", float)]
    compared = 0
    for _ in range(60):
        a, b = random_path(generator), random_path(generator)
        records = [np.array([tuple(row) for row in path], dtype=kinds) for path in (a, b)]
        limits = {} if simplify is None else {"grouping": True, **vars(simplify)}
        try:
            expected = multimatch_gaze.docomparison(*records, [800, 800], **limits)
        except IndexError:  # its simplification fails on a single short saccade
            continue
        np.testing.assert_allclose(multimatch(a, b, (800, 800), simplify), expected, atol=1e-12)
        compared += 1
    assert compared > 40


def test_thresholds_by_name_or_in_order():
    expected = multimatch(G1, G2, (1280, 720), GROUP)
    assert multimatch(G1, G2, (1280, 720), {"TDir": 45, "TDur": 0.3, "TAmp": 100}) == expected
    assert multimatch(G1, G2, (1280, 720), (45, 0.3, 100)) == expected
    for wrong in (True, {"TDirection": 45}, (1, 2, 3, 4)):
        with pytest.raises(ConfigError, match="is unknown: give Simplify"):
            multimatch(G1, G2, (1280, 720), wrong)


@pytest.mark.parametrize("path", ["abc", [(1, 2), (1, 2, 3)], [None, 1]])
def test_what_is_no_table_of_numbers_is_one_line(path):
    with pytest.raises(DataError, match=r"scanpath 0 (is no table of numbers|has shape)"):
        multimatch(path, [(1, 1, 0.1)] * 3, (100, 100))
