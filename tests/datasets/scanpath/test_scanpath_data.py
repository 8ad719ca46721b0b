"""ScanpathData: padded batches, crops and vectors, pieces, what it refuses, and that a restart sees the same."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning.trainer.states import TrainerFn
from scanpath_fixture import COCO_BOX, amazon, coco, picture, table, trial

from vision_suite.datasets.scanpath.data import ScanpathData
from vision_suite.errors import ConfigError, DataError
from vision_suite.types import PADDING, Condition, ScanpathBatch


@pytest.fixture
def root(tmp_path):
    return table(tmp_path / "set")


def make(root, **settings):
    usual = {"batch_size": 2, "eval_batch_size": 4, "num_workers": 0, "seed": 3, "folds": 3, "validation_share": 0.3}
    return ScanpathData(settings.pop("dataset", "table"), str(root), **{**usual, **settings})


def first(data, stage="test"):
    data.setup(stage)
    return next(iter(data.test_dataloader() if stage == "test" else data.train_dataloader()))


def test_batches_are_what_the_contract_says(root):
    data = make(root, fold=1)
    batch = first(data)
    assert set(batch) == set(ScanpathBatch.__annotations__) - {"crops", "target_crop"}
    trials = data.trials("test")
    for row in range(len(batch["index"])):
        own = trials[int(batch["index"][row])]
        scene = data.scenes("test")[own.scene]
        count, length = len(scene.boxes), own.length
        assert batch["present"][row].tolist() == [n < count for n in range(batch["present"].shape[1])]
        np.testing.assert_array_equal(batch["boxes"][row, :count].numpy(), scene.boxes)
        assert batch["sequence"][row, :length].tolist() == own.sequence.tolist()
        assert (batch["sequence"][row, length:] == PADDING).all()
        assert torch.isnan(batch["duration"][row, length:]).all()
        assert torch.isnan(batch["xy"][row, length:]).all()
        assert int(batch["target"][row]) == count - 1
        assert batch["targets"][row].nonzero()[:, 0].tolist() == [count - 1]
        assert batch["features"][row, :count].unique().tolist() == [float(own.scene[1])]
        assert (batch["features"][row, count:] == 0).all()
        assert batch["target_features"][row].unique().tolist() == [-float(own.scene[1])]
        assert batch["image_size"][row].tolist() == [400, 100]
        assert batch["condition"][row] == Condition.PRESENT
        assert bool(batch["terminated"][row])
    assert batch["start"].dtype == batch["position"].dtype == torch.float32
    assert batch["target"].dtype == batch["sequence"].dtype == batch["given"].dtype == torch.int64


def test_facts_for_the_model(root):
    data = make(root)
    assert (data.num_objects, data.num_classes, data.in_channels, data.num_positions) == (4, 4, 5, 0)
    assert data.max_length == max(t.length for t in data.trials("fit"))
    assert data.protocol["split"]["rule"] == "image"
    assert data.protocol["counts"]["test"]["scenes"] == 2
    assert data.protocol["assignment"]["fractions"]["inside_a_box"] == 1
    assert data.protocol["durations"]
    assert (data.objects, data.target_from) == ("features", "given")
    assert make(root, target_from="object").target_from == "object"
    assert "target_features" not in first(make(root, target_from="object"))


def test_order_does_not_depend_on_workers_or_restarts(root):
    def batches(workers, skip=0):
        data = make(root, num_workers=workers)
        data.setup("fit")
        loader = data.train_dataloader()
        if skip:
            loader.load_state_dict({"epoch": 0, "batch": skip})
        return [(batch["index"].tolist(), batch["features"].sum().item()) for batch in loader]

    alone = batches(0)
    assert batches(2) == alone
    assert batches(0, skip=1) == alone[1:]


def test_memory_and_disk_give_the_same(root):
    for a, b in zip(*(loader_of(make(root, cache=cache)) for cache in ("memory", "none")), strict=True):
        assert all(torch.equal(a[name].nan_to_num(9), b[name].nan_to_num(9)) for name in a)


def normalised(crop):
    """Values 0..255 by ImageNet's mean and standard deviation."""
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    return (crop / 255 - mean) / std


def loader_of(data):
    data.setup("test")
    return data.test_dataloader()


