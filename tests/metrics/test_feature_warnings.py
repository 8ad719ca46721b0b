"""Warnings about features: hand-made faults, and networks without a fault."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch

from vision_suite.errors import DataError
from vision_suite.metrics.feature_warnings import feature_warnings


def good(rows: int = 2500, width: int = 8) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32)


def test_good_features_get_no_line() -> None:
    features = good()
    assert feature_warnings(features) == []
    assert feature_warnings(torch.from_numpy(features).bfloat16()) == []
    assert feature_warnings(features.astype(np.float64) * 1e200) == []
    assert feature_warnings(features * 1e30) == []  # the squares overflow in float32
    assert feature_warnings(features[:1]) == []
    assert feature_warnings(features[:0]) == []
    assert feature_warnings(features + 30) == []  # cosines near one, and yet ordered


def test_rows_that_are_not_finite_and_zero_rows_are_counted() -> None:
    features = good()
    features[3, 1], features[2400, 0], features[2401, 7] = np.nan, np.inf, -np.inf
    features[10:15] = 0
    features[1024:2048] = 0
    lines = feature_warnings(features, "query features")
    assert len(lines) == 2
    assert lines[0].startswith("3 of 2500 query features are not finite")
    assert lines[1].startswith("1029 of 2500 query features are all zero")
    assert all("\n" not in line for line in lines)


def test_equal_rows() -> None:
    features = good(20)
    features[:] = features[0]
    assert feature_warnings(features)[0].startswith("20 of 20 features are equal")
    features = good(20)
    features[:11] = features[0]
    assert feature_warnings(features)[0].startswith("11 of 20 features are equal")
    features = good(20)
    features[:10] = features[0]
    assert feature_warnings(features) == []
    features = good(4)
    features[:3] = features[0]  # a handful of pictures, of which some are the same
    assert feature_warnings(features) == []
    assert feature_warnings(np.full((5, 1), 2.0)) != []
    assert feature_warnings(np.arange(1, 6)[:, None]) == []  # one dimension has no direction


def test_collapsed_rows() -> None:
    noise = good()
    centre = np.ones(8, np.float32)
    assert feature_warnings(centre + 1e-2 * noise) == []
    for scale in (5e-4, 1e-5):
        (line,) = feature_warnings(centre + scale * noise)
        assert "2500 of 2500 features are collapsed" in line
        # The noise across the centre has 7 of 8 dimensions, and the centre's length is sqrt(8).
        assert float(line.split(" by ")[1].split(" of ")[0]) == pytest.approx(scale * np.sqrt(7 / 8), rel=0.06)
    lengths = np.random.default_rng(1).uniform(1, 9, (50, 1))
    (line,) = feature_warnings(lengths * np.arange(1, 9))  # one direction, several lengths
    assert "collapsed" in line


def test_a_shape_that_is_not_rows() -> None:
    with pytest.raises(DataError, match=r"\(5,\).*\(N, D\)"):
        feature_warnings(np.zeros(5))


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet18"])
def test_networks_with_random_weights_get_no_line(name: str) -> None:
    torch.manual_seed(0)
    size = {"img_size": 32} if name.startswith("vit") else {}
    network = timm.create_model(name, pretrained=False, num_classes=0, **size).eval()
    coarse = torch.rand(12, 3, 4, 4)  # smooth pictures, as photographs are
    pictures = torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear")
    with torch.inference_mode():
        features = network(pictures)
    assert feature_warnings(features) == []
