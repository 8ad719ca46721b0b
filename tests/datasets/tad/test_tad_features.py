"""Feature files of every kind, their metadata, and damaged ones."""

import json
import pickle

import h5py
import numpy as np
import pytest
import torch

from vision_suite.datasets.prepare.array_pickle import load_array_pickle
from vision_suite.datasets.tad.features import FeatureSource, read_rows, resize_rows
from vision_suite.datasets.tad.sampling import FeatureInfo, read_info, read_joined, write_info
from vision_suite.errors import ConfigError, DataError

ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "a.npy", ROWS)
    np.savez(tmp_path / "v_b.npz", feats=ROWS, other=ROWS[:1])
    np.savetxt(tmp_path / "c.csv", ROWS, delimiter=",", header="f0,f1,f2", comments="")
    np.savetxt(tmp_path / "d.csv", ROWS, delimiter=",")
    torch.save(torch.from_numpy(ROWS), tmp_path / "e.pt")
    return tmp_path


@pytest.mark.parametrize("name", ["a", "b", "c", "d", "e"])
def test_every_kind_of_file(folder, name):
    source = FeatureSource([folder])
    rows = source.read(name)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, ROWS)
    assert source.missing([name, "nobody"], skip=True) == ["nobody"]


def test_a_line_of_counted_columns_is_no_data(tmp_path):
    """pandas writes 0, 1, 2 ... above columns that have no names."""
    (tmp_path / "a.csv").write_text("0,1,2\n5,6,7\n8,9,10\n")
    np.testing.assert_array_equal(read_rows(str(tmp_path / "a.csv")), [[5, 6, 7], [8, 9, 10]])


def test_half_precision_and_gradients_are_numbers_too(tmp_path):
    torch.save(torch.nn.Parameter(torch.from_numpy(ROWS).bfloat16()), tmp_path / "a.pt")
    np.save(tmp_path / "b.npy", ROWS.astype(np.int16))
    for name in ("a.pt", "b.npy"):
        np.testing.assert_array_equal(read_rows(str(tmp_path / name)), ROWS)


