"""Pictures of scanpaths: sizes, colours where something happens, and cases with nothing to divide by."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vision_suite.errors import ConfigError
from vision_suite.viz.scanpath.panels import gaussian_map, heat_maps, scanpath_picture
from vision_suite.viz.scanpath.scores import behaviour_bars, film, hit_curves
from vision_suite.viz.scanpath.stage import (
    HUMAN,
    MARGIN,
    MODEL,
    RADIUS,
    USUAL,
    Backdrop,
    Gaze,
    background,
    beyond_the_edge,
    circle_radii,
    draw_path,
)

BOXES = np.array([[0, 0, 100, 100], [100, 0, 200, 100], [0, 100, 100, 200], [100, 100, 200, 200]], dtype=float)
SCENE = Backdrop((200.0, 200.0), BOXES)


def coloured(picture):
    """Pixels that are neither grey nor nearly so."""
    pixels = np.asarray(picture).astype(int)
    return pixels.max(2) - pixels.min(2) > 60


def like(picture, colour):
    """Pixels near a colour."""
    rgb = np.array([int(colour[n : n + 2], 16) for n in (1, 3, 5)])
    return np.abs(np.asarray(picture).astype(int) - rgb).max(2) < 40


def test_the_area_of_circles_follows_the_duration():
    radii = circle_radii(np.array([0.1, 0.2, 0.3]), 3)
    assert (radii[0], radii[2]) == pytest.approx(RADIUS)
    assert np.ptp(np.diff(radii**2)) == pytest.approx(0, abs=1e-9), "equal steps of duration are equal steps of area"


@pytest.mark.parametrize("duration", [None, np.full(3, 0.2), np.full(3, np.nan), np.array([np.nan, 0.2, np.nan])])
def test_constant_and_unknown_durations_have_the_usual_circle(duration):
    np.testing.assert_array_equal(circle_radii(duration, 3), USUAL)
    picture = scanpath_picture(SCENE, [Gaze(np.full((3, 2), 50.0), "x", HUMAN, duration)], title="t")
    assert like(picture, HUMAN).any()


@given(st.lists(st.one_of(st.floats(0, 60), st.just(float("nan"))), max_size=8))
@settings(max_examples=40, deadline=None)
def test_radii_stay_within_their_bounds(durations):
    radii = circle_radii(np.array(durations), len(durations))
    assert np.isfinite(radii).all()
    assert ((radii >= RADIUS[0] - 1e-9) & (radii <= RADIUS[1] + 1e-9)).all()


def test_circles_stand_where_people_looked_and_never_outside_the_panel():
    over = background(SCENE)
    draw_path(over, SCENE, Gaze(np.array([[50.0, 150.0]]), "", MODEL), 5)
    rows, columns = np.nonzero(like(over, MODEL))
    # The white number in the circle is no longer orange.
    assert (columns.mean(), rows.mean()) == pytest.approx(tuple(SCENE.to_panel(np.array([50.0, 150.0]))), abs=4)
    beyond = background(SCENE)
    draw_path(beyond, SCENE, Gaze(np.array([[-500.0, 5000.0]]), "", MODEL), 5)
    assert like(beyond, MODEL).sum() == pytest.approx(like(over, MODEL).sum(), rel=0.1)


def test_scenes_without_a_picture_show_the_classes_of_their_objects():
    bare = np.asarray(background(SCENE))
    named = Backdrop(SCENE.size, BOXES, labels=("class 0", "class 1", "", "class 0"))
    written = np.asarray(background(named))
    changed = (bare != written).any(axis=2)
    corners = (BOXES * SCENE.scale + MARGIN).round().astype(int)
    cells = [written[y1:y2, x1:x2].astype(int) for x1, y1, x2, y2 in corners]
    marks = [changed[y1:y2, x1:x2] for x1, y1, x2, y2 in corners]
    assert sum(mark.sum() for mark in marks) == changed.sum(), "inside the boxes only"
    assert [bool(mark.any()) for mark in marks] == [True, True, False, True]
    height, width = (min(mark.shape[axis] for mark in marks) for axis in (0, 1))
    for mark in marks:
        rows, columns = np.nonzero(mark)
        if len(rows):
            assert rows.max() < height / 4, "in the upper left, away from circles in the middle"
            assert columns.max() < width / 2
    text = [cell[4:24, 4:60] for cell in cells]
    assert np.array_equal(text[0], text[3]), "one class, one word"
    assert not np.array_equal(text[0], text[1])
    # Over a picture the objects speak for themselves.
    photo = Image.new("RGB", (200, 200), "white")
    shown = [np.asarray(background(replace(scene, picture=photo))) for scene in (SCENE, named)]
    assert np.array_equal(*shown)
    # Boxes too low for a letter have none, and long words are cut to their boxes.
    flat = np.array([[0, 0, 100, 2], [100, 0, 200, 100]], dtype=float)
    cut = (np.asarray(background(Backdrop((200.0, 200.0), flat, labels=("cup", "x" * 99))))
           != np.asarray(background(Backdrop((200.0, 200.0), flat)))).any(axis=2)  # fmt: skip
    assert cut.any()
    assert np.nonzero(cut)[1].min() > MARGIN + 100 * SCENE.scale
    assert np.nonzero(cut)[1].max() < MARGIN + 200 * SCENE.scale


def test_fixations_beyond_the_edge_are_counted_in_the_heading():
    assert (
        beyond_the_edge(SCENE, np.array([[0, 0], [200, 200], [201, 5], [-1, 9], [np.nan, 1]])) == ", 2 beyond the edge"
    )
    assert beyond_the_edge(SCENE, np.empty((0, 2))) == ""
    with pytest.raises(ConfigError, match="sigma=0"):
        heat_maps(SCENE, [("people", HUMAN, np.array([[50.0, 50.0]]))], title="t", sigma=0)


def test_a_circle_never_hides_the_number_of_another():
    over = background(SCENE)
    draw_path(over, SCENE, Gaze(np.full((1, 2), 100.0), "", HUMAN), 9)
    four = background(SCENE)
    draw_path(four, SCENE, Gaze(np.full((4, 2), 100.0), "", HUMAN), 9)
    assert like(four, HUMAN).sum() > 2.5 * like(over, HUMAN).sum()


def test_long_paths_are_cut_and_panels_stand_side_by_side():
    xy = np.random.default_rng(0).uniform(0, 200, (40, 2))
    one = scanpath_picture(SCENE, [Gaze(xy, "a", HUMAN)], title="t")
    two = scanpath_picture(SCENE, [Gaze(xy, "a", HUMAN), Gaze(xy, "b", MODEL)], title="t", note="n")
    assert two.width > 1.8 * one.width
    half = two.width // 2
    assert like(two, HUMAN)[:, :half].sum() > 50 * like(two, HUMAN)[:, half:].sum()
    assert like(two, MODEL)[:, half:].sum() > 50 * like(two, MODEL)[:, :half].sum()
    all_drawn = scanpath_picture(SCENE, [Gaze(xy, "a", HUMAN)], title="t", longest=40)
    assert like(all_drawn, HUMAN).sum() > like(one, HUMAN).sum()


def test_empty_paths_draw():
    picture = scanpath_picture(SCENE, [Gaze(np.empty((0, 2)), "nothing", MODEL)], title="t" * 300)
    assert picture.width > 500


def test_the_picture_is_dimmed_and_placed():
    red = Image.new("RGB", (50, 50), (255, 0, 0))
    over = np.asarray(background(Backdrop((200.0, 200.0), BOXES, picture=red, placement=(100.0, 0.0, 2.0))))
    inside, outside = (
        over[tuple(SCENE.to_panel(np.array(p)).astype(int)[::-1])] for p in ([150.0, 50.0], [50.0, 50.0])
    )
    assert inside[0] == 255
    assert 100 < inside[1] < 180, "paler than the picture"
    assert (outside == 255).all()


def test_objects_are_tinted_by_probability_and_targets_marked():
    over = np.asarray(background(SCENE, np.array([0.7, 0.2, 0.1, 0.0]))).astype(int)
    centres = SCENE.to_panel((BOXES[:, :2] + BOXES[:, 2:]) / 2).astype(int)
    blue = [over[y, x, 2] for x, y in centres]
    assert blue == sorted(blue), "the likelier the less white"
    assert blue[3] == 255
    for targets in ((3,), (0, 1, 2, 3)):
        marked = background(Backdrop((200.0, 200.0), BOXES, targets))
        pixels = np.asarray(marked).astype(int)
        assert (pixels[..., 1] - pixels[..., 0] > 20).any()
    background(SCENE, np.zeros(4))


def test_gaussian_maps_peak_where_points_are():
    density = gaussian_map(np.array([[30.0, 10.0], [30.0, 10.0], [5.0, 40.0]]), (60, 50), 3.0)
    assert density.shape == (50, 60)
    assert density.max() == 1
    row, column = np.unravel_index(density.argmax(), density.shape)
    assert (abs(column + 0.5 - 30), abs(row + 0.5 - 10)) <= (0.5, 0.5)
    assert density[40, 5] == pytest.approx(0.5, abs=0.02)
    assert not gaussian_map(np.empty((0, 2)), (60, 50), 3.0).any()


def test_heat_maps_show_where_fixations_gather():
    picture = heat_maps(
        SCENE, [("people", HUMAN, np.full((5, 2), 50.0)), ("model", MODEL, np.empty((0, 2)))], title="t"
    )
    half = picture.width // 2
    warm = coloured(picture)[60:]
    assert warm[:, :half].sum() > 500
    assert warm[:, half:].sum() < 50


def test_films_frame_what_came_next_and_stop_at_six():
    table = np.tile([0.4, 0.3, 0.2, 0.05, 0.0, 0.05], (9, 1))
    xy = np.tile([[50.0, 50.0]], (8, 1))
    whole = film(SCENE, table, xy, title="t", first=1, truth=[0] * 8)
    short = film(SCENE, table, xy[:3], title="t", first=1, truth=[0, 1, 3])
    assert whole.height > 1.5 * short.height
    background_step = film(SCENE, table, xy[:1], title="t", truth=[4])
    assert background_step.width < whole.width


def test_hit_curves_with_and_without_interval():
    curve = np.stack([np.linspace(0, 1, 8), np.linspace(0, 0.9, 8), np.linspace(0.1, 1, 8)])
    bare = np.stack([np.linspace(0, 1, 8), np.full(8, np.nan), np.full(8, np.nan)])
    both = hit_curves({"model": curve, "human": curve[:, ::-1]}, title="t")
    assert coloured(both).sum() > coloured(hit_curves({"model": bare}, title="t")).sum() > 500
    assert hit_curves({"human": curve[:, :1]}, title="t").width > 800


def test_behaviour_bars_for_one_and_for_many():
    values = {"correct": 0.8, "length": 12.0, "search": 0.7, "refix": 0.2, "revisit": 0.1}
    few = behaviour_bars({"human": values, "model": values}, title="t")
    many = behaviour_bars(
        {n: values for n in ("human", "model", "mode", "random", "next_object", "offsets")}, title="t"
    )
    assert few.size == many.size
    assert like(few, HUMAN).sum() > 1000
    assert like(few, MODEL).sum() > 1000
    assert MARGIN > RADIUS[1]
