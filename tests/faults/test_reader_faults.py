"""Faults that mutated files have found in readers, each as the smallest file that showed it."""

import io
import random

import numpy as np
import pytest
import torch
from mutations import huge_jpeg
from PIL import Image
from synthetic import save, write_market
from synthetic_sets import write_cub

from vision_suite.datasets.fgvc.layouts import read_cub_folder
from vision_suite.datasets.pictures.images import check_pictures, open_picture
from vision_suite.datasets.pictures.matfile import read_mat
from vision_suite.datasets.reid.layouts import read_market_folder, read_reid_manifest
from vision_suite.datasets.scanpath.scenes import read_vectors
from vision_suite.datasets.tad.scores import read_scores
from vision_suite.errors import CheckpointError, DataError


def array_with(header):
    """A version 1 array file with another header than NumPy writes."""
    out = io.BytesIO()
    np.save(out, np.ones((2, 3), np.float32))
    data = out.getvalue()
    return data[:10] + header.encode().ljust(len(data[10:]) - 25)[:117] + b"\n" + data[128:]


HEADERS = {
    "open bracket": "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, }",
    "open quote": "{'descr': '''<f4, 'fortran_order': False, 'shape': (2, 3), }",
    "nothing": "",
}


@pytest.mark.parametrize("header", HEADERS)
def test_an_array_with_a_damaged_header_is_one_line(tmp_path, header):
    path = tmp_path / "video_test_0000001.npy"
    path.write_bytes(array_with(HEADERS[header]))
    with pytest.raises(DataError, match="cannot be read"):
        read_vectors(str(path), 2)
    with pytest.raises(DataError, match="cannot be read"):
        read_scores(path, ["video_test_0000001"], ["Diving"])


@pytest.mark.parametrize(
    "counts",
    ['{"query": {"images": Infinity, "identities": 2}}', "[" * 100_000, '{"query": 1, "query": 1}', "[1]", '{"a": 1}'],
    ids=["infinite", "deep", "key twice", "list", "number"],
)
def test_counts_of_another_form_are_one_line(tmp_path, counts):
    write_market(tmp_path, train_ids=1, test_ids=1, cameras=1, shots=1)
    (tmp_path / "MANIFEST.json").write_text(f'{{"counts": {counts}}}')
    with pytest.raises(DataError, match="is not a manifest with counts"):
        read_market_folder(tmp_path)


@pytest.mark.parametrize("counts", ['{"train": {"images": Infinity}}', "[" * 100_000], ids=["infinite", "deep"])
def test_counts_of_classes_of_another_form_are_one_line(tmp_path, counts):
    write_cub(tmp_path, classes=1, train=1, test=1)
    (tmp_path / "MANIFEST.json").write_text(f'{{"counts": {counts}}}')
    with pytest.raises(DataError, match="is not a manifest with counts"):
        read_cub_folder(tmp_path)


def test_long_numbers_of_identities_are_names(tmp_path):
    (tmp_path / "list.csv").write_text(f"path,id,split\na.png,{2**63},train\nb.png,7,query\n")
    assert sorted(read_reid_manifest(tmp_path / "list.csv").identities.values()) == sorted(["7", str(2**63)])


def test_a_jpeg_that_cannot_hold_its_pixels_is_unreadable(tmp_path):
    Image.new("RGB", (2000, 1500), "white").save(tmp_path / "plain.jpg", quality=1, optimize=True, progressive=True)
    assert open_picture(str(tmp_path / "plain.jpg")).size == (2000, 1500)
    save(tmp_path / "a.jpg", 1)
    (tmp_path / "a.jpg").write_bytes(huge_jpeg((tmp_path / "a.jpg").read_bytes(), random.Random(0)))
    with pytest.raises(DataError, match="bytes cannot hold"):
        open_picture(str(tmp_path / "a.jpg"))
    (bad,) = check_pictures([str(tmp_path / "a.jpg")], 1)
    assert "cannot hold" in bad.reason


def test_an_error_without_words_is_a_damaged_matlab_file(tmp_path, monkeypatch):
    def without_words(*args, **kwargs):
        raise MemoryError

    (tmp_path / "a.mat").touch()
    monkeypatch.setattr("scipy.io.loadmat", without_words)
    with pytest.raises(DataError, match=r"is not a readable MATLAB file \(MemoryError\)"):
        read_mat(tmp_path / "a.mat", ["a"])


def test_an_error_of_weights_names_their_checkpoint():
    from toy_method import LitToy

    class At:
        ckpt_path = "mine.ckpt"

    module = LitToy(num_classes=2)
    with pytest.raises(RuntimeError) as error:
        module.load_state_dict({"stranger": torch.ones(1)})
    assert not getattr(error.value, "__notes__", [])
    module._trainer = At()
    with pytest.raises(RuntimeError) as error:
        module.load_state_dict({"stranger": torch.ones(1)})
    assert error.value.__notes__ == ["the checkpoint is mine.ckpt"]
    whole = {name: value.to(torch.int8) for name, value in module.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"^mine.ckpt: hidden.weight holds int8 values"):
        module.load_state_dict(whole)
    module.load_state_dict({name: value.half() for name, value in module.state_dict().items()})
