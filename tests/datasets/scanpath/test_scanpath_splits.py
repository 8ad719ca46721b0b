"""Splits: what they promise, and that a leak stops the run."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scanpath_fixture import amazon, picture, table

from vision_suite.datasets.scanpath.readers.amazon_covers import read_amazon_covers
from vision_suite.datasets.scanpath.readers.table import read_scanpath_table
from vision_suite.datasets.scanpath.splits import SplitSettings, split_trials
from vision_suite.errors import ConfigError, DataError

OFFICIAL = {"fit": ["train"], "validate": ["valid"], "test": ["test"]}


@pytest.fixture(scope="module")
def covers(tmp_path_factory):
    return read_amazon_covers(amazon(tmp_path_factory.mktemp("covers"), collages=10))


@given(fold=st.integers(0, 4), seed=st.integers(0, 5), share=st.sampled_from([0.0, 0.1, 0.5]))
def test_no_image_is_in_two_parts(covers, fold, seed, share):
    parts, facts = split_trials(covers, SplitSettings("image", fold, 5, share, seed))
    scenes = [{trial.scene for trial in part} for part in parts.values()]
    assert sum(map(len, scenes)) == len(set.union(*scenes)) == 10
    assert sum(map(len, parts.values())) == len(covers.trials)
    assert len(scenes[2]) == 2
    assert bool(parts["validate"]) == (share > 0)
    assert facts["images_in_two_parts"] == 0


def test_folds_cover_everything_once(covers):
    for rule, count in (("image", None), ("target", 2), ("subject", 3), ("combination", None)):
        folds = split_trials(covers, SplitSettings(rule, 0))[1]["folds"]
        assert count in (None, folds)
        tested = [split_trials(covers, SplitSettings(rule, n))[0]["test"] for n in range(folds)]
        assert sorted(id(t) for part in tested for t in part) == sorted(map(id, covers.trials))


def test_unseen_targets_subjects_and_combinations(covers):
    parts, facts = split_trials(covers, SplitSettings("target", 1))
    assert facts["test_units"] == ["target_1"]
    assert {t.task for t in parts["fit"]} == {"target_0"}
    parts, facts = split_trials(covers, SplitSettings("subject", 0, validation_share=0))
    assert {t.subject for t in parts["test"]} == {"1"}
    assert not parts["validate"]
    assert facts["images_in_two_parts"] == 10
    parts, _ = split_trials(covers, SplitSettings("combination", 3, validation_share=0))
    assert len({(t.scene, t.task) for t in parts["test"]}) == 1


def test_folds_that_the_data_name(tmp_path):
    found = read_scanpath_table(table(tmp_path))
    rows = [json.loads(line) for line in (tmp_path / "scenes.jsonl").read_text().splitlines()]
    (tmp_path / "scenes.jsonl").write_text(
        "".join(json.dumps({**r, "fold": n // 2}) + "\n" for n, r in enumerate(rows))
    )
    found = read_scanpath_table(tmp_path)
    parts, facts = split_trials(found, SplitSettings("image", 2, validation_share=0))
    assert facts["folds"] == 3
    assert {t.scene for t in parts["test"]} == {"s4.png", "s5.png"}
    (tmp_path / "scenes.jsonl").write_text("".join(json.dumps({**r, "fold": n - 1}) + "\n" for n, r in enumerate(rows)))
    with pytest.raises(DataError, match=r"1 scenes have no fold.*'s0.png'"):
        split_trials(read_scanpath_table(tmp_path), SplitSettings("image"))


def test_official_parts(tmp_path):
    found = read_scanpath_table(table(tmp_path))
    parts, facts = split_trials(found, SplitSettings("official", subsets=OFFICIAL))
    assert {t.scene for t in parts["test"]} == {"s3.png"}
    assert facts["trials_in_no_part"] == 0
    with pytest.raises(DataError, match="no part 'trian': they have test, train, valid"):
        split_trials(found, SplitSettings("official", subsets={**OFFICIAL, "fit": ["trian"]}))
    with pytest.raises(DataError, match="no part 'vaild'"):
        split_trials(found, SplitSettings("official", subsets={**OFFICIAL, "validate": ["vaild"]}))
    with pytest.raises(ConfigError, match="name one part twice"):
        split_trials(found, SplitSettings("official", subsets={**OFFICIAL, "test": ["train"]}))


def test_an_image_in_two_official_parts_stops_the_run(tmp_path):
    table(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    rows[0]["subset"] = "test"
    (tmp_path / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"image 's0.png' is in the parts 'fit' and 'test'"):
        split_trials(read_scanpath_table(tmp_path), SplitSettings("official", subsets=OFFICIAL))


def test_one_picture_under_two_names_is_one_image(tmp_path):
    table(tmp_path)
    picture(tmp_path / "s0.png", (400, 100), 1)
    (tmp_path / "s3.png").write_bytes((tmp_path / "s0.png").read_bytes())
    with pytest.raises(DataError, match=r"'s3.png' \(the same picture as 's0.png'\) is in the parts"):
        split_trials(read_scanpath_table(tmp_path), SplitSettings("official", subsets=OFFICIAL))


def test_what_cannot_be_split_is_one_line(covers):
    with pytest.raises(ConfigError, match="fold=3 is not one of 0 to 2"):
        split_trials(covers, SplitSettings("subject", 3))
    with pytest.raises(ConfigError, match="folds=7 is more than the 3 units"):
        split_trials(covers, SplitSettings("subject", 0, 7))
    with pytest.raises(ConfigError, match="validation_share 0"):
        split_trials(covers, SplitSettings("subject", 0, validation_share=0.9))
    with pytest.raises(ConfigError, match="data name no parts"):
        split_trials(covers, SplitSettings("official", subsets=OFFICIAL))
    with pytest.raises(ConfigError, match="validation_share=1"):
        SplitSettings(validation_share=1)
    with pytest.raises(ConfigError, match="folds=1"):
        SplitSettings(folds=1)
    with pytest.raises(ConfigError, match="split='item' is not known"):
        SplitSettings("item")