def test_crops_of_covers(tmp_path):
    amazon(tmp_path, pictures=True)
    data = make(tmp_path, dataset="amazon_covers", folds=5, length_deviations=0)
    batch = first(data)
    assert batch["crops"].shape == (4, 84, 3, 150, 93)
    assert batch["position"][0, 15].tolist() == [1, 1]
    assert batch["start"][0].tolist() == [3, 7]
    assert data.num_positions == 14
    assert "target_crop" not in batch, "OAT copies the object itself"
    name = data.trials("test")[0].scene
    box = Image.open(tmp_path / "images" / name).convert("RGB").crop((10, 10, 20, 20)).resize((93, 150), 2)
    expected = normalised(torch.from_numpy(np.array(box)).permute(2, 0, 1))
    torch.testing.assert_close(batch["crops"][0, 15], expected)
    assert data.preprocessing["crop_size"] == [150, 93]


def test_grey_where_there_is_no_picture(tmp_path):
    data = make(amazon(tmp_path), dataset="amazon_covers", folds=5, crop_size=(8, 6))
    batch = first(data)
    assert batch["crops"].shape == (4, 84, 3, 8, 6)
    grey = normalised(torch.full((3, 8, 6), 127)).expand_as(batch["crops"])
    torch.testing.assert_close(batch["crops"], grey)
    assert data.protocol["pictures"] == "absent: grey crops"
    assert data.protocol["boxes"].startswith("uniform 6 x 14 grid")


def test_crops_of_pictures_shown_scaled_on_a_screen(tmp_path):
    coco(tmp_path, [trial(name=f"00000000000{n}.jpg", subject=n) for n in (1, 2)])
    picture(tmp_path / "images" / "train" / "000000000001.jpg", (640, 480), 1)
    data = make(tmp_path, dataset="coco_search18", folds=2, fold=0, validation_share=0, crop_size=(42, 78))
    other = make(tmp_path, dataset="coco_search18", folds=2, fold=1, validation_share=0, crop_size=(42, 78))
    chosen = data if data.trials("test")[0].scene.startswith("000000000001") else other
    crop = first(chosen)["crops"][0, 1]
    left, top, width, height = COCO_BOX
    part = Image.open(tmp_path / "images" / "train" / "000000000001.jpg").crop((left, top, left + width, top + height))
    torch.testing.assert_close(crop, normalised(torch.from_numpy(np.array(part)).permute(2, 0, 1)))
    assert chosen.protocol["pictures"] == "1 of 2 present, else grey crops"


def test_padded_objects_have_empty_crops(root):
    picture(root / "s1.png", (400, 100))
    batch = first(make(root, objects="crops", target_from="object", crop_size=(4, 4)))
    assert (batch["crops"][~batch["present"]] == 0).all()


def test_pieces(root):
    data = make(root, window=2, train_overlap=1, test_overlap=1)
    batch = first(data, "fit")
    assert batch["sequence"].shape[1] == 2
    assert (batch["given"] == 1).all()
    for piece in data.trials("fit"):
        whole = data.recordings("fit")[piece.recording]
        assert piece.sequence.tolist() == whole.sequence[piece.first : piece.first + piece.length].tolist()
        assert piece.terminated == (piece.first + piece.length == whole.length)
    lost = make(root, window=3).protocol["problems"]
    assert lost["fixations_in_no_window_of_fit"] > 0


def test_official_parts_by_stage(root):
    data = make(root, split="official", folds=None)
    assert {t.scene for t in data.trials("test")} == {"s3.png"}
    assert make(root, split="official", folds=None, validate_on=[]).val_dataloader() == []
    with pytest.raises(ConfigError, match="need split=official"):
        make(root, train_on=["train"])


def test_prediction_is_the_test_part(root):
    data = make(root)
    data.setup("predict")
    assert sum(len(batch["index"]) for batch in data.predict_dataloader()) == data.size("test")


def test_vectors_from_a_folder(root):
    (root / "clip").mkdir()
    for number in range(6):
        np.save(root / "clip" / f"s{number}.npy", np.zeros((2 + number % 3, 7), dtype=np.float32))
    data = make(root, features="clip", target_from="object")
    assert first(data)["features"].shape[-1] == data.in_channels == 7
    np.save(root / "clip" / "s1.npy", np.zeros((9, 7), dtype=np.float32))
    with pytest.raises(DataError, match="holds 9 vectors, but the scene has 3 objects"):
        set_up(root, features="clip", target_from="object")
    (root / "clip" / "s1.npy").unlink()
    with pytest.raises(DataError, match=r"are missing: make them, or pass --data\.objects crops"):
        set_up(root, features="clip", target_from="object")


