"""Augmentation on batches: each step against an independent computation, and determinism."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import map_coordinates
from timm.data.random_erasing import RandomErasing

from vision_suite.datasets.pictures import transforms
from vision_suite.datasets.pictures.images import Interpolation, Reader
from vision_suite.datasets.pictures.transforms import LIGHT, TRANSREID, Augment, Prepare
from vision_suite.errors import ConfigError

HALF = (0.5, 0.5, 0.5)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(count=8, height=24, width=16, seed=0):
    return torch.randint(256, (count, 3, height, width), dtype=torch.uint8, generator=seeded(seed))


def test_evaluation_is_centre_crop_and_normalisation_and_draws_nothing():
    generator = seeded(3)
    before = generator.get_state()
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    images = pictures(height=30, width=21)
    out = Prepare((24, 16), mean, std, None)(images, generator)
    cropped = images[:, :, 3:27, 2:18].numpy() / 255
    expected = (cropped - np.array(mean)[:, None, None]) / np.array(std)[:, None, None]
    np.testing.assert_allclose(out.numpy(), expected, atol=1e-5)
    assert out.dtype == torch.float32
    assert torch.equal(generator.get_state(), before)


def test_transreid_order_each_picture_is_a_padded_crop_maybe_mirrored_maybe_erased():
    images = pictures(40)
    out = Prepare((24, 16), HALF, HALF, TRANSREID)(images, seeded(1))
    padded = np.full((40, 3, 44, 36), 0, np.uint8)
    padded[:, :, 10:34, 10:26] = images.numpy()
    mirrored = erased = 0
    for picture, result in zip(padded, out.numpy(), strict=True):
        best, flipped = 1.0, False
        for flip in (False, True):
            source = picture[..., ::-1] if flip else picture
            for top in range(21):
                for left in range(21):
                    window = source[:, top : top + 24, left : left + 16] / 127.5 - 1
                    wrong = (np.abs(window - result) > 1e-4).any(axis=0).mean()
                    if wrong < best:
                        best, flipped = wrong, flip
        mirrored += flipped
        erased += best > 0
        assert best <= 1 / 3 + 0.1, "apart from the erased box, the pixels are those of one crop"
    assert 10 <= mirrored <= 30
    assert 10 <= erased <= 30


def test_the_input_batch_is_not_changed():
    images = pictures()
    copy = images.clone()
    for augment in (TRANSREID, LIGHT, None):
        Prepare((24, 16), HALF, HALF, augment)(images, seeded())
        assert torch.equal(images, copy)


@given(st.integers(0, 2**31), st.sampled_from([TRANSREID, LIGHT, Augment(pad=0, hflip=1.0)]))
@settings(max_examples=20, deadline=None)
def test_the_result_depends_on_the_generator_alone(seed, augment):
    prepare = Prepare((24, 16), HALF, HALF, augment)
    torch.manual_seed(seed)
    state = torch.get_rng_state()
    first = prepare(pictures(), seeded(seed))
    torch.manual_seed(seed + 1)
    assert torch.equal(first, prepare(pictures(), seeded(seed)))
    torch.set_rng_state(state)


def test_flip_probability_ends():
    images = pictures()
    assert torch.equal(transforms.flip(images, 0.0, seeded()), images)
    assert torch.equal(transforms.flip(images, 1.0, seeded()), images.flip(-1))


def test_crops_reach_every_place():
    ramp = torch.arange(9, dtype=torch.uint8).view(1, 1, 3, 3).expand(400, 3, 3, 3)
    corners = {int(c[0, 0, 0]) for c in transforms.pad_and_crop(ramp, 0, (2, 2), seeded())}
    assert corners == {0, 1, 3, 4}


def reference_affine(picture, scale, angle, shift_x, shift_y, fill):
    """The same map by scipy: centre the pixel grid, undo shift, rotation and zoom, sample bilinearly."""
    _, height, width = picture.shape
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float64)
    x = xs - (width - 1) / 2 - shift_x * width
    y = ys - (height - 1) / 2 - shift_y * height
    source_x = (math.cos(angle) * x + math.sin(angle) * y) / scale + (width - 1) / 2
    source_y = (-math.sin(angle) * x + math.cos(angle) * y) / scale + (height - 1) / 2
    grid = np.stack([source_y, source_x])
    return np.stack([map_coordinates(c - fill, grid, order=1, mode="grid-constant", cval=0.0) + fill for c in picture])


@pytest.mark.parametrize("shape", [(16, 16), (24, 12), (10, 20)])
def test_affine_matches_an_independent_resampling(shape):
    augment = Augment(hflip=0, pad=0, erase=0, scale=(0.8, 1.3), rotation=0.4, shift=0.2, fill=255)
    images = pictures(6, *shape).float()
    out = transforms.affine(images - 255, augment, seeded(5)) + 255
    draws = torch.rand(4, 6, generator=seeded(5)).double().numpy()
    for n in range(6):
        scale, angle = 0.8 + 0.5 * draws[0, n], (2 * draws[1, n] - 1) * 0.4
        dx, dy = (2 * draws[2:, n] - 1) * 0.2
        expected = reference_affine(images[n].numpy(), scale, angle, dx, dy, 255)
        np.testing.assert_allclose(out[n].numpy(), expected, atol=0.05)


def test_affine_without_change_is_the_identity_and_white_enters_at_the_border():
    images = pictures(3, 16, 16).float()
    same = transforms.affine(images.clone(), Augment(), seeded())
    np.testing.assert_allclose(same.numpy(), images.numpy(), atol=1e-2)
    black = torch.zeros(64, 3, 16, 16, dtype=torch.uint8)
    out = Prepare((16, 16), (0.25, 0.5, 0.5), (0.25, 0.5, 1.0), LIGHT)(black, seeded())
    assert out.amax((0, 2, 3)).tolist() == pytest.approx([3, 1, 0.5], abs=1e-5)
    assert out[:, :, 7:9, 7:9].amax((0, 2, 3)).tolist() == pytest.approx([-1, -1, -0.5], abs=1e-5)


def test_colours_change_by_an_affine_map_of_each_picture():
    """Fitted back from the pixels: one map of the colours a picture, near the identity, of its own."""
    pixels = pictures(3, 8, 8).float()
    maps = []
    for before, after in zip(pixels, transforms.recolour(pixels.clone(), 0.1, seeded(2)), strict=True):
        columns = np.concatenate([before.double().reshape(3, -1).T, np.ones((64, 1))], axis=1)
        fitted, residual, *_ = np.linalg.lstsq(columns, after.double().reshape(3, -1).T.numpy(), rcond=None)
        assert residual.max() < 1e-3
        assert 0.01 < np.abs(fitted[:3] - np.eye(3)).max() < 0.8
        grey = np.array([127.5, 127.5, 127.5, 1]) @ fitted
        assert np.ptp(grey) < 1e-2, "middle grey stays grey"
        assert abs(grey[0] - 127.5) <= 255 * 0.1 * 2 / 3
        maps.append(fitted)
    assert np.abs(maps[0] - maps[1]).max() > 0.01
    assert torch.equal(transforms.recolour(pixels, 0.0, seeded()), pixels)
    with pytest.raises(ConfigError, match="colour=2"):
        Augment(colour=2)


def test_erasing_matches_timm_in_distribution():
    count, height, width = 3000, 32, 16
    ours = transforms.erase(torch.full((count, 1, height, width), 9.0), 0.5, seeded(2))
    torch.manual_seed(2)
    theirs = RandomErasing(probability=0.5, mode="pixel", device="cpu")(torch.full((count, 1, height, width), 9.0))
    shares = [(x != 9).flatten(1).float().mean(1) for x in (ours, theirs)]
    moments = [(float((s > 0).float().mean()), float(s[s > 0].mean()), float(s[s > 0].std())) for s in shares]
    assert moments[0] == pytest.approx(moments[1], rel=0.06)
    assert float(shares[0].max()) <= 0.36
    noise = ours[ours != 9]
    assert float(noise.mean()) == pytest.approx(0, abs=0.02)
    assert float(noise.std()) == pytest.approx(1, abs=0.02)
    heights = [(x != 9).any(3).float().sum(2).squeeze(1) for x in (ours, theirs)]
    assert float(heights[0].mean()) == pytest.approx(float(heights[1].mean()), rel=0.06)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hflip": 1.5}, "hflip=1.5 is not a probability"),
        ({"pad": -1}, "pad=-1"),
        ({"scale": (1.2, 0.8)}, "give the smallest, then the largest"),
        ({"fill": 300}, "fill=300"),
    ],
)
def test_bad_settings(values, message):
    with pytest.raises(ConfigError, match=message):
        Augment(**values)


def test_resizing_filter_is_the_one_asked_for(tmp_path):
    picture = Image.fromarray(pictures(1, 40, 30)[0].permute(1, 2, 0).numpy())
    picture.save(tmp_path / "p.png")
    filters: dict[Interpolation, Image.Resampling] = {
        "bicubic": Image.Resampling.BICUBIC,
        "bilinear": Image.Resampling.BILINEAR,
    }
    for name, number in filters.items():
        expected = np.asarray(picture.resize((16, 24), number))
        np.testing.assert_array_equal(Reader((24, 16), name)(str(tmp_path / "p.png")).permute(1, 2, 0), expected)
