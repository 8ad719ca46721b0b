"""TADData: batches, windows, what it refuses, and that a restart sees the same batches."""

import json

import numpy as np
import pytest
import torch
from synthetic_tad import write_feature_set

from vision_suite.datasets.tad.data import TADData
from vision_suite.datasets.tad.scores import THUMOS_CLASSES, read_scores, write_scores
from vision_suite.datasets.tad.windows import window_starts
from vision_suite.errors import ConfigError, DataError


@pytest.fixture
def root(tmp_path):
    return write_feature_set(tmp_path / "set", videos=8)


def make(root, **settings):
    return TADData(str(root), **{"num_cells": 30, "batch_size": 2, "num_workers": 0, "seed": 3, **settings})


def test_resized_videos(root):
    data = make(root)
    assert (data.num_classes, data.in_channels, data.class_names) == (2, 8, ["circle", "square"])
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch["features"].shape == (2, 8, 30)
    assert batch["valid"].all()
    torch.testing.assert_close(batch["cell_seconds"], torch.full((2,), 1.0, dtype=torch.float64))
    # Half of 60 rows: the channel of a class is high in the cells of its annotation, and only there.
    for row in range(2):
        for (start, end), label in zip(batch["segments"][row], batch["label"][row], strict=True):
            high = batch["features"][row, label] > 0.5
            cells = torch.nonzero(high)[:, 0]
            inside = (cells >= start - 1) & (cells <= end)
            assert inside.sum() >= (end - start) - 2
    assert data.protocol["counts"]["fit"] == {"videos": 4, "actions": 8, "classes": 2}
    assert data.protocol["fingerprint"]["files"] == 8


def test_as_text_it_tells_its_sizes(root):
    data = make(root)
    data.setup("fit")
    assert str(data) == "TADData (sequences: fit 4, validate 2, test 0, predict 0)"


def test_windows_cover_and_clip(root):
    data = make(root, mode="window", num_cells=25, keep_inside=0.6, train_overlap=0.5)
    data.setup("fit")
    seconds = {}
    for batch in data.train_dataloader():
        for row in range(len(batch["video"])):
            origin, step = float(batch["origin"][row]), float(batch["cell_seconds"][row])
            assert step == 0.5
            for (start, end), label in zip(batch["segments"][row].tolist(), batch["label"][row].tolist(), strict=True):
                if label >= 0:
                    assert 0 <= start < end <= 25
                    seconds.setdefault(int(batch["video"][row]), set()).add((label, round(origin + start * step, 3)))
    videos = data.videos("fit")
    for index, found in seconds.items():
        true = {(data.class_names.index(a.label), a.start) for a in videos[index].actions}
        assert true & found, "an annotation that lies inside starts where it really does"


def test_order_does_not_depend_on_workers_or_restarts(root):
    def batches(workers, skip=0):
        data = make(root, num_workers=workers)
        data.setup("fit")
        loader = data.train_dataloader()
        if skip:
            loader.load_state_dict({"epoch": 0, "batch": skip})
        return [batch["index"].tolist() for batch in loader]

    alone = batches(0)
    assert batches(2) == alone
    assert batches(0, skip=1) == alone[1:]


def test_memory_and_disk_give_the_same(root):
    one, two = (make(root, cache=cache) for cache in ("memory", "none"))
    for data in (one, two):
        data.setup("test")
    for a, b in zip(one.test_dataloader(), two.test_dataloader(), strict=True):
        for name in a:
            assert torch.equal(a[name], b[name]), name


def test_prediction_streams_the_test_split(root):
    data = make(root, mode="window", num_cells=25)
    data.setup("predict")
    seen = [(int(b["video"][0]), b["horizon"].tolist()) for b in data.predict_dataloader()]
    assert {video for video, _ in seen} == {0, 1}
    assert all(np.isinf(horizons[-1]) for _, horizons in seen)


def test_short_annotations_and_empty_sequences_are_left_out_of_training(root):
    data = make(root, min_share=0.3)
    data.setup("fit")
    kept = sum(int((batch["label"] >= 0).sum()) for batch in data.train_dataloader())
    assert 0 < kept < 8
    assert data.protocol["problems"] == {
        "actions_not_trained_on": 8 - kept,
        "training_sequences_without_action": len(data.videos("fit")) - data.size("fit"),
    }


def empty_first_video(root, **entry):
    """Take the annotations of the first training video away."""
    path = root / "annotations.json"
    contents = json.loads(path.read_text())
    contents["database"]["clip00"] = {**contents["database"]["clip00"], "annotations": [], **entry}
    path.write_text(json.dumps(contents))


def test_videos_without_annotations_train_as_negatives(root):
    empty_first_video(root)
    data = make(root)
    data.setup("fit")
    assert data.protocol["negatives"] is True
    assert data.protocol["training_sequences"] == {"with_actions": 3, "without_action": 1}
    batches = list(make_loaded(root, batch_size=1))
    assert sorted(batch["label"].shape[1] for batch in batches)[0] == 0
    off = make(root, negatives=False)
    off.setup("fit")
    assert (off.size("fit"), off.protocol["training_sequences"]["without_action"]) == (3, 0)
    assert off.protocol["problems"]["training_sequences_without_action"] == 1