def set_up(root, **settings):
    for stage in ("fit", "test"):
        make(root, **settings).setup(stage)


def test_vectors_of_tasks(root):
    (root / "words").mkdir()
    for number in range(2):
        np.save(root / "words" / f"task {number}.npy", np.array([1 + number, 7], dtype=np.float32))
    rows = [json.loads(line) for line in (root / "trials.jsonl").read_text().splitlines()]
    free = {"image": "s0.png", "subject": "free", "fixations": [[25, 45]], "condition": "free"}
    (root / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, free]))
    data = make(root, task_features="words", eval_batch_size=20)
    assert data.target_from == "given"
    tasks = {}
    for stage in ("fit", "test"):
        data.setup(stage)
    for loader, stage in ((data.train_dataloader(), "fit"), (data.test_dataloader(), "test")):
        for batch in loader:
            for row, index in enumerate(batch["index"].tolist()):
                tasks[data.trials(stage)[index].task] = batch["target_features"][row].tolist()
    assert tasks.pop("", [0] * 5) == [0] * 5, "nothing is searched for in free viewing"
    assert tasks == {"task 0": [1, 7, 0, 0, 0], "task 1": [2, 7, 0, 0, 0]}
    np.save(root / "words" / "task 1.npy", np.zeros(6, dtype=np.float32))
    with pytest.raises(DataError, match="of a target has width 6, those of objects only 5"):
        set_up(root, task_features="words")


def test_what_contradicts_is_one_line(root):
    with pytest.raises(ConfigError, match="window=1"):
        make(root, window=1)
    with pytest.raises(ConfigError, match="test_overlap=5"):
        make(root, window=5, test_overlap=5)
    with pytest.raises(ConfigError, match="with objects=crops: give one of them"):
        make(root, objects="crops", features="clip")
    with pytest.raises(DataError, match="12 of 12 searches have no target picture"):
        make(root, objects="crops", target_from="given")
    with pytest.raises(ConfigError, match="crop_size"):
        make(root, crop_size=(0, 3))
    with pytest.raises(ConfigError, match=r"max_offset=3\.0 with assign=first_box"):
        make(root, assign="first_box", max_offset=3.0)
    with pytest.raises(DataError, match="does not exist"):
        make(root / "nowhere")


def test_an_image_in_two_parts_stops_the_run(root):
    rows = [json.loads(line) for line in (root / "trials.jsonl").read_text().splitlines()]
    rows[0]["subset"] = "test"
    (root / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match="is in the parts 'fit' and 'test'"):
        make(root, split="official", folds=None)


@pytest.mark.parametrize(("fold", "known"), [(0, 0), (1, 4)])
def test_a_checkpoint_tells_trials_that_it_was_trained_on(root, recwarn, fold, known):
    trained, tested = (make(root, validation_share=0.0, fold=number) for number in (0, fold))
    state = trained.state_dict()
    assert len(set(state["trained_on"])) == 8
    tested.trainer = SimpleNamespace(state=SimpleNamespace(fn=TrainerFn.TESTING), lightning_module=None)
    tested.load_state_dict(state)
    assert tested.protocol["split"]["trials_trained_on"] == known
    message = [str(warning.message) for warning in recwarn if "were trained on" in str(warning.message)]
    assert len(message) == (known > 0)
    assert not known or "4 of 4 trials to test were trained on" in message[0]


def test_training_pieces_may_be_longer(tmp_path):
    table(tmp_path, scenes=9)  # of 2 to 4 fixations
    settings = {"dataset": "table", "root": str(tmp_path), "folds": 3, "train_overlap": 1, "test_overlap": 1}
    data = ScanpathData(**settings, window=2, train_window=4)
    assert max(trial.length for trial in data.trials("fit")) == 4
    assert {trial.length for trial in data.trials("test")} == {2}
    with pytest.raises(ConfigError, match="without window"):
        ScanpathData(**settings, train_window=4)
    with pytest.raises(ConfigError, match="windows of 2 or more"):
        ScanpathData(**settings, window=4, train_window=1)


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": "amazon_cover"},
        {"split": "item"},
        {"assign": "first_bx"},
        {"unassigned": "drp"},
        {"objects": "crop"},
    ],
)
def test_unknown_words_are_refused_in_python_too(root, changes):
    """An unknown rule would otherwise be taken for the last one in line."""
    (name, value), *_ = changes.items()
    with pytest.raises(ConfigError, match=f"{name}={value!r} is not known: choose one of"):
        make(root, **changes)
