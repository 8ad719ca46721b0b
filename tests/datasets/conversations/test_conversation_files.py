"""Rows and pictures inside tables and archives, at any place and in any order."""

import io
import json
import os
import tarfile
from collections import Counter

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from conversations import llava, picture
from PIL import Image

from vision_suite.datasets.conversations import tars
from vision_suite.datasets.conversations.pictures import Appearance, read_picture, unreadable
from vision_suite.datasets.conversations.rows import BadRow
from vision_suite.datasets.conversations.sources import RowSource, SourceSettings
from vision_suite.errors import DataError
from vision_suite.types.instruct import ImageRef


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "cache"))


def encoded(colour):
    out = io.BytesIO()
    Image.new("RGB", (6, 4), colour).save(out, "PNG")
    return out.getvalue()


def colour_of(ref):
    return read_picture(ref).getpixel((0, 0))


def messages(places, answer):
    asked = [*({"type": "image", "text": None} for _ in range(places)), {"type": "text", "text": "What?"}]
    return [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": [{"type": "text", "text": answer}]},
    ]


def test_a_folder_of_tables(tmp_path):
    folder = tmp_path / "tables"
    picture(folder / "beside.png", (9, 9, 9))
    counts = [1, 0, 2, 1, 1]
    for part in range(2):
        images = [
            [{"bytes": encoded((part, row, place)), "path": None} for place in range(n)] for row, n in enumerate(counts)
        ]
        images[4] = [{"bytes": None, "path": "beside.png"}]
        rows = {"messages": [messages(n, f"{part} {row}") for row, n in enumerate(counts)], "images": images}
        pyarrow.parquet.write_table(pyarrow.table(rows), folder / f"part-{part}.parquet", row_group_size=2)
    source = RowSource("t", SourceSettings(str(folder)))
    assert len(source) == 10
    for index in (7, 0, 2, 6, 3):
        row = source.row(index, Counter())
        part, place = divmod(index, 5)
        assert row.messages[-1].parts == (f"{part} {place}",)
        assert [colour_of(ref) for ref in row.images] == [(part, place, n) for n in range(counts[place])]
    assert colour_of(source.row(9, Counter()).images[0]) == (9, 9, 9)
    assert not unreadable(ref for index in range(10) for ref in source.row(index, Counter()).images)


@pytest.mark.parametrize(
    ("column", "value"), [("image", {"bytes": encoded((1, 2, 3)), "path": "x"}), ("image", encoded((1, 2, 3)))]
)
def test_a_table_with_one_picture_a_row(tmp_path, column, value):
    record = {"conversations": [llava(0)["conversations"]] * 2, column: [value, None]}
    pyarrow.parquet.write_table(pyarrow.table(record), tmp_path / "t.parquet")
    source = RowSource("t", SourceSettings(str(tmp_path / "t.parquet")))
    assert [colour_of(ref) for ref in source.row(0, Counter()).images] == [(1, 2, 3)]
    notes = Counter()
    assert source.row(1, notes).images == ()
    assert notes == {"markers_without_image_removed": 1}


def write_tar(path, members):
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, contents in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(contents)
            archive.addfile(info, io.BytesIO(contents))


def test_archives_are_indexed_once(tmp_path, monkeypatch):
    two = {**llava(1), "conversations": [{"from": "human", "value": "<image><image>"}, {"from": "gpt", "value": "Two"}]}
    write_tar(
        tmp_path / "tars" / "0.tar",
        {
            "./000.json": json.dumps(llava(0)).encode(),
            "./000.jpg": encoded((1, 1, 1)),
            "./001.1.png": encoded((3, 3, 3)),
            "./001.png": encoded((2, 2, 2)),
            "./001.json": json.dumps(two).encode(),
        },
    )
    write_tar(tmp_path / "tars" / "1.tar", {"a/x.png": encoded((4, 4, 4)), "a/x.txt": b"A dog.\n", "b.json": b"{"})
    source = RowSource("t", SourceSettings(str(tmp_path / "tars")))
    assert len(source) == 4
    assert [colour_of(ref) for ref in source.row(1, Counter()).images] == [(2, 2, 2), (3, 3, 3)]
    caption = source.row(2, Counter())
    assert (caption.id, caption.messages[0].parts, caption.messages[1].parts) == ("a/x", (0,), ("A dog.",))
    with pytest.raises(DataError, match="it is not JSON"):
        source.row(3, Counter())
    monkeypatch.setattr(tars, "read_index", None)
    again = RowSource("t", SourceSettings(str(tmp_path / "tars")))
    assert [again.row(index, Counter()) for index in range(3)] == [source.row(index, Counter()) for index in range(3)]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.jpg": b"x"}, "row 'a' has no .json and no .txt member"),
        ({"a.json": b"{}", "a.mp4": b"x"}, "'a.mp4' is neither"),
        ({"a.json": b"{}", "./a.json": b"{}"}, "twice"),
    ],
)
def test_archives_that_are_refused(tmp_path, members, message):
    write_tar(tmp_path / "a.tar", members)
    with pytest.raises(DataError, match=message):
        RowSource("t", SourceSettings(str(tmp_path / "a.tar")))


