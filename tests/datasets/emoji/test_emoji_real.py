"""The real Emoji-ReID set against the numbers that were measured when its rules were laid down."""

import csv
import hashlib
import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from vision_suite.datasets.prepare import catalog
from vision_suite.datasets.prepare.clients import RegistryError
from vision_suite.datasets.reid.layouts import read_market_folder
from vision_suite.extract.pixels import pixel_baselines
from vision_suite.metrics.reid import evaluate_features

pytestmark = pytest.mark.real_data

DESIGN_COUNTS = {
    "noto": 1396,
    "twemoji": 1396,
    "openmoji": 1396,
    "fluent-emoji-flat": 1396,
    "emojione": 1022,
    "noto-v1": 1062,
    "emojione-v1": 871,
    "fxemoji": 228,
}


@pytest.fixture(scope="module")
def prepared():
    """The prepared set: from the cache, else through the registry."""
    try:
        return catalog.prepare("emoji-reid", quiet=True)
    except RegistryError as error:
        pytest.skip(f"the cache holds no Emoji-ReID and it cannot be fetched: {error}")


def manifest(folder):
    return json.loads((folder / "MANIFEST.json").read_text())


def test_identities_are_the_stated_ones(prepared):
    with (prepared / "identities.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    names = [row["name"] for row in rows]
    assert len(names) == 1396
    digest = "3182e85d04d90caa1a4392f3311f7f3b2d8f3aebc760c92f7f0c64155d96d6ae"
    assert hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest() == digest
    assert Counter(row["split"] for row in rows) == {"train": 721, "val": 145, "test": 530}
    assert {"cat-face", "grinning-cat", "man-artist", "waving-hand-light-skin-tone"}.isdisjoint(names)


def test_picture_counts_by_design(prepared):
    counts = {path.name: len(list(path.iterdir())) for path in (prepared / "pictures").iterdir()}
    assert counts == DESIGN_COUNTS
    assert sum(counts.values()) == 8767


@pytest.mark.parametrize(
    ("part", "train", "query", "gallery"),
    [
        ("a", (2884, 721), (2120, 530), (2120, 530)),
        ("b", (4534, 721), (3308, 530), (3308, 530)),
        ("c0", (3813, 721), (530, 530), (2778, 530)),
        ("c7", (4412, 721), (82, 82), (3226, 530)),
    ],
)
def test_protocol_counts(prepared, part, train, query, gallery):
    listing = read_market_folder(prepared / part)
    counts = {split: (entry["images"], entry["identities"]) for split, entry in listing.counts().items()}
    assert counts == listing.expected
    assert [counts[split] for split in ("train", "query", "gallery")] == [train, query, gallery]


def test_classification_counts(prepared):
    parts = manifest(prepared)["parts"]
    assert parts["fgvc"]["counts"] == {
        "train": {"images": 3992, "classes": 64},
        "test": {"images": 2881, "classes": 64},
    }
    assert parts["fgvc"]["left_out"]["identities_without_subgroup"] == ["keycap-asterisk"]
    assert parts["closed"]["counts"] == {
        "train": {"images": 8767 - 1396, "classes": 1396},
        "test": {"images": 1396, "classes": 1396},
    }


def test_no_two_pictures_are_equal(prepared):
    """Within the core designs rule 4 sees to it; that no twin crosses two designs was found once and holds."""
    owners: dict[bytes, set[tuple[str, str]]] = {}
    for path in (prepared / "pictures").rglob("*.png"):
        with Image.open(path) as picture:
            digest = hashlib.sha256(np.asarray(picture).tobytes()).digest()
        owners.setdefault(digest, set()).add((path.parent.name, path.stem))
    core = set(list(DESIGN_COUNTS)[:4])
    for twins in owners.values():
        assert len({design for design, _ in twins}) == 1
        assert len(twins) == 1 or not {design for design, _ in twins} & core


def test_the_set_verifies(prepared):
    assert catalog.verify("emoji-reid", quiet=True).problems == ()


@pytest.mark.slow
@pytest.mark.long
def test_baseline_rows_of_protocol_a(prepared):
    """The bar a network has to pass: mAP within a point of the figures published with the rules."""
    baselines = pixel_baselines(prepared / "a")
    truth = (baselines.query_ids, baselines.gallery_ids, baselines.query_cams, baselines.gallery_cams)
    found = [100 * evaluate_features(row.query, row.gallery, *truth)["mAP"] for row in baselines.rows]
    np.testing.assert_allclose(found, [18.20, 26.18, 34.27, 39.18], atol=0.6)
    np.testing.assert_allclose(found, [18.25, 26.23, 34.78, 39.12], atol=0.15)  # this implementation's own
