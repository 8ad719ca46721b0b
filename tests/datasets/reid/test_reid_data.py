"""ReIDData: what is known at once, batches, validation choices, unreadable pictures, prediction inputs."""

import warnings

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from PIL import Image
from synthetic import save, write_market
from synthetic_sets import write_cuhk03, write_msmt17, write_vehicleid, write_veri776

from vision_suite.datasets.pictures import checks
from vision_suite.datasets.pictures.transforms import LIGHT, Augment
from vision_suite.datasets.reid.data import ReIDData
from vision_suite.errors import ConfigError, DataError
from vision_suite.types import ReIDBatch, Role

NO_CHANGE = Augment(hflip=0, pad=0, erase=0)


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    return write_market(tmp_path_factory.mktemp("market"), train_ids=8, test_ids=3, cameras=2, shots=2, manifest=True)


def small(root, dataset="market_folder", **settings):
    defaults = {"image_size": (16, 8), "batch_size": 8, "num_instances": 2, "seed": 0}
    return ReIDData(dataset, str(root), **{**defaults, **settings})


def collect(loader):
    batches = list(loader)
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def test_everything_that_is_linked_is_known_before_setup(market):
    data = small(market)
    assert (data.num_classes, data.num_cameras, data.num_views) == (8, 2, 0)
    assert data.protocol["counts"]["query"] == {"images": 6, "identities": 3}
    assert data.protocol["counts_checked"] is True
    assert data.protocol["fingerprint"]["files"] == 32 + 6 + 12
    assert data.protocol["validation"] == "none"
    assert data.protocol["test_used_for_validation"] is False


def test_training_batches_keep_the_contract(market):
    data = small(market)
    data.setup("fit")
    loader = data.train_dataloader()
    batches = list(loader)
    assert len(batches) == len(loader) == 4
    for batch in batches:
        assert set(batch) == set(ReIDBatch.__annotations__) | {"image", "index", "role"}
        assert batch["image"].shape == (8, 3, 16, 8)
        assert batch["image"].dtype == torch.float32
        assert all(batch[name].dtype == torch.int64 for name in batch if name != "image")
        assert batch["identity"].unique().numel() == 4
        for index, identity, camera in zip(batch["index"], batch["identity"], batch["camera"], strict=True):
            path, label, seen_by = data.record("fit", int(index))
            assert (label, seen_by) == (int(identity), int(camera))
            assert f"/{data.identities[label]:04d}_c{seen_by + 1}" in path
    everything = collect(loader)
    assert set(everything["identity"].tolist()) <= set(range(8))


def test_evaluation_order_roles_and_numbers(market):
    data = small(market, eval_batch_size=5)
    data.setup("test")
    everything = collect(data.test_dataloader())
    assert everything["index"].tolist() == list(range(18))
    assert everything["role"].tolist() == [int(Role.QUERY)] * 6 + [int(Role.GALLERY)] * 12
    assert set(everything["identity"].tolist()) == {2, 4, 6}, "test identities keep their own numbers"
    again = collect(data.test_dataloader())
    assert all(torch.equal(everything[name], again[name]) for name in everything)


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_evaluation_pixels_are_resized_and_normalised(market, cache):
    data = small(market, cache=cache)
    data.setup("test")
    everything = collect(data.test_dataloader())
    for index in (0, 7, 17):
        path = data.record("test", index)[0]
        with Image.open(path) as picture:
            expected = np.asarray(picture.resize((8, 16), Image.Resampling.BICUBIC)).transpose(2, 0, 1) / 127.5 - 1
        np.testing.assert_allclose(everything["image"][index].numpy(), expected, atol=1e-5)
        np.testing.assert_array_equal(np.asarray(data.picture("test", index)), np.asarray(Image.open(path)))


def test_memory_workers_and_disk_give_the_same_training_pixels(market):
    results = []
    for settings in ({"cache": "memory"}, {"num_workers": 0}, {"num_workers": 2}):
        data = small(market, augment=LIGHT, **settings)
        data.setup("fit")
        results.append(collect(data.train_dataloader()))
    for other in results[1:]:
        assert all(torch.equal(results[0][name], other[name]) for name in other)