def test_a_video_that_is_there_twice_is_one_line(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("a.npy", "v_a.npy", "b.npy", ".hidden.npy"):
        np.save(folder / name, ROWS)
    np.savetxt(folder / "c.csv", ROWS, delimiter=",")
    np.save(folder / "c.npy", ROWS)
    for part in ("one", "two"):
        with h5py.File(tmp_path / f"{part}.h5", "w") as file:
            file["a"] = ROWS
    for place, name in ((folder, "a"), (folder, "c"), (tmp_path / "*.h5", "a")):
        with pytest.raises(DataError, match=f"video '{name}' has features twice, '.*' and '.*': delete one"):
            FeatureSource([place]).missing([name], skip=True)
    assert FeatureSource([folder]).missing(["b"], skip=False) == []


def test_what_is_not_read_is_named(tmp_path):
    np.save(tmp_path / "a.npy", ROWS)
    for name in ("b.mat", "c.mat", "features.json", ".d.json"):
        (tmp_path / name).write_text("{}")
    source = FeatureSource([tmp_path])
    assert source.number_passed_over == 2
    with pytest.raises(DataError, match=r"1 of 2 videos have no features: b: .*also holds 2 .mat \(b.mat, c.mat\)"):
        source.missing(["a", "b"], skip=False)


def test_zero_and_constant_features_are_noticed(tmp_path):
    np.save(tmp_path / "zero.npy", ROWS * 0)
    np.save(tmp_path / "same.npy", np.repeat(ROWS[1:2], 4, 0))
    np.save(tmp_path / "one.npy", ROWS[1:2])
    np.save(tmp_path / "fine.npy", ROWS)
    source = FeatureSource([tmp_path])
    for name in ("zero", "same", "one", "fine"):
        source.read(name)
    assert (source.zero, source.constant) == ({"zero"}, {"same"})


def test_hdf5_by_glob_and_joined_sets(tmp_path):
    for part, count in (("val", 5), ("test", 7)):
        for kind in ("flow", "rgb"):
            with h5py.File(tmp_path / f"{kind}_{part}.h5", "w") as file:
                rows = np.full((count + (kind == "rgb"), 2), 1.0 if kind == "flow" else 2.0)
                file[f"video_{part}_1"] = rows
    places = [tmp_path / "flow_*.h5", tmp_path / "rgb_*.h5"]
    rows = FeatureSource(places, "truncate").read("video_test_1")
    np.testing.assert_array_equal(rows, np.repeat([[1.0, 1, 2, 2]], 7, 0))
    assert FeatureSource(places).read("video_val_1").shape == (6, 4)


def test_resizing_equals_torch():
    rows = np.random.default_rng(0).random((13, 3), dtype=np.float32)
    for length in (1, 5, 13, 40):
        theirs = torch.nn.functional.interpolate(
            torch.from_numpy(rows.T[None].copy()), size=length, mode="linear", align_corners=False
        )[0].T
        np.testing.assert_allclose(resize_rows(rows, length), theirs, atol=1e-6)


def test_metadata_is_demanded(tmp_path):
    with pytest.raises(DataError, match=r"features.json' is missing, so the time of each feature is unknown"):
        read_info(tmp_path)
    info = FeatureInfo(25, 16, 16, 4, 512, extractor={"kind": "video"})
    write_info(tmp_path, info, videos={"a": 3})
    assert read_info(tmp_path) == info
    assert json.loads((tmp_path / "features.json").read_text())["videos"] == {"a": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "is not usable metadata"),
        ("[]", "is not usable metadata"),
        ('{"fps": 2}', r"lacks stride, clip, offset, so the time"),
        ('{"fps": 2, "stride": 1, "clip": 1, "offset": 0, "chanels": 8}', "unknown key 'chanels': write 'channels'"),
        ('{"FPS": 2, "stride": 1, "clip": 1, "offset": 0}', "unknown key 'FPS': write 'fps'"),
        ('{"fps": NaN, "stride": 1, "clip": 1, "offset": 0}', "fps=nan must be a finite number"),
        ('{"fps": 2, "stride": 0, "clip": 1, "offset": 0}', "have no time"),
        ('{"fps": 2, "stride": 1, "clip": 1, "offset": null}', "offset=None must be a finite number"),
        ('{"fps": 2, "stride": 1, "clip": 1, "offset": 0, "channels": "8"}', "channels='8' must be a finite number"),
        ('{"fps": 2, "stride": 1, "clip": 1, "offset": 0, "extractor": null}', "extractor=None names with values"),
        ('{"resized": "yes"}', "lacks fps"),
    ],
)
def test_metadata_that_leaves_the_time_open_is_one_line(tmp_path, text, message):
    (tmp_path / "features.json").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_info(tmp_path)
    assert "features.json" in str(caught.value)
    (tmp_path / "features.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(DataError, match="is not usable metadata"):
        read_info(tmp_path)


def test_metadata_on_the_command_line_is_demanded_too():
    assert FeatureInfo(resized=True, channels=4).stride == 0
    for given in ({}, {"fps": 2}, {"fps": 2, "stride": 1}):
        with pytest.raises(DataError, match="have no time: give"):
            FeatureInfo(**given)


def test_joined_sets_agree_in_time_and_add_their_widths(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    write_info(one, FeatureInfo(2, 1, 1, 0, 8))
    for other, channels in ((FeatureInfo(2, 1, 1, 0, 4), 12), (FeatureInfo(2, 1, 1), 0)):
        write_info(two, other)
        assert read_joined([one, two]).channels == channels
    for other in (FeatureInfo(2, 1, 1, resized=True), FeatureInfo(3, 1, 1)):
        write_info(two, other)
        with pytest.raises(ConfigError, match=r"differ in fps, stride, offset or resized: give --data\.sampling"):
            read_joined([one, two])
    for folder in (one, two):
        write_info(folder, FeatureInfo(fps=len(folder.name), resized=True))
    assert read_joined([one, two]).resized


def test_damaged_files_are_one_line(tmp_path):
    np.save(tmp_path / "flat.npy", ROWS[0])
    np.save(tmp_path / "empty.npy", ROWS[:0])
    np.save(tmp_path / "nan.npy", ROWS * np.nan)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "flat.npy").read_bytes()[:-3])
    (tmp_path / "ragged.csv").write_text("1,2\n3\n")
    (tmp_path / "text.csv").write_text("a,b\n1,x\n")
    (tmp_path / "nan.csv").write_text("nan,1\n2,3\n")
    np.savez(tmp_path / "two.npz", one=ROWS, two=ROWS)
    np.savez(tmp_path / "none.npz")
    np.save(tmp_path / "cube.npy", ROWS[None])
    np.save(tmp_path / "complex.npy", ROWS + 1j)
    np.save(tmp_path / "words.npy", ROWS.astype(str))
    np.save(tmp_path / "large.npy", np.full((2, 3), 1e300))
    torch.save({"feats": torch.from_numpy(ROWS)}, tmp_path / "dict.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save(torch.from_numpy(ROWS) + 1j, tmp_path / "complex.pt")
    (tmp_path / "index.csv").write_text(",f0,f1\n0,1,2\n")
    (tmp_path / "late.csv").write_text("1,2\n\n3,4\n5\n")
    (tmp_path / "nothing.csv").write_text("")
    with h5py.File(tmp_path / "sets.h5", "w") as file:
        file["group/rgb"] = ROWS
        file["words"] = "text"
        file["line"] = ROWS[0]
    np.save(tmp_path / "object.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    for name, message in {
        "flat.npy": r"have shape \(3,\)",
        "empty.npy": r"have shape \(0, 3\)",
        "cube.npy": r"have shape \(1, 4, 3\)",
        "nan.npy": r"hold 12 values that are not finite \(first: row 0, column 0, from 0\)",
        "large.npy": "hold 6 values that are not finite",
        "complex.npy": "values of type complex64: real numbers are needed",
        "complex.pt": "values of type complex64",
        "words.npy": "values of type <U",
        "dict.pt": "hold a dict with feats: one tensor",
        "list.pt": "hold a list: one tensor",
        "none.npz": "hold no array: one array",
        "index.csv": "have an index column",
        "late.csv": r"rows of 1 to 2 columns \(line 4 differs",
        "nothing.csv": r"have shape \(0,\)",
        "sets.h5::group": r"sets.h5::group' are a group \(rgb\): a data set",
        "sets.h5::words": r"values of type .S4",
        "sets.h5::line": r"have shape \(3,\)",
        "sets.h5::absent": "cannot be read",
        "cut.npy": "cannot be read",
        "ragged.csv": "rows of 1 to 2 columns",
        "text.csv": "line 2 holds more than numbers",
        "nan.csv": "not finite",
        "two.npz": "hold one, two",
        "object.npy": "cannot be read",
    }.items():
        with pytest.raises(DataError, match=message):
            read_rows(str(tmp_path / name))


def test_swapped_axes_and_other_widths_are_one_line(tmp_path):
    np.save(tmp_path / "a.npy", ROWS.T)
    np.save(tmp_path / "b.npy", ROWS[:, :2])
    source = FeatureSource([tmp_path], channels=3)
    with pytest.raises(DataError, match=r"shape \(3, 4\), but 3 columns.*rows are time"):
        source.read("a")
    with pytest.raises(DataError, match=r"shape \(4, 2\), but 3 columns are expected$"):
        source.read("b")
    with pytest.raises(DataError, match="no features of video 'c'"):
        source.read("c")
    for place in (tmp_path / "nowhere", tmp_path / "*.h5"):
        with pytest.raises(DataError, match=r"--data\.features"):
            FeatureSource([place])


class TestArrayPickles:
    def test_arrays_and_lists_come_back(self, tmp_path):
        value = {"X": [ROWS, ROWS[:2].astype(np.int64)], "names": ["a"], "y": np.array([1.5, 2])}
        for protocol in (2, 4):
            np.save(tmp_path / "x.npy", np.array(0))
            head = b"\x93NUMPY\x01\x00\x76\x00{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(127) + b"\n"
            contents = head + pickle.dumps(np.array(value, dtype=object), protocol=protocol)
            found = load_array_pickle(contents, "x")
            np.testing.assert_array_equal(found["X"][0], ROWS)
            assert found["X"][1].dtype == np.int64
            assert found["names"] == ["a"]

    def test_code_is_never_run(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return (open, (str(tmp_path / "touched"), "w"))

        head = b"\x93NUMPY\x01\x00\x76\x00{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(127) + b"\n"
        with pytest.raises(DataError, match=r"the pickle names .*open, which is no part of an array"):
            load_array_pickle(head + pickle.dumps(Evil()), "x")
        assert not (tmp_path / "touched").exists()

    def test_other_bytes_are_one_line(self):
        with pytest.raises(DataError, match="x cannot be read"):
            load_array_pickle(b"\x93NUMPY nothing", "x")
