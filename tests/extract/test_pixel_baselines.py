import numpy as np
import pytest
from PIL import Image
from sklearn.covariance import empirical_covariance
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from vision_suite.errors import DataError
from vision_suite.extract.pixels import WithinIdentityWhitening, pixel_baselines


@pytest.fixture
def labelled():
    """Unequally many samples of 9 identities in 12 dimensions with correlated noise."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(9) * 3, generator.integers(2, 8, 9))
    mixing = generator.normal(size=(12, 12))
    centres = generator.normal(size=(28, 12))
    return centres[labels] + generator.normal(size=(len(labels), 12)) @ mixing, labels


def test_whitening_makes_the_shrunk_within_covariance_the_identity(labelled):
    features, labels = labelled
    whitening = WithinIdentityWhitening(features, labels, dimensions=5, shrinkage=0.05)
    within = sum(
        empirical_covariance(features[labels == label]) * (labels == label).mean() for label in np.unique(labels)
    )
    within += 0.05 * np.linalg.eigvalsh(within).mean() * np.eye(12)
    np.testing.assert_allclose(whitening.projection.T @ within @ whitening.projection, np.eye(5), atol=1e-9)


def test_whitening_keeps_the_directions_of_linear_discriminant_analysis():
    generator = np.random.default_rng(1)
    labels = np.repeat(np.arange(6), 10)
    features = generator.normal(size=(6, 8))[labels] + generator.normal(size=(60, 8)) @ generator.normal(size=(8, 8))
    ours = WithinIdentityWhitening(features, labels, dimensions=4, shrinkage=0.0).apply(features)
    theirs = LinearDiscriminantAnalysis(solver="eigen", n_components=4).fit(features, labels).transform(features)
    # The same four directions up to order and sign, so the same distances.
    gaps = [np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (ours, theirs)]
    np.testing.assert_allclose(gaps[0], gaps[1], rtol=1e-6, atol=1e-9)


def test_whitening_does_not_depend_on_the_numbers_of_the_identities(labelled):
    features, labels = labelled
    first = WithinIdentityWhitening(features, labels).apply(features)
    second = WithinIdentityWhitening(features, 1000 - labels).apply(features)
    assert first.shape == (len(labels), 8)  # at most identities - 1
    np.testing.assert_allclose(abs(first), abs(second), atol=1e-8)


@pytest.mark.parametrize("labels", [np.zeros(4, dtype=int), np.arange(4)])
def test_whitening_without_what_it_needs_is_an_error(labels):
    with pytest.raises(DataError, match="whitening needs two identities"):
        WithinIdentityWhitening(np.eye(4), labels)


@pytest.fixture
def market(tmp_path):
    """Six training and three test identities on two cameras; identities differ by the place of a dark square."""
    generator = np.random.default_rng(0)
    for folder, identities in {
        "bounding_box_train": range(1, 7),
        "query": range(7, 10),
        "bounding_box_test": range(7, 10),
    }.items():
        (tmp_path / folder).mkdir()
        for identity in identities:
            for camera in (1, 2):
                pixels = generator.integers(180, 255, (64, 64, 3))
                row, column = divmod(identity, 3)
                pixels[16 * row : 16 * row + 16, 20 * column : 20 * column + 20] = 30 * camera
                path = tmp_path / folder / f"{identity:04d}_c{camera}s1_000000_00.png"
                Image.fromarray(pixels.astype(np.uint8)).save(path)
    return tmp_path


def test_rows_truth_and_shapes(market):
    told: list[tuple[int, int]] = []
    baselines = pixel_baselines(market, lambda done, total: told.append((done, total)))
    assert [row.name for row in baselines.rows] == ["pixels", "HOG", "HOG, whitened", "pixels + HOG, whitened"]
    assert told[-1] == (24, 24)
    assert baselines.query_ids.tolist() == [7, 7, 8, 8, 9, 9]
    assert baselines.query_cams.tolist() == [0, 1] * 3
    assert baselines.gallery_ids.tolist() == baselines.query_ids.tolist()
    assert [row.query.shape[1] for row in baselines.rows] == [768, 7 * 7 * 4 * 9, 5, 5]
    for row in baselines.rows:
        assert row.query.dtype == row.gallery.dtype == np.float32
        assert np.isfinite(row.query).all()


def test_pixels_are_block_means_without_the_training_mean(market):
    def blocks(folder):
        pictures = [np.asarray(Image.open(path), dtype=float) for path in sorted((market / folder).iterdir())]
        return np.stack([p.reshape(16, 4, 16, 4, 3).mean((1, 3)).ravel() / 255 for p in pictures])

    expected = blocks("query") - blocks("bounding_box_train").mean(axis=0)
    # The picture library rounds each block to a whole grey value.
    np.testing.assert_allclose(pixel_baselines(market).rows[0].query, expected, atol=1.01 / 255)


def test_the_whitening_learns_nothing_from_test_pictures(market):
    before = pixel_baselines(market).rows
    for path in sorted((market / "bounding_box_test").iterdir())[:3]:
        Image.new("RGB", (64, 64), "black").save(path)
    after = pixel_baselines(market).rows
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old.query, new.query)
        assert (old.gallery[0] != new.gallery[0]).any()


def test_features_that_mean_nothing_are_told(market):
    assert pixel_baselines(market).warnings == ()
    for folder in ("query", "bounding_box_test"):
        for path in (market / folder).iterdir():
            Image.new("RGB", (64, 64), "black").save(path)
    lines = pixel_baselines(market).warnings
    assert any("features of the row 'HOG' are all zero" in line for line in lines)
    assert any("features of the row 'pixels' are equal" in line for line in lines)


def test_a_turned_picture_gets_the_features_of_the_upright_one(market):
    path = next(iter(sorted((market / "query").iterdir())))
    before = pixel_baselines(market).rows
    with Image.open(path) as image:
        turned = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[274] = 6  # to be shown turned clockwise
    turned.save(path, exif=exif)
    for old, new in zip(before, pixel_baselines(market).rows, strict=True):
        np.testing.assert_allclose(old.query, new.query, atol=0.05)


def test_a_picture_under_two_names_gets_the_same_features(market):
    for path in (market / "bounding_box_test").iterdir():
        path.unlink()
        path.hardlink_to(market / "query" / path.name)
    for row in pixel_baselines(market).rows:
        np.testing.assert_array_equal(row.query, row.gallery)
