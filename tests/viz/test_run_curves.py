"""Curves of several runs: their bins, and the SVG that is written."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from vision_suite.viz.canvas import CURVES
from vision_suite.viz.runs import binned, run_curves, run_style, running_extreme, scheme_css


def series(length, seed=0):
    return np.arange(length, dtype=float), np.random.default_rng(seed).standard_normal(length)


def test_few_points_are_kept_as_they_are():
    steps, values = series(7)
    for found, expected in zip(binned((steps, values), 20), (steps, values, values, values), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_bins_hold_the_mean_and_the_range_of_their_points():
    steps, values = series(1000)
    values[100:130] = np.nan
    values[3] = np.inf
    got = binned((steps, values), 100)
    for number in range(100):
        part = values[10 * number : 10 * number + 10]
        part = part[np.isfinite(part)]
        expected = [part.mean(), part.min(), part.max()] if len(part) else [np.nan] * 3
        np.testing.assert_allclose([each[number] for each in got], [10 * number + 4.5, *expected])


def test_the_band_is_the_range_of_the_window():
    _, values = series(50)
    values[10:14] = np.nan
    for ufunc, expected in ((np.fmin, np.nanmin), (np.fmax, np.nanmax)):
        got = running_extreme(ufunc, values, 3)
        np.testing.assert_array_equal(got, [expected(values[max(0, place - 3) : place + 4]) for place in range(50)])


def test_every_run_of_many_has_a_style_of_its_own():
    styles = [run_style(number) for number in range(1, 43)]
    assert len(set(styles)) == 42
    assert [dashes for _, dashes in styles[:7]] == [()] * 7


@pytest.mark.parametrize("length", [1, 5, 500])
def test_the_picture_is_xml_that_follows_the_scheme_and_names_nothing_outside(length):
    metrics = [{number: series(length, number) for number in (1, 2, 9)}, {2: series(3)}]
    pictures = run_curves(metrics)
    assert pictures == run_curves(metrics)
    for picture in pictures:
        ElementTree.fromstring(picture)
        assert set(re.findall(r"https?://[\w./]*", picture)) <= {
            "http://www.w3.org/2000/svg",
            "http://www.w3.org/1999/xlink",
        }
        drawn = picture.partition("</defs>")[2]
        assert not any(colour.lower() in drawn.lower() for colour in CURVES[:6])
    first, second = (set(re.findall(r"var\(--c\d\)", picture)) for picture in pictures)
    assert first == {"var(--c0)", "var(--c1)"}, "run 9 has the colour of run 2, and dashes"
    assert second == {"var(--c1)"}, "nothing of the first picture is left in the second"
    assert "prefers-color-scheme:dark" in scheme_css("svg")


def test_labels_keep_their_digits():
    (picture,) = run_curves([{1: (np.array([0.0, 1.0]), np.array([0.975, 1.0]))}])
    assert "0.975" in re.findall(r">([\d.]+)</text>", picture)


def test_values_that_are_not_finite_leave_a_gap():
    steps, values = series(10)
    values[4:6] = np.nan
    (whole,) = run_curves([{1: series(10)}])
    (broken,) = run_curves([{1: (steps, values)}])
    lines = [max(re.findall(r' d="([^"]+)"', text), key=lambda path: path.count("L")) for text in (whole, broken)]
    assert [path.count("M") for path in lines] == [1, 2]
    (nothing,) = run_curves([{1: (steps, np.full(10, np.nan))}])
    ElementTree.fromstring(nothing)
