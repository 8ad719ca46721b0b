"""A gallery on disk: what is added, what is not computed again, what is refused, and the ranking of a fresh run."""

import csv
import json
import os
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from folders import SUPPORT
from PIL import Image
from stub_method import LitStub
from synthetic import save

from vision_suite.callbacks.predict.pictures import PredictionWriter
from vision_suite.datasets.pictures.gallery import GalleryStore
from vision_suite.datasets.reid.data import ReIDData
from vision_suite.errors import ConfigError, DataError, SuiteError
from vision_suite.metrics.reid.decisions import KEY, Search
from vision_suite.metrics.reid.expansion import Expansion


class LitPixels(LitStub):
    """A picture's feature is its small version, so it depends on the picture alone; the pictures seen are counted."""

    def __init__(self, search=None, broken=()):
        super().__init__()
        self.search, self.seen, self.broken = search, 0, broken

    def predict_step(self, batch, batch_idx):
        self.seen += len(batch["index"])
        small = torch.nn.functional.adaptive_avg_pool2d(batch["image"], 3).flatten(1)
        feature = torch.nn.functional.normalize(small)
        for index in self.broken:
            feature[batch["index"] == index] = torch.nan
        return {"index": batch["index"], "role": batch["role"], "feature": feature}


def photos(folder, numbers, start=0):
    for number in numbers:
        save(folder / f"photo {number:02d}.png", start + number, size=(30, 20))
    return folder


def predict(folder, inputs, gallery=None, store=None, *, model=None, checkpoint=None, **more):
    """Run predict; returns the model, the summary and the rank lists."""
    model = model or LitPixels()
    data = ReIDData(
        image_size=(16, 16), eval_batch_size=4, predict_inputs=str(inputs),
        predict_gallery=None if gallery is None else str(gallery),
        gallery_store=None if store is None else str(store), **{"num_workers": 0, **more},
    )  # fmt: skip
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, logger=False, default_root_dir=folder, enable_progress_bar=False,
        callbacks=[PredictionWriter(top_k=6, overlays=0)], enable_model_summary=False,
    )  # fmt: skip
    model.seen = 0
    trainer.predict(model, data, ckpt_path=checkpoint, return_predictions=False)
    out = folder / "predict"
    return model, json.loads((out / "summary.json").read_text()), json.loads((out / "rank_lists.json").read_text())


@pytest.fixture
def place(tmp_path):
    photos(tmp_path / "in", range(3), start=100)
    photos(tmp_path / "gal", range(5))
    return tmp_path


def test_a_gallery_grows_and_is_ranked_as_in_a_fresh_run(place):
    torch.manual_seed(0)
    model = LitPixels()
    run = {"folder": place, "inputs": place / "in", "gallery": place / "gal", "model": model}
    _, summary, _ = predict(**run, store=place / "store")
    assert (model.seen, summary["gallery"], summary["gallery_store"]["added"]) == (8, 5, 5)
    photos(place / "gal", range(5, 9), start=1)  # one of them equals photo 08's neighbour in no file
    _, summary, grown = predict(**run, store=place / "store")
    assert model.seen == 3 + 4
    kept = summary["gallery_store"]
    assert (kept["pictures"], kept["known"], kept["added"], kept["gone"]) == (9, 5, 4, 0)
    _, summary, fresh = predict(**run)
    assert (model.seen, summary["gallery_store"]) == (12, None)
    assert grown == fresh
    _, summary, alone = predict(place, place / "in", None, place / "store", model=model)
    assert (model.seen, summary["gallery"]) == (3, 9)
    assert alone == fresh
    names = sorted(path.suffix for path in (place / "store").iterdir())
    assert names == ["", ".json", ".npy", ".npy"]