def test_transreid_compat_changes_only_the_evaluation_filter(market):
    plain, compat = small(market, augment=NO_CHANGE), small(market, augment=NO_CHANGE, transreid_compat=True)
    assert compat.protocol["resize"] == {"train": "bicubic", "eval": "bilinear"}
    for data in (plain, compat):
        data.setup("fit")
        data.setup("test")
    assert torch.equal(*(collect(d.train_dataloader())["image"] for d in (plain, compat)))
    assert not torch.equal(*(collect(d.test_dataloader())["image"] for d in (plain, compat)))
    path = compat.record("test", 0)[0]
    expected = np.asarray(Image.open(path).resize((8, 16), Image.Resampling.BILINEAR)).transpose(2, 0, 1) / 127.5 - 1
    np.testing.assert_allclose(collect(compat.test_dataloader())["image"][0].numpy(), expected, atol=1e-5)


def test_own_validation_folders_are_used(tmp_path):
    data = small(write_market(tmp_path, train_ids=8, val_ids=3, cameras=2, manifest=True))
    data.setup("fit")
    assert data.protocol["validation"] == "official"
    everything = collect(data.val_dataloader())
    assert set(everything["identity"].tolist()) == {1001, 1002, 1003}
    assert int((everything["role"] == int(Role.QUERY)).sum()) == 6


def test_holdout_takes_whole_identities_and_is_seeded(market):
    one, same = (small(market, validation="holdout", val_fraction=0.25) for _ in range(2))
    other = small(market, validation="holdout", val_fraction=0.25, split_seed=9)
    assert one.num_classes == 6
    held = [{d.record("validate", i)[1] for i in range(d.size("validate"))} for d in (one, same, other)]
    assert held[0] == held[1] != held[2]
    assert not held[0] & set(one.identities)
    assert held[0] | set(one.identities) == {1, 3, 5, 7, 9, 11, 13, 15}
    one.setup("fit")
    val = collect(one.val_dataloader())
    query = val["role"] == int(Role.QUERY)
    assert int(query.sum()) == 4, "one query per identity and camera"
    assert int((~query).sum()) == 4
    assert (one.protocol["val_fraction"], one.protocol["split_seed"]) == (0.25, 0)


def test_a_held_out_picture_without_sisters_is_query_and_gallery_only_if_cameras_are_known(tmp_path):
    write_market(tmp_path, cameras=2)
    names = sorted(path.name for path in (tmp_path / "bounding_box_train").iterdir())[:4]
    rows = [f"bounding_box_train/{name},{i},{'' if i > 1 else 0}" for i, name in enumerate(names)]
    (tmp_path / "m.csv").write_text("\n".join(["path,id,camera", *rows]))
    data = small(tmp_path / "m.csv", "manifest", validation="holdout", val_fraction=0.5)
    records = [(data.record("validate", i), data._records["validate"][i].role) for i in range(data.size("validate"))]
    for (_, identity, camera), _ in records:
        roles = {role for (_, other, _), role in records if other == identity}
        assert roles == ({Role.GALLERY} if camera < 0 else {Role.QUERY, Role.GALLERY})


def test_validating_on_test_is_marked(market):
    data = small(market, validation="test")
    assert data.protocol["test_used_for_validation"] is True
    assert data.size("validate") == data.size("test")


def test_no_validation_means_no_loader(market):
    data = small(market)
    data.setup("fit")
    assert data.val_dataloader() == []
    with pytest.raises(DataError, match="no pictures to validate on"):
        data.setup("validate")


def test_asking_for_validation_that_is_not_there(market):
    with pytest.raises(ConfigError, match="use validation=holdout"):
        small(market, validation="official")
    with pytest.raises(ConfigError, match=r"val_fraction=0\.99"):
        small(market, validation="holdout", val_fraction=0.99)


def test_msmt17_states_its_use_of_val(tmp_path):
    data = small(write_msmt17(tmp_path), "msmt17", check_counts=False)
    assert data.protocol["msmt17_use_val"] is True
    assert data.protocol["counts"]["train"]["images"] == 24
    assert data.protocol["counts_checked"] is False
    assert small(tmp_path, "msmt17", check_counts=False, msmt17_use_val=False).protocol["msmt17_use_val"] is False