def test_damaged_and_unknown_files(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"x" * 2000)
    (tmp_path / "a.parquet").write_bytes(b"x" * 2000)
    (tmp_path / "a.csv").write_text("x")
    (tmp_path / "empty.json").write_text("[]")
    (tmp_path / "object.json").write_text("{}")
    for name, message in (
        ("a.tar", "cannot be read"), ("a.parquet", "cannot be read"), ("a.csv", "of no known kind"),
        ("empty.json", "has no rows"), ("object.json", "no list of rows"), ("gone.json", "does not exist"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=message) as caught:
            RowSource("t", SourceSettings(str(tmp_path / name)))
        assert "\n" not in str(caught.value)


def test_a_limit_is_spread_evenly(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([llava(n, image=False) for n in range(10)]))
    source = RowSource("t", SourceSettings(str(tmp_path / "a.json"), limit=4))
    assert [source.row(index, Counter()).id for index in range(len(source))] == ["r0", "r2", "r5", "r7"]


def test_kinds_of_turns_are_kept_where_there_are_chains(tmp_path):
    turn = {"kind": "T", "source": "s", "question": "Which?", "answer": "a"}
    single, chain = {"config": "T", "turns": [turn]}, {"config": "TT", "turns": [turn, turn]}
    for name, lines in (("single", [single, single]), ("iit", [single, chain])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    source = RowSource("t", SourceSettings(str(tmp_path / "single.jsonl")))
    assert [source.row(index, Counter()).config for index in range(2)] == ["", ""]
    source = RowSource("t", SourceSettings(str(tmp_path / "iit.jsonl")))
    assert [source.row(index, Counter()).config for index in range(2)] == ["T", "TT"]


def test_pictures_that_are_all_asked_the_same(tmp_path):
    for name in ("b", "a"):
        picture(tmp_path / f"{name}.png", (1, 2, 3))
    for given in (tmp_path, tmp_path / "a.png", tmp_path / "*.png"):
        with pytest.raises(DataError, match="has pictures and no rows: to predict give a question") as caught:
            RowSource("t", SourceSettings(str(given)))
        assert "\n" not in str(caught.value)
    source = RowSource("t", SourceSettings(str(tmp_path), question="What is it?"))
    notes = Counter()
    row = source.row(0, notes)
    assert (row.id, row.messages[0].parts, len(source)) == ("a.png", (0, "\nWhat is it?"), 2)
    assert not notes, "a picture in front of its question is no problem of the data"
    assert colour_of(row.images[0]) == (1, 2, 3)


@pytest.mark.parametrize("size", [(8, 8), (10, 6)])
@pytest.mark.parametrize("shape", [(12, 5), (5, 12), (7, 7)])
def test_padding_keeps_the_shape_of_a_picture(size, shape):
    """LLaVA's rule: the canvas has the mean colour, and the picture lies in its middle."""
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (shape[1], shape[0], 3), dtype=np.uint8))
    seen = Appearance(size, (0.5, 0.25, 0.75), (1.0, 1.0, 1.0)).pixels(image)
    width, height = shape
    wide = max(width, int(np.ceil(height * size[1] / size[0])))
    high = max(height, int(np.ceil(width * size[0] / size[1])))
    canvas = np.full((high, wide, 3), (127, 63, 191), dtype=np.uint8)
    top, left = (high - height) // 2, (wide - width) // 2
    canvas[top : top + height, left : left + width] = np.asarray(image)
    expected = Image.fromarray(canvas).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    assert np.array_equal(seen.permute(1, 2, 0).numpy(), np.asarray(expected))
    stretched = Appearance(size, (0.5,) * 3, (1.0,) * 3, square="stretch").pixels(image)
    assert np.array_equal(
        stretched.permute(1, 2, 0).numpy(), np.asarray(image.resize((size[1], size[0]), Image.Resampling.BICUBIC))
    )


def test_lines_that_are_no_json_are_counted(tmp_path):
    """Texts may hold the separators of Unicode, which end no line."""
    good = json.dumps(llava(0, "A\u2028dog\x85.", image=False), ensure_ascii=False)
    (tmp_path / "a.jsonl").write_text(f"{good}\n{good[:20]}\n[1]\n{good}\n", encoding="utf-8")
    source = RowSource("t", SourceSettings(str(tmp_path / "a.jsonl")))
    assert len(source) == 4
    assert source.row(3, Counter()).messages[-1].parts == ("A\u2028dog\x85.",)
    for index, message in ((1, "row 'line 2': it is not JSON"), (2, "row 'line 3': it is no object")):
        with pytest.raises(BadRow, match=message) as caught:
            source.row(index, Counter())
        assert caught.value.reason == "malformed"