def test_pictures_that_change_move_or_vanish(place):
    run = {"folder": place, "inputs": place / "in", "gallery": place / "gal", "store": place / "store"}
    model, *_ = predict(**run)
    gallery = place / "gal"
    os.utime(gallery / "photo 00.png", (1, 1))  # touched, the same contents
    (gallery / "photo 01.png").rename(gallery / "moved.png")
    shutil.copy(gallery / "photo 02.png", gallery / "copy.png")
    save(gallery / "photo 03.png", 77, size=(30, 20))  # replaced
    (gallery / "photo 04.png").unlink()
    _, summary, lists = predict(**run, model=model)
    kept = summary["gallery_store"]
    assert model.seen == 3 + 1
    counts = [kept[name] for name in ("pictures", "known", "replaced", "moved", "copies", "gone")]
    assert counts == [6, 2, 1, 1, 1, 1]
    listed = {entry["path"] for entry in lists["lists"][0]["ranked"]}
    names = ["copy.png", "moved.png", *(f"photo {n:02d}.png" for n in (0, 2, 3, 4))]
    assert listed == {str(gallery / name) for name in names}
    assert Image.open(place / "predict" / "ranked.png").height > 100  # the picture that is gone is grey
    save(gallery / "photo 04.png", 4, size=(30, 20))
    _, summary, again = predict(**run, model=model)
    assert (model.seen, summary["gallery_store"]["gone"]) == (3, 0)
    _, _, fresh = predict(place, place / "in", gallery, model=model)
    assert again == fresh


def test_a_store_of_another_network_or_preprocessing_is_refused(place):
    run = {"folder": place, "inputs": place / "in", "gallery": place / "gal", "store": place / "store"}
    files = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        trainer = pl.Trainer(accelerator="cpu", logger=False, default_root_dir=place, enable_progress_bar=False)
        trainer.strategy.connect(LitPixels())
        files.append(place / f"{seed}.ckpt")
        trainer.save_checkpoint(files[-1])
    model, *_ = predict(**run, checkpoint=files[0])
    with pytest.raises(ConfigError, match=r"holds features of \S+1.ckpt \(sha256 \w{12}\), not of \S+2.ckpt \(sha256"):
        predict(**run, checkpoint=files[1])
    shutil.copy(files[0], place / "same.ckpt")
    assert predict(**run, model=model, checkpoint=place / "same.ckpt")[0].seen == 3
    with pytest.raises(ConfigError, match=r"made with other preprocessing: .*mean"):
        predict(**run, checkpoint=files[0], mean=(0.0, 0.0, 0.0))
    flipped = LitPixels(Search(0.1, settings={"flip": True}))
    with pytest.raises(ConfigError, match=r"made with other settings: flip"):
        predict(**run, model=flipped, checkpoint=files[0])
    assert predict(**run, model=model, checkpoint=files[0])[0].seen == 3  # nothing was changed


def test_damage_is_one_line(place):
    run = {"folder": place, "inputs": place / "in", "gallery": place / "gal", "store": place / "store"}
    model, *_ = predict(**run)
    index, (piece,) = place / "store/gallery.json", (place / "store").glob("*.npy")
    whole, contents = index.read_text(), piece.read_bytes()

    def refused(match):
        with pytest.raises(DataError, match=rf"store' is damaged: {match}.*: remove the folder"):
            predict(**run, model=model)

    for text in ("", "{", "[]", whole.replace('"row": 3', '"row": 99'), whole.replace("features-", "../features-")):
        index.write_text(text)
        refused("gallery.json")
    index.write_text(whole.replace('"format": 1', '"format": 9'))
    refused("gallery.json is of format 9")
    index.write_text(whole)
    piece.write_bytes(contents[:-4] + b"abcd")
    refused(f"{piece.name} has other contents")
    piece.unlink()
    refused(f"{piece.name} cannot be read")
    piece.write_bytes(contents)
    assert predict(**run, model=model)[0].seen == 3
    with pytest.raises(DataError, match=r"'.*none' is empty: name pictures"):
        predict(place, place / "in", None, place / "none", model=model)
    with pytest.raises(ConfigError, match="gallery_store is given without predict_inputs"):
        ReIDData(gallery_store="a")


