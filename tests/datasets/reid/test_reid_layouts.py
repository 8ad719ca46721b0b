"""Market-style folders and manifests: every trap of the layouts on a generated tree."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from synthetic import save, write_market

from vision_suite.datasets.pictures.records import check_counts, fingerprint, relabel
from vision_suite.datasets.reid import layouts
from vision_suite.errors import DataError
from vision_suite.types import Role


def test_market_names_cameras_and_roles(tmp_path):
    listing = layouts.read_market_folder(write_market(tmp_path, train_ids=3, test_ids=2, cameras=2, shots=2))
    train, query, gallery = (listing.splits[s] for s in ("train", "query", "gallery"))
    assert sorted({r.label for r in train}) == [1, 3, 5]
    assert sorted({r.camera for r in train}) == [0, 1], "c1 is camera 0"
    assert {r.role for r in query} == {Role.QUERY}
    assert {r.role for r in gallery} == {Role.GALLERY}
    assert [r.path for r in train] == sorted(r.path for r in train)
    for r in train:
        name = r.path.rsplit("/", 1)[1]
        assert name.startswith(f"{r.label:04d}_c{r.camera + 1}s1_")


def test_junk_is_left_out_and_counted_and_distractors_stay(tmp_path):
    write_market(tmp_path, test_ids=2, cameras=2, shots=1)
    save(tmp_path / "bounding_box_test" / "-1_c1s1_000001_00.jpg", 90)
    save(tmp_path / "bounding_box_test" / "-1_c3s2_000001_00.jpg", 91)
    save(tmp_path / "bounding_box_test" / "0000_c2s1_000001_00.jpg", 92)
    listing = layouts.read_market_folder(tmp_path)
    assert sorted(r.label for r in listing.splits["gallery"]) == [0, 2, 2, 4, 4]
    assert listing.notes["bounding_box_test_junk"] == 2


def test_suffixes_in_any_case_and_other_files(tmp_path):
    write_market(tmp_path, train_ids=1, cameras=1, shots=1)
    folder = tmp_path / "bounding_box_train"
    for name in ("0007_c1s1_000000_00.JPG", "0007_c2s1_000000_00.jpeg", "0007_c3s1_000000_00.PNG"):
        save(folder / name, 7)
    (folder / "Thumbs.db").write_bytes(b"\0thumbnails")
    (folder / "._0007_c1s1_000000_00.jpg").write_bytes(b"\0resource fork")
    listing = layouts.read_market_folder(tmp_path)
    assert [r.camera for r in listing.splits["train"] if r.label == 7] == [0, 1, 2]
    assert len(listing.splits["train"]) == 4
    assert listing.notes["passed_over"] == {"bounding_box_train": {".db": 1, "hidden": 1}}


def test_a_name_that_does_not_fit_is_an_error_not_skipped(tmp_path):
    write_market(tmp_path)
    save(tmp_path / "query" / "person_left.jpg", 1)
    with pytest.raises(DataError, match=r"person_left\.jpg.*is not named IDENTITY_cCAMERA"):
        layouts.read_market_folder(tmp_path)


def test_camera_zero_in_a_name_is_an_error(tmp_path):
    write_market(tmp_path)
    save(tmp_path / "query" / "0002_c0s1_000000_00.jpg", 1)
    with pytest.raises(DataError, match="cameras from 1"):
        layouts.read_market_folder(tmp_path)


@pytest.mark.parametrize("place", ["", "Market-1501-v15.09.15", "market1501", "market1501/Market-1501-v15.09.15"])
def test_vendor_and_nickname_folders(tmp_path, place):
    write_market(tmp_path / place, train_ids=2)
    assert len(layouts.read_market1501(tmp_path, multi_query=False).splits["train"]) == 12


def test_other_readers_find_their_folders(tmp_path):
    write_market(tmp_path / "DukeMTMC-reID", train_ids=2)
    write_market(tmp_path / "Occluded_Duke", train_ids=3)
    assert layouts.read_dukemtmc(tmp_path).counts()["train"]["identities"] == 2
    assert layouts.read_occluded_duke(tmp_path).counts()["train"]["identities"] == 3


def test_a_folder_without_the_set_says_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"bounding_box_train.*DukeMTMC-reID.*--data\.root"):
        layouts.read_dukemtmc(tmp_path)


def test_official_counts_name_what_was_found(tmp_path):
    listing = layouts.read_market1501(write_market(tmp_path, train_ids=2, cameras=3, shots=2), multi_query=False)
    with pytest.raises(DataError, match=r"train: found 12 of 2, expected 12936 of 751.*check_counts false"):
        check_counts(listing)


def test_manifest_counts_are_expected(tmp_path):
    write_market(tmp_path, manifest=True, val_ids=2)
    check_counts(layouts.read_market_folder(tmp_path))
    next((tmp_path / "bounding_box_val").iterdir()).unlink()
    with pytest.raises(DataError, match="gallery_val: found 11 of 2, expected 12 of 2"):
        check_counts(layouts.read_market_folder(tmp_path))


def test_a_broken_manifest_is_one_error(tmp_path):
    write_market(tmp_path)
    for counts in ({"query": 3}, [1], "none"):
        (tmp_path / "MANIFEST.json").write_text(json.dumps({"counts": counts}))
        with pytest.raises(DataError, match=r"MANIFEST\.json.*prepare the data set again"):
            layouts.read_market_folder(tmp_path)


def test_validation_folders_come_in_pairs(tmp_path):
    write_market(tmp_path, val_ids=2)
    assert len(layouts.read_market_folder(tmp_path).splits["query_val"]) == 6
    shutil.rmtree(tmp_path / "query_val")
    with pytest.raises(DataError, match="only one of query_val, bounding_box_val"):
        layouts.read_market_folder(tmp_path)


def test_an_empty_folder_is_an_error(tmp_path):
    write_market(tmp_path)
    for picture in (tmp_path / "query").iterdir():
        picture.unlink()
    with pytest.raises(DataError, match="query' holds no picture"):
        layouts.read_market_folder(tmp_path)


def test_multi_query_takes_only_the_queries_identities_and_cameras(tmp_path):
    write_market(tmp_path, test_ids=2, cameras=2)
    for name in (
        "0002_c1s1_000451_00.jpg",
        "0002_c1s1_000452_00.jpg",
        "0002_c6s1_000451_00.jpg",
        "0999_c1s1_01_00.jpg",
    ):
        save(tmp_path / "gt_bbox" / name, 2)
    support = layouts.read_market1501(tmp_path, multi_query=True).splits["support"]
    assert [(r.label, r.camera, r.role) for r in support] == [(2, 0, Role.SUPPORT)] * 2
    assert "support" not in layouts.read_market1501(tmp_path, multi_query=False).splits


def test_relabel_sorts_and_is_independent_of_order(tmp_path):
    train = layouts.read_market_folder(write_market(tmp_path)).splits["train"]
    forward, originals = relabel(train)
    backward, _ = relabel(train[::-1])
    assert originals == [1, 3, 5, 7, 9, 11]
    assert {r.path: r.label for r in forward} == {r.path: r.label for r in backward}
    assert all(originals[new.label] == old.label for new, old in zip(forward, train, strict=True))


def test_fingerprint_changes_with_names_and_sizes_only(tmp_path):
    one, two = write_market(tmp_path / "one"), write_market(tmp_path / "two")

    def of(root):
        return fingerprint(root, [r for s in layouts.read_market_folder(root).splits.values() for r in s])

    assert of(one) == of(two), "where the set lies does not matter"
    picture = next((two / "query").iterdir())
    picture.write_bytes(picture.read_bytes() + b"\0")
    assert of(one) != of(two)
    assert of(one)["files"] == of(two)["files"]


def test_missing_listed_files_are_counted(tmp_path):
    listing = layouts.read_market_folder(write_market(tmp_path))
    shutil.rmtree(tmp_path / "query")
    with pytest.raises(DataError, match=r"12 listed pictures are missing.*query"):
        fingerprint(tmp_path, [*listing.splits["train"], *listing.splits["query"]])


def write_pictures(root, count):
    for n in range(count):
        Image.fromarray(np.full((4, 4, 3), n, np.uint8)).save(root / f"{n}.png")


def test_csv_and_jsonl_manifests_agree(tmp_path):
    write_pictures(tmp_path, 4)
    rows = [("3.png", "7", "0", "train"), ("0.png", "2", "", "query"), ("1.png", "2", "5", "gallery")]
    header = "path,id,camera,split"
    (tmp_path / "a.csv").write_text("\n".join([header, *(",".join(r) for r in rows)]) + "\n", encoding="utf-8-sig")
    lines = [{"path": p, "id": int(i), "camera": int(c) if c else None, "split": s} for p, i, c, s in rows]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    csv, jsonl = layouts.read_reid_manifest(tmp_path / "a.csv"), layouts.read_reid_manifest(tmp_path / "a.jsonl")
    assert csv.splits == jsonl.splits
    (query,) = csv.splits["query"]
    assert (query.label, query.camera, query.view, query.role) == (2, -1, -1, Role.QUERY)
    assert query.path == str(tmp_path / "0.png")


def test_manifest_identities_may_be_names(tmp_path):
    write_pictures(tmp_path, 3)
    (tmp_path / "m.csv").write_text("path,id\n0.png,zoe\n1.png,anna\n2.png,zoe\n")
    assert [r.label for r in layouts.read_reid_manifest(tmp_path / "m.csv").splits["train"]] == [1, 0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,id,split\n0.png,1,valid\n", "line 2: split='valid' is none of train, query"),
        ("path,id,camera\n0.png,1,front\n", "line 2: camera='front' is not a whole number"),
        ("path,id\n0.png,1\n0.png,1\n", "lines 2 and 3 both name '0.png'"),
        ("path,camera\n0.png,1\n", "line 2: column 'id' is missing or empty"),
        ("file,id\n0.png,1\n", "needs a header line with a column 'path'"),
        ("path,id\n\n0.png,1,2\n", "line 3 has 3 columns, the header has 2: put names with commas in double quotes"),
        ("path,id\n0.png\n", "line 2 has 1 columns"),
        ("path,id\n", "has no rows"),
        ("", "needs a header line with a column 'path'"),
        ("path;id\n0.png;1\n", "separate the columns by commas and not semicolons, such as path,id,camera"),
        ("path\tid\n0.png\t1\n", "separate the columns by commas and not tabs"),
        ("path,id,id\n0.png,1,2\n", "has two columns 'id'"),
        ("path,id\n0.png,1\n./a/../0.png,1\n", "lines 2 and 3 both name"),
        ("path,id\n" + "x" * 200_000 + ",1\n", "is not CSV"),
    ],
)
def test_bad_manifests_name_the_line(tmp_path, text, message):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        layouts.read_reid_manifest(tmp_path / "m.csv")


def test_manifests_as_spreadsheets_write_them(tmp_path):
    write_pictures(tmp_path, 2)
    (tmp_path / "deep").mkdir()
    text = '\ufeffpath , id\r\n"../0.png", 1\r\n\r\n ../1.png,2\r\n'
    (tmp_path / "deep" / "m.csv").write_text(text, encoding="utf-8", newline="")
    records = layouts.read_reid_manifest(tmp_path / "deep" / "m.csv").splits["train"]
    assert [(r.path, r.label) for r in records] == [(str(tmp_path / f"{n}.png"), n + 1) for n in (0, 1)]
    (tmp_path / "deep" / "m.csv").write_text(text, encoding="utf-16")
    with pytest.raises(DataError, match="is not UTF-8 text"):
        layouts.read_reid_manifest(tmp_path / "deep" / "m.csv")


def test_bad_json_lines(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"path": "0.png", "id": 1}\n\n{"path": \n')
    with pytest.raises(DataError, match="line 3 is not JSON"):
        layouts.read_reid_manifest(tmp_path / "m.jsonl")
    (tmp_path / "m.jsonl").write_text("[1, 2]\n")
    with pytest.raises(DataError, match="line 1 is no JSON object"):
        layouts.read_reid_manifest(tmp_path / "m.jsonl")
    for text, message in (
        ("[" * 100_000 + "\n", "line 1 is not JSON"),
        ('{"path": ["0.png"], "id": 1}\n', "line 1: 'path' is not text or a number"),
        ("\n", "has no rows"),
    ):
        (tmp_path / "m.jsonl").write_text(text)
        with pytest.raises(DataError, match=message):
            layouts.read_reid_manifest(tmp_path / "m.jsonl")
    with pytest.raises(DataError, match=r"must be an existing \.csv or \.jsonl file"):
        layouts.read_reid_manifest(tmp_path / "none.csv")