@pytest.mark.parametrize(
    ("dataset", "write", "classes", "cameras", "views"),
    [
        ("veri776", write_veri776, 3, 20, 4),
        ("vehicleid", write_vehicleid, 4, 0, 0),
        ("cuhk03", write_cuhk03, 4, 2, 0),
        ("msmt17", write_msmt17, 4, 3, 0),
        ("market1501", write_market, 6, 3, 0),
        ("dukemtmc", write_market, 6, 3, 0),
        ("occluded_duke", write_market, 6, 3, 0),
    ],
)
@pytest.mark.filterwarnings("error")
def test_every_data_set_gives_batches(tmp_path, dataset, write, classes, cameras, views):
    data = small(write(tmp_path), dataset, check_counts=False, batch_size=4, num_workers=0)
    assert (data.num_classes, data.num_cameras, data.num_views) == (classes, cameras, views)
    for stage in ("fit", "test"):
        data.setup(stage)
    assert collect(data.train_dataloader())["image"].shape[1:] == (3, 16, 8)
    assert len(collect(data.test_dataloader())["index"]) == data.size("test")


def test_official_counts_are_checked_by_default(market):
    with pytest.raises(DataError, match="expected 12936 of 751"):
        small(market, "market1501")


def test_multi_query(tmp_path):
    write_market(tmp_path)
    save(tmp_path / "gt_bbox" / "0002_c1s1_000001_00.jpg", 2)
    data = small(tmp_path, "market1501", check_counts=False, multi_query=True)
    assert [data._records["test"][i].role for i in range(data.size("test"))].count(Role.SUPPORT) == 1
    with pytest.raises(ConfigError, match="multi_query needs Market-1501's gt_bbox"):
        small(tmp_path, "dukemtmc", multi_query=True)


def test_one_sided_evaluation_split_is_an_error(tmp_path):
    save(tmp_path / "a.png", 1)
    (tmp_path / "m.csv").write_text("path,id,camera,split\na.png,1,0,query\n")
    with pytest.raises(DataError, match="the gallery split is empty"):
        small(tmp_path / "m.csv", "manifest")


def test_missing_cameras_are_warned_about(tmp_path):
    save(tmp_path / "a.png", 1)
    save(tmp_path / "b.png", 1, shot=1)
    (tmp_path / "m.csv").write_text("path,id,split\na.png,1,query\nb.png,1,gallery\n")
    with pytest.warns(UserWarning, match="matches of the same camera are not removed"):
        data = small(tmp_path / "m.csv", "manifest")
    assert data.num_classes == 0
    with pytest.raises(DataError, match="no pictures to fit on"):
        data.setup("fit")


@pytest.fixture
def damaged(tmp_path):
    write_market(tmp_path, train_ids=5, cameras=2)
    names = sorted((tmp_path / "bounding_box_train").iterdir())
    names[3].write_bytes(names[3].read_bytes()[:200])
    names[4].write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_unreadable_pictures_stop_before_training_or_are_skipped_and_counted(damaged, cache):
    data = small(damaged, cache=cache, batch_size=4)
    with pytest.raises(
        DataError, match=r"2 of 20 fit pictures cannot be read, the first is .*--data\.on_bad_image skip"
    ):
        data.setup("fit")
    data = small(damaged, cache=cache, batch_size=4, on_bad_image="skip", augment=NO_CHANGE, num_workers=0)
    with pytest.warns(UserWarning, match="Skipped 2 of 20 fit pictures"):
        data.setup("fit")
    assert data.protocol["skipped"] == {"fit": 2}
    assert data.size("fit") == 18
    batch = collect(data.train_dataloader())
    for index, image in zip(batch["index"].tolist(), batch["image"], strict=True):
        expected = np.asarray(Image.open(data.record("fit", index)[0]).resize((8, 16), Image.Resampling.BICUBIC))
        np.testing.assert_allclose(image.numpy(), expected.transpose(2, 0, 1) / 127.5 - 1, atol=1e-5)


def test_a_split_without_any_readable_picture(damaged):
    for path in (damaged / "query").iterdir():
        path.write_bytes(b"")
    for path in (damaged / "bounding_box_test").iterdir():
        path.write_bytes(b"")
    data = small(damaged, on_bad_image="skip")
    with pytest.warns(UserWarning, match="Skipped"), pytest.raises(DataError, match="none of the 24 test pictures"):
        data.setup("test")


