"""The data's part of a checkpoint: found whatever the class, and refused in one line where it is malformed."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_fact_contents import PLAIN

from vision_suite.datasets.fgvc.data import FGVCData
from vision_suite.datasets.reid.data import ReIDData
from vision_suite.datasets.saved import MISSING, SavedPreprocessing, data_state
from vision_suite.datasets.scanpath.data import ScanpathData
from vision_suite.datasets.scanpath.grid import GridScanpathData
from vision_suite.datasets.scanpath.predict.data import ScanpathPictureData
from vision_suite.datasets.tad.data import TADData
from vision_suite.errors import CheckpointError

CLASSES = (ReIDData, FGVCData, TADData, ScanpathData, ScanpathPictureData, GridScanpathData)
ENTRIES = (
    "colour", "crop_bottom", "resize", "interpolation", "center_crop", "scale", "mean", "std", "transreid_compat",
    "mode", "num_cells", "every", "overlap", "join", "sampling", "objects", "in_channels", "target_from", "crop_size",
    "window", "test_overlap", "rule", "seed",
)  # fmt: skip


@pytest.mark.parametrize("kind", CLASSES)
@given(entries=st.dictionaries(st.sampled_from(ENTRIES) | st.text(max_size=5), PLAIN, max_size=4))
def test_any_stored_preprocessing_gives_settings_or_one_line(kind, entries):
    lines = []
    try:
        settings = kind.evaluation_settings(entries)
    except CheckpointError as error:
        lines, settings = str(error).splitlines(), {}
    assert len(lines) <= 1
    assert all(isinstance(name, str) for name in settings)


@pytest.mark.parametrize("kind", CLASSES)
def test_an_empty_preprocessing_sets_nothing_and_an_unknown_entry_is_named(kind):
    """Files of earlier versions lack entries; those of later ones may have more."""
    assert kind.evaluation_settings({}) == {}
    with pytest.raises(CheckpointError, match=f"has the entry 'warmth', which {kind.__name__} does not know"):
        kind.evaluation_settings({"warmth": 3})


@pytest.mark.parametrize(
    ("kind", "entries", "said"),
    [
        (FGVCData, {"mean": [0.5, 0.5]}, r"mean=\[0.5, 0.5\], which is not 3 finite numbers"),
        (FGVCData, {"std": [0.5, 0.5, 0]}, "not 3 finite numbers above 0"),
        (FGVCData, {"colour": "BGR"}, "colour='BGR', which is not 'RGB'"),
        (FGVCData, {"resize": [True, 3]}, "not a height and a width"),
        (FGVCData, {"interpolation": "nearest"}, "not one of bicubic, bilinear"),
        (ReIDData, {"resize": [40, 40], "center_crop": [32, 32]}, r"resize=\[40, 40\], which is not \[32, 32\]"),
        (TADData, {"overlap": 1.0}, "not a number from 0 to below 1"),
        (TADData, {"sampling": {"fps": "25"}}, "not settings of FeatureInfo"),
        (TADData, {"sampling": {"stride": 1, "clip": 1, "speed": 3}}, "not settings of FeatureInfo"),
        (GridScanpathData, {"rule": {"rows": 0}}, "not settings of GridRule"),
        (GridScanpathData, {"rule": {"rows": "3"}}, "not settings of GridRule"),
        (ScanpathData, {"window": 1}, "window=1, which is not a whole number of 2 or more"),
    ],
)
def test_a_wrong_entry_is_named_with_what_it_must_be(kind, entries, said):
    with pytest.raises(CheckpointError, match=said):
        kind.evaluation_settings(entries)


def test_fields_of_a_record_keep_their_types():
    @dataclass(frozen=True)
    class Rule:
        share: "float" = 0.5
        count: "int" = 1

    saved = SavedPreprocessing({"one": {"share": 1, "count": 2}, "two": {"count": 2.0}})
    assert saved.record("one", Rule) == {"share": 1, "count": 2}
    assert saved.record("three", Rule) is MISSING
    with pytest.raises(CheckpointError, match="not settings of Rule"):
        saved.record("two", Rule)


def test_the_state_is_found_whatever_the_class():
    state = {"preprocessing": {"mean": [0.5]}, "class_names": ["a"]}
    contents = {"epoch": 1, "state_dict": {"w": torch.zeros(1)}, "callbacks": {"x": {}}, "TheirData": state}
    assert data_state(contents) is state
    assert data_state({"epoch": 1, "TheirData": {"preprocessing": 3}}) is None