def make_loaded(root, **settings):
    data = make(root, **settings)
    data.setup("fit")
    return data.train_dataloader()


def test_negative_windows_touch_no_annotation(root):
    """Rows 0..5 of every video lie before its first action, which begins at 3 s; other windows touch one."""
    plain = make(root, mode="window", num_cells=6, keep_inside=0.1, train_overlap=0.0)
    plain.setup("fit")
    assert plain.protocol["negatives"] is False
    assert plain.protocol["training_sequences"]["without_action"] == 0
    data = make(root, mode="window", num_cells=6, keep_inside=0.1, train_overlap=0.0, negatives=True)
    data.setup("fit")
    spans = {index: [(a.start, a.end) for a in video.actions] for index, video in enumerate(data.videos("fit"))}
    windows = [(index, 3.0 * n, 3.0 * n + 3) for index in spans for n in range(10)]
    untouched = sum(all(e <= first or s >= last for s, e in spans[index]) for index, first, last in windows)
    counts = data.protocol["training_sequences"]
    assert counts["without_action"] == untouched > 4
    assert counts["with_actions"] == plain.protocol["training_sequences"]["with_actions"]
    assert data.size("fit") == sum(counts.values())


def test_what_is_unclear_is_no_negative(root):
    for entry in ({"segment": [3, 9], "label": "Ambiguous"}, {"segment": [4, 4], "label": "circle"}):
        empty_first_video(root, annotations=[entry])
        data = make(root, negatives=True)
        data.setup("fit")
        assert data.protocol["training_sequences"] == {"with_actions": 3, "without_action": 0}
        assert make(root).protocol["negatives"] is False


def test_features_without_content_are_counted_and_told_in_every_evaluation(root):
    rows = np.load(root / "features/clip03.npy")
    np.save(root / "features/clip03.npy", rows * 0)
    np.save(root / "features/clip07.npy", np.repeat(rows[:1], len(rows), 0))
    data = make(root, cache="none")
    data.setup("test")
    list(data.test_dataloader())
    problems = data.protocol["problems"]
    assert (problems["videos_of_zero_features"], problems["videos_of_constant_features"]) == (1, 1)
    assert data.protocol["warnings"] == [
        "Features of 1 videos hold nothing but zeros (first: 'clip03'): extract them again",
        "Features of 1 videos hold nothing but the same row all the time (first: 'clip07'): extract them again",
    ]
    said = []
    predicting = make(root)
    predicting.warn = said.append
    predicting.setup("predict")
    predicting.predict_dataloader()
    assert said == data.protocol["warnings"]


def test_other_units_of_the_sampling_are_one_line(root):
    """Strides in seconds or milliseconds instead of frames."""
    for sampling in ({"fps": 2, "stride": 0.5, "clip": 1}, {"fps": 2, "stride": 500, "clip": 500},
                     {"fps": 2, "stride": 1, "clip": 1, "offset": 900}):  # fmt: skip
        with pytest.raises(DataError, match=r"of 4 videos don't fit the duration.*correct fps and stride"):
            make(root, sampling=sampling).setup("fit")


def test_annotations_that_no_window_shows_are_counted(root):
    data = make(root, mode="window", num_cells=12, keep_inside=0.9)
    data.setup("fit")
    windows = [(start * 0.5, start * 0.5 + 6) for start in window_starts(60, 12, 6)]
    lost = sum(
        all((min(a.end, end) - max(a.start, start)) / (a.end - a.start) <= 0.9 for start, end in windows)
        for video in data.videos("fit")
        for a in video.actions
    )
    assert 0 < lost < 8
    assert data.protocol["problems"]["actions_not_trained_on"] == lost


@pytest.mark.parametrize("settings", [{}, {"mode": "window", "num_cells": 25}])
def test_features_that_do_not_fit_their_video(root, settings):
    path = root / "features/clip00.npy"
    rows = np.load(path)
    np.save(path, rows[:57])
    data = make(root, **settings)
    with pytest.warns(UserWarning, match=r"Features of 1 of 4 videos end more than a clip.*'clip00', -1.5 s"):
        data.setup("fit")
    data.setup("test")
    assert data.protocol["problems"]["features_shorter_than_video"] == 1
    np.save(path, rows[:10])
    with pytest.raises(DataError, match=r"'clip00' \(10 rows cover 5 s of 30 s\): extract them again"):
        make(root, **settings).setup("fit")
    np.save(path, rows)
    info = json.loads((root / "features/features.json").read_text())
    (root / "features/features.json").write_text(json.dumps(info | {"fps": 1}))
    for stage in ("fit", "test"):
        with pytest.raises(DataError, match=r"rows cover 60 s of 30 s\).*correct fps"):
            make(root, **settings).setup(stage)
    with pytest.raises(DataError, match=r"rows cover 60 s of 30 s"):
        make(root, **settings).predict_dataloader()


