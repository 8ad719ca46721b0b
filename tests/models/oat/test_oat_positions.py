"""Position codes against the numbers of the published table and against exact Gaussians."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_suite.errors import ConfigError, DataError
from vision_suite.models.oat.positions import build_position, hermite_features, hermite_rule, sinusoid
from vision_suite.models.oat.positions import sinusoid_frequency as frequency


def code(kind, *points, width=256, **settings):
    """(n, width) codes of (row, column, flag) triples."""
    values = torch.tensor(points, dtype=torch.float64).float()
    return build_position(kind, width, **settings)(values[:, :2], values[:, 2], torch.zeros(len(points), 2))


def cosine(kind, a, b, **settings):
    first, second = code(kind, a, b, **settings).double()
    return float(first @ second / first.norm() / second.norm())


@pytest.mark.parametrize("kind", ["additive_gaussian", "cholesky"])
def test_the_table_has_gaussian_cosines_and_equal_norms(kind):
    table = build_position(kind, 256).table.double()
    assert table.shape == (14, 86)
    torch.testing.assert_close(table.norm(dim=1), torch.full((14,), 8.764, dtype=torch.float64), atol=1e-5, rtol=0)
    place = torch.arange(14, dtype=torch.float64)
    wanted = torch.exp(-((place[:, None] - place) ** 2) / 8)
    torch.testing.assert_close(table @ table.T / 8.764**2, wanted, atol=1e-6, rtol=0)
    published = torch.tensor([1, 0.8825, 0.6066, 0.3247, 0.1354, 0.0441, 0.0114, 0.0025], dtype=torch.float64)
    torch.testing.assert_close(wanted[0, :8], published, atol=6e-4, rtol=0)


def test_a_spread_table_uses_every_column_and_a_triangular_one_the_first():
    spread, triangular = (build_position(kind, 256).table for kind in ("additive_gaussian", "cholesky"))
    assert (spread.abs().amax(dim=0) > 0).all()
    assert (triangular[:, 14:] == 0).all()


@pytest.mark.parametrize("kind", ["additive_gaussian", "cholesky", "gauss_hermite"])
@pytest.mark.parametrize(
    ("a", "b", "published"),
    [
        ((2, 6, 0), (2, 7, 0), 0.96081),
        ((2, 6, 0), (2, 13, 0), 0.66719),
        ((2, 6, 0), (3, 7, 0), 0.92161),
        ((0, 0, 0), (5, 13, 0), 0.34761),
        ((2, 6, 0), (2, 6, 1), 0.96163),
    ],
)
def test_similarity_is_additive_as_in_the_published_table(kind, a, b, published):
    if kind == "gauss_hermite":  # two further axes, both equal here
        published = (3 * published + 2) / 5
    assert cosine(kind, a, b) == pytest.approx(published, abs=3e-3)


def test_hermite_nodes_reach_as_far_as_stated():
    place = torch.arange(0, 13.001, 0.1, dtype=torch.float64)
    exact = torch.exp(-((place[:, None] - place) ** 2) / 8)
    errors = {}
    for count in (8, 16, 32, 43):
        node, weight = (torch.from_numpy(values) for values in hermite_rule(count))
        features = hermite_features(place, node, weight, 2.0)
        assert features.shape[1] == count
        errors[count] = float((features @ features.T - exact).abs().max())
    assert errors[8] == pytest.approx(1.0, abs=0.1)
    assert errors[16] == pytest.approx(0.27, abs=0.02)
    assert errors[32] == pytest.approx(6.5e-7, rel=0.2)
    assert errors[43] < 1e-12


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.floats(-8, 8)] * 4), st.tuples(*[st.floats(-1, 1)] * 4))
def test_gauss_hermite_is_gaussian_anywhere(places, sizes):
    build = build_position("gauss_hermite", 256)
    place, size = torch.tensor(places).double().view(2, 2), torch.tensor(sizes).double().view(2, 2)
    first, second = build(place, torch.tensor([0.0, 1.0]).double(), size)
    gap = torch.cat([place[0] - place[1], size[0] - size[1], torch.ones(1, dtype=torch.float64)])
    wanted = float(torch.exp(-gap.square() / 8).sum()) / 5
    assert float(first @ second / 8.764**2 / 5) == pytest.approx(wanted, abs=1e-6)
    assert build.reach > 25


def test_sinusoid_of_the_steps():
    first = sinusoid(torch.tensor(1), frequency(512))[:4].tolist()
    assert first == pytest.approx([0.841471, 0.540302, 0.821856, 0.569695], abs=1e-6)
    assert first[3] == pytest.approx(math.cos(10000 ** (-2 / 512)))


def test_sinusoids_of_the_axes_stand_side_by_side():
    both = code("sinusoid2d", (2, 6, 1))[0]
    wanted = [sinusoid(torch.tensor(float(v)), frequency(86)) for v in (2, 6, 1)]
    torch.testing.assert_close(both, torch.cat(wanted)[:256].float())


def test_learned_fourier_learns():
    build = build_position("learned_fourier", 32)
    build(torch.rand(5, 2), torch.zeros(5), torch.rand(5, 2)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in build.parameters())
    build = build_position("learned_fourier", 4096)  # cos and sin of random frequencies: a Gaussian on average
    angle = torch.tensor([[0.0] * 5, [2.0, 0, 0, 0, 0]]) @ build.frequency
    assert (angle[0] - angle[1]).cos().mean().item() == pytest.approx(math.exp(-0.5), abs=0.05)


@pytest.mark.parametrize("kind", ["additive_gaussian", "cholesky", "gauss_hermite", "sinusoid2d", "learned_fourier"])
def test_every_code_has_its_width(kind):
    assert code(kind, (1, 2, 0), (0, 0, 1), width=38, count=5).shape == (2, 38)


def test_the_flag_may_be_stronger():
    assert cosine("cholesky", (2, 6, 0), (2, 6, 1), flag_step=6) == pytest.approx((2 + math.exp(-36 / 8)) / 3, abs=1e-6)


def test_what_cannot_be_coded_is_refused():
    with pytest.raises(DataError, match="whole numbers from 0 to 13"):
        code("cholesky", (0, 14, 0))
    with pytest.raises(DataError, match="gauss_hermite"):
        code("cholesky", (0, 1.5, 0))
    with pytest.raises(ConfigError, match="1 to 11"):
        build_position("cholesky", 32, count=12)
    with pytest.raises(ConfigError, match="not known"):
        build_position("rotary", 32)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="sigma"):
        build_position("cholesky", 32, count=4, sigma=0)