def test_an_archive_that_ends_too_early_is_refused(tmp_path):
    """Python's reader takes a damaged or cut header behind the first member for the end."""
    path = tmp_path / "a.tar"
    write_tar(path, {f"{n}.{kind}": data for n in range(3) for kind, data in (("txt", b"A dog."), ("png", encoded(n)))})
    whole = path.read_bytes()
    assert len(tars.read_index(path)) == 3
    third = whole.index(b"2.txt")
    damaged = bytearray(whole)
    damaged[third + 148 : third + 156] = b"01234567"
    for contents in (whole[:third], whole[: third + 100], whole[: third + 600], bytes(damaged)):
        path.write_bytes(contents)
        with pytest.raises(DataError, match="cannot be read") as caught:
            tars.read_index(path)
        assert "\n" not in str(caught.value)


def test_cells_that_are_no_pictures(tmp_path):
    conversations = [llava(0)["conversations"]]
    for number, image in enumerate((5, {"bytes": "text", "path": None}, {"path": 7}, b"", True)):
        path = tmp_path / f"{number}.parquet"
        pyarrow.parquet.write_table(pyarrow.table({"conversations": conversations, "image": [image]}), path)
        row = RowSource("t", SourceSettings(str(path))).row(0, Counter())
        assert "cannot be read" in unreadable(row.images)[row.images[0]]


def test_a_table_with_text_that_is_no_utf8(tmp_path):
    texts = pyarrow.StringArray.from_buffers(1, pyarrow.py_buffer(b"\0\0\0\0\2\0\0\0"), pyarrow.py_buffer(b"\xff\xfe"))
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "a.parquet")
    with pytest.raises(BadRow, match="cannot be read"):
        RowSource("t", SourceSettings(str(tmp_path / "a.parquet"))).row(0, Counter())


def test_pipes_and_devices_are_no_pictures(tmp_path):
    """Opening a pipe would wait for ever."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    refs = [ImageRef(tmp_path / name) for name in ("pipe.png", "zero.png")]
    found = unreadable(refs)
    assert all("a device or a pipe" in found[ref] for ref in refs)


def test_a_long_strip_is_padded_within_bounds():
    image = Image.new("RGB", (60_000, 1), (250, 0, 0))
    seen = Appearance((16, 16), (0.5,) * 3, (1.0,) * 3).pixels(image)
    assert seen.shape == (3, 16, 16)
    assert seen.min() >= 100, "the mean colour, but for the strip"


def test_lists_of_every_kind_and_columns_that_are_there_twice(tmp_path):
    asked = pyarrow.array([[{"from": "human", "value": "<image><image>"}, {"from": "gpt", "value": "Two"}]])
    names = [["a.png", "b.png"]]
    for number, kind in enumerate((pyarrow.list_(pyarrow.string(), 2), pyarrow.large_list(pyarrow.string()))):
        table = pyarrow.table({"conversations": asked, "images": pyarrow.array(names, kind)})
        pyarrow.parquet.write_table(table, tmp_path / f"{number}.parquet")
        assert len(RowSource("t", SourceSettings(str(tmp_path / f"{number}.parquet"))).row(0, Counter()).images) == 2
    twice = pyarrow.Table.from_arrays([asked, asked], names=["conversations", "conversations"])
    pyarrow.parquet.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(DataError, match="the column 'conversations' twice"):
        RowSource("t", SourceSettings(str(tmp_path / "twice.parquet")))


def test_a_path_that_is_no_utf8_and_a_column_with_a_dot(tmp_path):
    asked = pyarrow.array([llava(0)["conversations"]])
    bad = pyarrow.StringArray.from_buffers(1, pyarrow.py_buffer(b"\0\0\0\0\2\0\0\0"), pyarrow.py_buffer(b"\xff\xfe"))
    pyarrow.parquet.write_table(pyarrow.table({"conversations": asked, "image": bad}), tmp_path / "a.parquet")
    ref = RowSource("t", SourceSettings(str(tmp_path / "a.parquet"))).row(0, Counter()).images[0]
    assert "cannot be read" in unreadable([ref])[ref]
    picture(tmp_path / "a.png", (7, 7, 7))
    table = pyarrow.table({"conversations": asked, "image": ["a.png"], "image.path": ["b.png"]})
    pyarrow.parquet.write_table(table, tmp_path / "b.parquet")
    assert colour_of(RowSource("t", SourceSettings(str(tmp_path / "b.parquet"))).row(0, Counter()).images[0]) == (
        7,
        7,
        7,
    )