def test_missing_and_damaged_files(root):
    (root / "features/clip01.npy").unlink()
    with pytest.raises(DataError, match="1 of 8 videos have no features: clip01: extract them"):
        make(root)
    data = make(root, on_missing="skip")
    assert data.protocol["problems"]["videos_without_features"] == 1
    assert len(data.videos("fit")) == 3
    (root / "features/clip00.npy").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"clip00.npy' cannot be read"):
        make(root, on_missing="skip").setup("fit")


def test_what_contradicts_is_one_line(root, tmp_path):
    with pytest.raises(ConfigError, match=r"give --data\.root, or --data\.videos"):
        TADData()
    with pytest.raises(ConfigError, match="every=0"):
        make(root, every=0)
    for word in ("mode", "join", "cache", "on_missing"):
        with pytest.raises(ConfigError, match=f"{word}='windw' is not known: choose one of"):
            make(root, **{word: "windw"})
    for share in ({"min_share": 5}, {"keep_inside": 1.0}):
        with pytest.raises(ConfigError, match="must be from 0 to below 1"):
            make(root, **share)
    with pytest.raises(DataError, match=r"none of 4 training sequences holds an annotation.*min_share .now 0.9"):
        make(root, min_share=0.9).setup("fit")
    with pytest.raises(DataError, match=r"there is no video to fit on .*: give --data\.train_on"):
        make(root, train_on=[]).setup("fit")
    with pytest.raises(DataError, match="no videos of subset 'trianing'"):
        make(root, train_on=["trianing"])
    data = make(root, test_on=["nothing"])
    with pytest.raises(DataError, match="there is no video to test on"):
        data.setup("test")
    (root / "features/features.json").unlink()
    with pytest.raises(DataError, match=r"features.json' is missing"):
        make(root)
    with pytest.raises(DataError, match="no video found at"):
        make(root, sampling=None, videos=str(tmp_path / "nowhere"))


def test_the_same_split_for_validation_and_test_is_told(root):
    assert make(root, validate_on=["testing"]).protocol["test_used_for_validation"]
    assert not make(root).protocol["test_used_for_validation"]


def test_scores_from_outside(root):
    names = [video.name for video in make(root).videos("test")]
    table = {name: np.array([0.25, 0.75], dtype=np.float32) for name in names}
    write_scores(root / "scores.json", table, ["square", "circle"])
    with pytest.raises(DataError, match="no row of 2 numbers for video 'clip02'"):
        make(root, class_scores="scores.json")
    data = make(root, class_scores="scores.json", validate_on=[])
    data.setup("test")
    batch = next(iter(data.test_dataloader()))
    assert batch["video_scores"].tolist() == [[0.75, 0.25]] * 2
    data.setup("fit")
    assert "video_scores" not in next(iter(data.train_dataloader())), "only what is evaluated needs scores"
    data.setup("predict")
    assert next(iter(data.predict_dataloader()))["video_scores"].tolist() == [[0.75, 0.25]]


def test_untrimmed_net_matrices(tmp_path):
    table = np.arange(2 * 101, dtype=np.float32).reshape(2, 101)
    np.save(tmp_path / "u.npy", table)
    found = read_scores(tmp_path / "u.npy", ["video_test_0000002"], ["Diving", "Billiards"])
    assert found["video_test_0000002"].tolist() == [101 + 25, 101 + 11]
    assert len(THUMOS_CLASSES) == 20
    for other in ("video_test_0000003", "video_test_0000000", "video_validation_0000001", "0000001"):
        with pytest.raises(
            DataError, match=f"no row for video '{other}': the matrix has video_test_0000001 to 0000002"
        ):
            read_scores(tmp_path / "u.npy", [other], ["Diving"])
    table[0, 25] = np.nan
    np.save(tmp_path / "n.npy", table)
    with pytest.raises(DataError, match="the row of video 'video_test_0000001' holds more than finite numbers"):
        read_scores(tmp_path / "n.npy", ["video_test_0000001"], ["Diving"])
    with pytest.raises(DataError, match="class 'Skating' is none"):
        read_scores(tmp_path / "u.npy", ["video_test_0000001"], ["Skating"])
    (tmp_path / "c.json").write_text('{"results": {}, "class": ["a"]}')
    with pytest.raises(DataError, match="no class 'b'"):
        read_scores(tmp_path / "c.json", [], ["b"])


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ("[1]", "'results' must be a dictionary"),
        ('{"v": 3}', "no row of 2 numbers for video 'v'"),
        ('{"v": [1]}', "no row of 2 numbers"),
        ('{"v": [NaN, 1]}', "row of video 'v' holds more than finite numbers"),
        ('{"v": ["x", 1]}', "holds more than finite numbers"),
        ('{"v": [[1], [2]]}', "holds more than finite numbers"),
        ('{"v": [[1], 2]}', "holds more than finite numbers"),
    ],
)
def test_malformed_scores_are_one_line(tmp_path, results, message):
    path = tmp_path / "s.json"
    path.write_text(f'{{"results": {results}, "class": ["a", "b"]}}')
    with pytest.raises(DataError, match=message):
        read_scores(path, ["v"], ["a"])
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="cannot be read"):
        read_scores(path, ["v"], ["a"])