def test_checks_of_large_sets_are_remembered_until_a_file_changes(damaged, monkeypatch, tmp_path):
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(checks, "REMEMBER_FROM", 2)
    paths = [str(p) for p in sorted((damaged / "bounding_box_train").iterdir())]
    first = checks.find_bad(paths)
    assert len(first) == 2
    monkeypatch.setattr(checks, "check_pictures", lambda *_: pytest.fail("decoded again"))
    assert checks.find_bad(paths) == first
    monkeypatch.undo()
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(checks, "REMEMBER_FROM", 2)
    save(damaged / "bounding_box_train" / paths[4].rsplit("/", 1)[1], 1)
    assert len(checks.find_bad(paths)) == 1


def test_root_is_looked_up_in_the_working_folder_then_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    write_market(tmp_path / "cache" / "pets" / "a", train_ids=5)
    assert small("pets/a").num_classes == 5
    write_market(tmp_path / "work" / "pets" / "a", train_ids=6)
    assert small("pets/a").num_classes == 6


def test_a_missing_root_names_the_command_if_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "cache"))
    with pytest.raises(DataError, match="run `vision-suite data prepare emoji-reid"):
        small("emoji-reid-64/a")
    with pytest.raises(DataError, match=r"'nowhere' does not exist .*give the path of one that does"):
        small("nowhere")


def test_predicting_without_a_data_set(market):
    folder = market / "query"
    pictures = sorted(str(p) for p in folder.iterdir())
    (market / "list.csv").write_text("path\n" + "\n".join(f"query/{p.rsplit('/', 1)[1]}" for p in pictures[:2]))
    for inputs, expected in (
        (str(folder), pictures),
        (str(folder / "0002*.jpg"), [p for p in pictures if "/0002" in p]),
        (pictures[3], [pictures[3]]),
        (str(market / "list.csv"), pictures[:2]),
    ):
        data = ReIDData(image_size=(16, 8), predict_inputs=inputs, predict_gallery=str(market / "bounding_box_test"))
        data.setup("predict")
        batch = collect(data.predict_dataloader())
        assert set(batch) == {"image", "index", "role"}
        queries = batch["index"][batch["role"] == int(Role.QUERY)].tolist()
        assert [data.record("predict", i)[0] for i in queries] == expected
        assert len(batch["index"]) == len(expected) + 12
    with pytest.raises(ConfigError, match=r"fit needs a data set: give --data\.root"):
        data.setup("fit")


def test_predicting_the_test_split_by_default(market):
    data = small(market)
    data.setup("predict")
    batch = collect(data.predict_dataloader())
    assert int((batch["role"] == int(Role.QUERY)).sum()) == 6
    assert data.record("predict", 0) == data.record("test", 0)


def test_prediction_inputs_that_do_not_work(market, tmp_path):
    with pytest.raises(DataError, match="no picture found at"):
        ReIDData(predict_inputs=str(tmp_path))
    with pytest.raises(ConfigError, match="predict_gallery is given without predict_inputs"):
        small(market, predict_gallery=str(market / "query"))
    with pytest.raises(ConfigError, match=r"no data set: give --data\.root"):
        ReIDData()
    (tmp_path / "broken.png").write_bytes(b"no picture")
    data = ReIDData(predict_inputs=str(tmp_path / "broken.png"))
    with pytest.raises(DataError, match="1 of 1 predict pictures cannot be read"):
        data.setup("predict")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the new name needs jsonargparse 4.49
def test_every_argument_is_a_flag_with_help(market):
    parser = ArgumentParser()
    parser.add_class_arguments(ReIDData, "data")
    text = parser.format_help()
    for flag in ("--data.root", "--data.augment.hflip", "--data.augment.scale", "--data.msmt17_use_val"):
        assert flag in text
    config = parser.parse_args(
        [
            "--data.root",
            str(market),
            "--data.augment.hflip=0",
            "--data.augment.scale=[0.9,1.1]",
            "--data.image_size=[8,8]",
        ]
    )
    data = parser.instantiate_classes(config).data
    assert data.image_size == (8, 8)
    assert data._prepare[True].augment == Augment(hflip=0, scale=(0.9, 1.1))


def test_the_seed_of_the_run_is_the_default(market, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "77")
    assert small(market, seed=None).seed == 77
    assert small(market, seed=3).seed == 3


def test_loading_says_what_is_used(market, caplog):
    with caplog.at_level("INFO"), warnings.catch_warnings():
        small(market).setup("fit")
    assert "train 32 images, 8 identities" in caplog.text
    assert "validation='none'" in caplog.text