def test_a_killed_addition_leaves_nothing_behind(place, monkeypatch):
    run = {"folder": place, "inputs": place / "in", "gallery": place / "gal", "store": place / "store"}
    model = LitPixels()
    with monkeypatch.context() as patch:
        patch.setattr(GalleryStore, "_write_index", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(BaseException):  # noqa: B017, PT011  (Lightning turns it into an exit)
            predict(**run, model=model)
    assert len(list((place / "store").glob("*.npy"))) == 1
    _, summary, _ = predict(**run, model=model)
    assert (model.seen, summary["gallery_store"]["added"]) == (8, 5)
    assert len(list((place / "store").glob("*.npy"))) == 1


def test_two_at_once_add_each_picture_once(place):
    identity = {"checkpoint": {"path": "a", "sha256": "b"}, "preprocessing": {}, "settings": {}}
    paths = [str(path) for path in sorted((place / "gal").iterdir())]
    stores = [GalleryStore(place / "store", identity) for _ in range(4)]
    given = [paths[:3], paths[1:4], paths[2:], paths]
    plans = [store.find(part).new for store, part in zip(stores, given, strict=True)]
    feature = {path: np.full((1, 2), n, dtype=np.float32) for n, path in enumerate(paths)}
    threads = [
        threading.Thread(target=store.add, args=(new, np.concatenate([feature[path] for path in new])))
        for store, new in zip(stores, plans, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = GalleryStore(place / "store", identity)
    assert store.paths == paths
    np.testing.assert_array_equal(store.gather(place / "all"), np.concatenate([feature[path] for path in paths]))
    assert sum(piece["rows"] for piece in store._pieces) == 5


def test_unreadable_pictures_are_skipped_and_counted(place):
    (place / "gal" / "photo 01.png").write_bytes(b"no picture")
    (place / "in" / "photo 02.png").write_bytes(b"")
    run = {"folder": place, "inputs": place / "in", "gallery": place / "gal", "store": place / "store"}
    run["model"] = LitPixels()
    with pytest.raises(DataError, match="2 of 8 predict pictures cannot be read"):
        predict(**run)
    with pytest.warns(UserWarning, match="Skipped 2 of 8"):
        _, summary, lists = predict(**run, on_bad_image="skip", num_workers=2)
    assert (summary["inputs"], summary["gallery"], summary["unreadable_skipped"]) == (2, 4, 2)
    assert {os.path.basename(path) for path in summary["unreadable"]} == {"photo 01.png", "photo 02.png"}
    assert len(lists["lists"]) == 2
    save(place / "gal" / "photo 01.png", 1, size=(30, 20))
    with pytest.warns(UserWarning, match="Skipped 1 of 4"):
        _, summary, _ = predict(**run, on_bad_image="skip")
    assert summary["gallery_store"]["added"] == 1


def test_pictures_in_memory_give_the_same_lists(place):
    _, _, plain = predict(place, place / "in", place / "gal", place / "store")
    _, summary, lists = predict(place, place / "in", place / "gal", place / "other", cache="memory")
    assert (summary["gallery_store"]["added"], lists) == (5, plain)


def test_neighbours_are_counted_without_unreadable_pictures(place):
    (place / "gal" / "photo 01.png").write_bytes(b"no picture")
    model = LitPixels(Search(0.1, Expansion(5, 3.0)))
    for store in (None, place / "store"):
        with pytest.warns(UserWarning, match="Skipped"), pytest.raises(ConfigError, match="k=5 and 4 gallery pictures"):
            predict(place, place / "in", place / "gal", store, model=model, on_bad_image="skip")
        assert model.seen == 0


@pytest.mark.parametrize(("lost", "word"), [("in", "predict_inputs"), ("gal", "predict_gallery")])
def test_the_search_is_not_turned_round_where_one_side_is_unreadable(place, lost, word):
    for path in (place / lost).iterdir():
        path.write_bytes(b"no picture")
    with (
        pytest.warns(UserWarning, match="Skipped"),
        pytest.raises(DataError, match=f"no picture of {word} can be read"),
    ):
        predict(place, place / "in", place / "gal", on_bad_image="skip")


def test_features_that_are_not_finite_are_not_ranked(place):
    with pytest.warns(UserWarning, match="2 of 8 features are not finite"):
        _, summary, lists = predict(place, place / "in", place / "gal", place / "store", model=LitPixels(broken=(1, 4)))
    assert (summary["not_finite"], summary["gallery"], summary["inputs"]) == (2, 4, 3)
    assert [len(entry["ranked"]) for entry in lists["lists"]] == [4, 0, 4]
    assert any("not finite" in line for line in summary["warnings"])
    with pytest.warns(UserWarning, match="not finite"):
        _, _, plain = predict(place, place / "in", place / "gal", model=LitPixels(broken=(1, 4)))
    assert plain == lists
    for broken, word in ((range(3), "inputs"), (range(3, 8), "gallery pictures")):
        with pytest.raises(DataError, match=f"no feature of the {word} is finite"):
            predict(place, place / "in", place / "gal", model=LitPixels(broken=broken))


def verification(**search):
    columns = {"fpr": [0.01, 0.1], "tpr": [0.5, 0.9], "accept": [0.02, 0.05], "reject": [0.2, 0.1]}
    return {KEY: {"fpr": 0.1, "points": columns, "positives": 9, "negatives": 99, "search": search, "step": 0}}


def test_each_entry_is_called_same_different_or_unsure(place, capsys):
    for fpr, accept, reject in ((0.1, 0.05, 0.1), (0.02, 0.02, 0.2)):
        model = LitPixels(Search(fpr))
        model.operating_point = verification(query_expansion=None)
        _, summary, lists = predict(place, place / "in", place / "gal", model=model)
        entries = [entry for each in lists["lists"] for entry in each["ranked"]]
        words = [
            "same" if e["distance"] <= accept else "different" if e["distance"] > reject else "unsure" for e in entries
        ]
        assert [entry["decision"] for entry in entries] == words
        assert {name: summary["decision"][name] for name in set(words)} == {w: words.count(w) for w in set(words)}
        assert (summary["decision"]["accept"], summary["no_decision"]) == (accept, None)
        with (place / "predict/decisions.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [(row["picture"], row["decision"]) for row in rows] == [(e["path"], e["decision"]) for e in entries]
        assert [int(row["rank"]) for row in rows] == [*range(1, 6)] * 3
    assert len(set(words)) > 1
    model.search = Search(1e-5)
    with pytest.raises(SuiteError, match="fpr=1e-05"):
        predict(place, place / "in", place / "gal", model=model)
    model.search = Search(0.1, settings={"flip": True})
    _, summary, lists = predict(place, place / "in", place / "gal", model=model)
    assert "flip=True now" in summary["no_decision"]
    assert "decision" not in lists["lists"][0]["ranked"][0]
    assert not (place / "predict/decisions.csv").exists()
    model.search, model.operating_point = Search(0.1), {}
    _, summary, _ = predict(place, place / "in", place / "gal", model=model)
    assert "no operating point" in summary["no_decision"]


def test_a_file_of_validate_gives_thresholds(place):
    (place / "point.json").write_text(json.dumps(verification(query_expansion=None)))
    writer = PredictionWriter(operating_point=str(place / "point.json"))
    module, data = LitPixels(Search(0.1)), ReIDData(predict_inputs=str(place / "in"))
    writer.folder = place
    trainer = pl.Trainer(accelerator="cpu", logger=False, default_root_dir=place)
    writer.start(trainer, module, data)
    assert writer._thresholds.accept == 0.05
    with pytest.raises(ConfigError, match=r"operating_point='nothing' cannot be read"):
        PredictionWriter(operating_point="nothing").start(trainer, module, data)


def test_query_expansion_in_predict(place):
    model = LitPixels(Search(0.1, Expansion(2, 3.0)))
    _, _, lists = predict(place, place / "in", place / "gal", model=model)
    with np.load(place / "predict/features.npz", allow_pickle=False) as arrays:
        feature = arrays["feature"].astype(np.float64)
    query, gallery = feature[:3], feature[3:]
    similarity = query @ gallery.T
    for row in range(3):
        near = np.argsort(-similarity[row])[:2]
        expanded = query[row] + similarity[row][near] ** 3 @ gallery[near]
        expected = np.sort(1 - gallery @ (expanded / np.linalg.norm(expanded)))
        np.testing.assert_allclose([entry["distance"] for entry in lists["lists"][row]["ranked"]], expected, atol=2e-6)
    assert lists["query_expansion"]["k"] == 2
    with pytest.raises(ConfigError, match="k=6 and 5 gallery pictures"):
        predict(place, place / "in", place / "gal", model=LitPixels(Search(0.1, Expansion(6))))
    with pytest.raises(ConfigError, match="k=3 and 2 gallery pictures"):
        predict(place, place / "in", model=LitPixels(Search(0.1, Expansion(3))))


@pytest.mark.long
def test_two_processes_grow_one_store(tmp_path):
    photos(tmp_path / "in", range(7), start=50)
    photos(tmp_path / "gal", range(4))
    found = []
    for name, devices, store in (("alone", "1", []), ("first", "2", ["store"]), ("second", "2", ["store"])):
        script = str(SUPPORT / "predict_in_processes.py")
        places = [str(tmp_path / each) for each in (name, "in", "gal", *store)]
        done = subprocess.run(
            [sys.executable, script, devices, *places],
            env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        found.append((tmp_path / name / "predict/rank_lists.json").read_text())
    assert found[0] == found[1] == found[2]
    kept = [
        json.loads((tmp_path / name / "predict/summary.json").read_text())["gallery_store"]
        for name in ("first", "second")
    ]
    assert [(each["known"], each["added"]) for each in kept] == [(0, 4), (4, 0)]
