"""What predict writes, against a dense ranking in float64."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import pytorch_lightning as pl
from folders import SUPPORT
from PIL import Image
from stub_method import LitStub, table
from synthetic import save
from synthetic_sets import write_cub

from vision_suite.callbacks.predict import store as prediction_store
from vision_suite.callbacks.predict.pictures import PredictionWriter
from vision_suite.callbacks.predict.store import PartWriter, merge
from vision_suite.datasets.fgvc.data import FGVCData
from vision_suite.datasets.reid.data import ReIDData
from vision_suite.errors import ConfigError, DataError


def photos(folder: Path, count: int) -> Path:
    for number in range(count):
        save(folder / f"photo {number:02d}.png", number, size=(30, 20))
    return folder


def predict(folder: Path, data: pl.LightningDataModule, model: LitStub, **options: int) -> Path:
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, logger=False, default_root_dir=folder, enable_progress_bar=False,
        callbacks=[PredictionWriter(**options)],
    )  # fmt: skip
    assert trainer.predict(model, data) is None
    return folder / "predict"


def reid(inputs: Path, gallery: Path | None = None, **more: object) -> ReIDData:
    return ReIDData(
        image_size=(16, 16), eval_batch_size=4, num_workers=0, predict_inputs=str(inputs),
        predict_gallery=None if gallery is None else str(gallery), **more,
    )  # fmt: skip


def dense(asked: np.ndarray, answers: np.ndarray, same: bool) -> np.ndarray:
    """Full order of the gallery for each input, ties by position."""
    distance = 1 - asked.astype(np.float64) @ answers.astype(np.float64).T
    if same:
        np.fill_diagonal(distance, np.inf)
    # Equal rows give the same distance but for rounding in float64; the order of ties is that of the position.
    return np.argsort(np.round(distance, 9), axis=1, kind="stable")


@pytest.mark.parametrize("chunk", [3, 4096])
def test_inputs_are_ranked_against_the_gallery(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(prediction_store, "CHUNK", chunk)
    features = table(7 + 11)
    data = reid(photos(tmp_path / "in", 7), photos(tmp_path / "gal", 11))
    out = predict(tmp_path, data, LitStub(features), top_k=4, overlays=2)

    paths = [str(path) for folder in ("in", "gal") for path in sorted((tmp_path / folder).iterdir())]
    stored = pyarrow.parquet.read_table(out / "features.parquet")
    assert stored.column("path").to_pylist() == paths
    assert stored.column("role").to_pylist() == ["input"] * 7 + ["gallery"] * 11
    np.testing.assert_array_equal(np.array(stored.column("feature").to_pylist(), dtype=np.float32), features)
    assert pyarrow.parquet.ParquetFile(out / "features.parquet").num_row_groups == -(-18 // chunk)
    with np.load(out / "features.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["feature"], features)
        assert arrays["path"].tolist() == paths

    lists = json.loads((out / "rank_lists.json").read_text())
    order = dense(features[:7], features[7:], same=False)[:, :4]
    assert lists["against"] == "the gallery"
    assert [entry["path"] for entry in lists["lists"]] == paths[:7]
    for row, entry in enumerate(lists["lists"]):
        assert [found["path"] for found in entry["ranked"]] == [paths[7 + n] for n in order[row]]
        exact = 1 - features[7:][order[row]].astype(float) @ features[row].astype(float)
        np.testing.assert_allclose([found["distance"] for found in entry["ranked"]], exact, atol=2e-6)

    summary = json.loads((out / "summary.json").read_text())
    assert (summary["inputs"], summary["gallery"], summary["not_reached"]) == (7, 11, 0)
    names = sorted(path.name for path in (out / "rollout").iterdir())
    assert names == ["000000_photo_00.png", "000001_photo_01.png"]
    assert all(Image.open(out / "rollout" / name).width > 300 for name in names)
    assert Image.open(out / "ranked.png").height > 500
    assert not (out / ".parts").exists()


def test_without_a_gallery_inputs_are_ranked_among_themselves(tmp_path):
    features = table(9)
    out = predict(tmp_path, reid(photos(tmp_path / "in", 9)), LitStub(features), top_k=20, overlays=-1)
    lists = json.loads((out / "rank_lists.json").read_text())["lists"]
    order = dense(features, features, same=True)[:, :8]
    paths = [entry["path"] for entry in lists]
    for row, entry in enumerate(lists):
        assert [found["path"] for found in entry["ranked"]] == [paths[n] for n in order[row]]
        assert len(entry["ranked"]) == 8
    assert len(list((out / "rollout").iterdir())) == 9


def test_a_single_picture_and_a_second_run_in_the_same_folder(tmp_path):
    predict(tmp_path, reid(photos(tmp_path / "in", 5)), LitStub(table(5)))
    out = predict(tmp_path, reid(tmp_path / "in" / "photo 03.png"), LitStub(table(1)))
    lists = json.loads((out / "rank_lists.json").read_text())["lists"]
    assert [len(entry["ranked"]) for entry in lists] == [0]
    assert len(list((out / "rollout").iterdir())) == 1
    assert json.loads((out / "summary.json").read_text())["pictures"] == 1


def test_unreadable_pictures_are_counted(tmp_path):
    photos(tmp_path / "in", 4)
    (tmp_path / "in" / "photo 01.png").write_bytes(b"no picture")
    with pytest.warns(UserWarning, match="Skipped 1 of 4"):
        out = predict(tmp_path, reid(tmp_path / "in", on_bad_image="skip"), LitStub(table(3)))
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["inputs"], summary["unreadable_skipped"]) == (3, 1)


def test_best_classes(tmp_path):
    root = write_cub(tmp_path / "cub", classes=7, train=2, test=2)
    data = FGVCData("cub_folder", str(root), image_size=(16, 16), resize=(16, 16), num_workers=0, eval_batch_size=3)
    rng = np.random.default_rng(0)
    probability = rng.dirichlet(np.ones(7), size=14).astype(np.float32)
    probability[2] = 1 / 7
    out = predict(tmp_path, data, LitStub(table(14), probability), overlays=0)
    order = np.argsort(-probability, axis=1, kind="stable")[:, :5]
    with (out / "classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    records = json.loads((out / "classes.json").read_text())
    assert len(rows) == len(records) == 14
    for n, (row, record) in enumerate(zip(rows, records, strict=True)):
        names = [data.class_names[c] for c in order[n]]
        assert [row[f"class_{k}"] for k in range(1, 6)] == names == [best["class"] for best in record["classes"]]
        stored = [float(row[f"probability_{k}"]) for k in range(1, 6)]
        np.testing.assert_allclose(stored, probability[n][order[n]], atol=1e-6)
        assert row["path"] == record["path"] == data.record("predict", n)[0]
    assert not list((out / "rollout").iterdir())


def test_parts_are_joined_by_index_and_duplicates_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(prediction_store, "CHUNK", 2)
    rng = np.random.default_rng(1)
    values = rng.normal(size=(10, 3)).astype(np.float32)
    dealt = [[1, 4, 7, 0], [2, 5, 8, 1], [3, 6, 9, 2], []]
    parts = []
    for rank, rows in enumerate(dealt):
        part = PartWriter(tmp_path / f"rank-{rank}")
        for start in range(0, len(rows), 3):
            batch = np.array(rows[start : start + 3])
            part.append({"index": batch, "feature": values[batch]})
        part.close()
        parts.append(part.folder)
    joined = merge(parts, tmp_path / "joined")
    assert joined.index.tolist() == list(range(10))
    assert joined.duplicates == 2
    np.testing.assert_array_equal(joined.columns["feature"], values)
    with pytest.raises(DataError, match="1 of 5 processes left no predictions"):
        merge([*parts, tmp_path / "rank-4"], tmp_path / "joined")
    with pytest.raises(DataError, match="nothing was predicted"):
        merge(parts[3:], tmp_path / "joined")


def test_columns_may_not_change(tmp_path):
    part = PartWriter(tmp_path / "part")
    part.append({"index": np.arange(2), "feature": np.zeros((2, 3), dtype=np.float32)})
    with pytest.raises(DataError, match="changed"):
        part.append({"index": np.arange(2), "feature": np.zeros((2, 4), dtype=np.float32)})


@pytest.mark.parametrize("options", [{"top_k": 0}, {"overlays": -2}])
def test_impossible_settings_are_refused(options):
    with pytest.raises(ConfigError):
        PredictionWriter(**options)


@pytest.mark.long
@pytest.mark.dist
def test_two_processes_write_what_one_writes(tmp_path):
    photos(tmp_path / "in", 7)
    photos(tmp_path / "gal", 4)
    found = []
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        script = SUPPORT / "predict_in_processes.py"
        command = [sys.executable, str(script), str(devices), str(folder), str(tmp_path / "in"), str(tmp_path / "gal")]
        done = subprocess.run(
            command,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(folder / "predict")
    one, two = found
    assert json.loads((two / "summary.json").read_text())["duplicates_removed"] == 1
    assert (one / "rank_lists.json").read_text() == (two / "rank_lists.json").read_text()
    with np.load(one / "features.npz") as first, np.load(two / "features.npz") as second:
        for name in ("path", "role", "feature"):
            np.testing.assert_array_equal(first[name], second[name])
    names = [sorted(path.name for path in (folder / "rollout").iterdir()) for folder in found]
    assert names[0] == names[1]
    assert len(names[0]) == 11
