"""Files of pairs: every layout is read back as it was written."""

import io
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from vision_suite.datasets.conversations.pictures import read_picture
from vision_suite.datasets.preference.sources import PairSettings, PairSource
from vision_suite.errors import ConfigError, DataError
from vision_suite.mining.export import ENDINGS, layout_of, write_pairs
from vision_suite.types.conversations import ImageRef, Message
from vision_suite.types.preference import PreferenceRow

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="<"), min_size=1).map(str.strip).filter(bool)
NAMES = st.lists(TEXT, max_size=3).map(tuple)
ENDS = st.sampled_from([True, False, None])
TABLES = ("parquet", "trl")


@st.composite
def pairs(draw):
    chosen, rejected = draw(st.lists(TEXT, min_size=2, max_size=2, unique=True))
    return PreferenceRow(
        f"p{draw(st.integers(0, 99))}", (Message("user", (0, f"\n{draw(TEXT)}")),), (ImageRef(Path("a b.png")),),
        draw(st.just("") | TEXT), chosen, rejected, draw(ENDS), draw(ENDS), "pairs", draw(NAMES), draw(NAMES),
    )  # fmt: skip


def placed(rows, folder):
    """Rows with pictures in a folder."""
    return [
        replace(row, images=tuple(replace_path(ref, folder / "pictures" / ref.path.name) for ref in row.images))
        for row in rows
    ]


def replace_path(ref, path):
    return ref._replace(path=path)


def read(path, **settings):
    source = PairSource("pairs", PairSettings(str(path), **settings))
    return [source.row(index, Counter()) for index in range(len(source))]


def comparable(rows):
    """Rows in one order, with pictures by their path, since those of a table are cells of it."""
    named = []
    for row in rows:
        refs = []
        for ref in row.images:
            if ref.start >= 0:
                cell = pyarrow.parquet.read_table(ref.path, columns=["images"])["images"][ref.start].as_py()
                ref = ImageRef(Path(ref.column.partition("@")[2]) / cell[0]["path"])
            refs.append(ref)
        named.append(replace(row, images=tuple(refs)))
    return sorted(named, key=repr)


@pytest.mark.parametrize("layout", sorted(ENDINGS))
@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(pairs(), min_size=1, max_size=4))
def test_every_layout_is_read_back(layout, rows, tmp_path):
    path = tmp_path / f"out{ENDINGS[layout]}"
    rows = placed(rows, tmp_path)
    assert write_pairs(rows, path, layout) == len(rows)
    assert comparable(read(path)) == sorted(rows, key=repr)


def row(**changes):
    own = PreferenceRow(
        "r", (Message("user", (0, "\nWhat?")),), (ImageRef(Path("/x/a.png")),), "A cat.", "A dog.", "A cow.",
        True, False, "pairs", ("dog",), ("cow",),
    )  # fmt: skip
    return replace(own, **changes)


TURNS = (Message("system", ("Be short.",)), Message("user", ("See ", 0, " and ", 1)), Message("assistant", ("Yes.",)))


@pytest.mark.parametrize("layout", ["trl", "trl_json"])
def test_several_turns_and_pictures(layout, tmp_path):
    made = row(messages=(*TURNS, Message("user", ("So <image>?",))), images=(ImageRef(Path("/x/a.png")),) * 2)
    path = tmp_path / f"out{ENDINGS[layout]}"
    write_pairs([made], path, layout)
    (found,) = read(path)
    assert replace(found, images=made.images) == made
    assert len(found.images) == 2


@pytest.mark.parametrize("layout", ["official", "official_json", "llama_factory", "parquet"])
def test_what_a_layout_cannot_hold_is_refused(layout, tmp_path):
    path = tmp_path / f"out{ENDINGS[layout]}"
    path.write_text("before")
    with pytest.raises(DataError, match=r"'r' has 4 turns.*layout=trl"):
        write_pairs([row(messages=(*TURNS, Message("user", ("So?",))))], path, layout)
    with pytest.raises(DataError, match="'<image>' in its question"):
        write_pairs([row(messages=(Message("user", (0, "\nAn <image>?")),))], path, layout)
    assert path.read_text() == "before"


@pytest.mark.parametrize("layout", ["official", "parquet"])
@pytest.mark.parametrize("parts", [("What is ", 0, "?"), ("What?\n", 0), (0, "What?")])
def test_places_of_pictures_are_kept(layout, parts, tmp_path):
    path = tmp_path / f"out{ENDINGS[layout]}"
    write_pairs([row(messages=(Message("user", parts),))], path, layout)
    assert read(path)[0].messages == (Message("user", parts),)


def test_the_authors_names_of_fields(tmp_path):
    """As `run/generate_dataset.py` of SENTINEL writes them; analysis fields come from the run."""
    facts = {"image_id": "77", "nonhallu_objects": ["cat", "dog"], "is_last_sent": False}
    write_pairs([row()], tmp_path / "out.jsonl", image_root=Path("/x"), facts=[facts])
    record = json.loads((tmp_path / "out.jsonl").read_text())
    assert record == {
        "id": "r", "image_id": "77", "image_path": "a.png", "question": "What?", "context": "A cat.",
        "y_win": "A dog.", "y_lose": "A cow.", "chosen_ends": True, "rejected_ends": False, "type": "y+",
        "objects_of_y_win": ["dog"], "objects_of_y_lose": ["cow"], "nonhallu_objects": ["cat", "dog"],
        "is_last_sent": False,
    }  # fmt: skip
    write_pairs([row(), row(id="s")], tmp_path / "out.json")
    assert [pair["id"] for pair in json.loads((tmp_path / "out.json").read_text())["a"]] == ["r", "s"]
    assert read(tmp_path / "out.jsonl", image_root="/") == [row(images=(ImageRef(Path("/a.png")),))]


@pytest.mark.parametrize("layout", TABLES)
def test_pictures_inside_a_table(layout, tmp_path):
    out = io.BytesIO()
    Image.new("RGB", (4, 4), (10, 20, 30)).save(out, "PNG")
    made = [
        row(images=(ImageRef(Path("/in/a.tar"), 7, 9),)),
        row(id="t", messages=(Message("user", ("?",)),), images=()),
    ]
    with pytest.raises(DataError, match=r"inside '/in/a.tar'"):
        write_pairs(made, tmp_path / "out.parquet", layout)
    write_pairs(made, tmp_path / "out.parquet", layout, contents=lambda ref: out.getvalue())
    first, second = read(tmp_path / "out.parquet")
    assert read_picture(first.images[0]).getpixel((0, 0)) == (10, 20, 30)
    assert second == made[1]


def test_settings_are_checked(tmp_path):
    assert [layout_of(Path(f"a{end}")) for end in (".jsonl", ".json", ".parquet")] == [
        "official",
        "official_json",
        "parquet",
    ]
    for path, layout, words in (
        ("a.csv", None, "name the file"), ("a.json", "trl", r"name the file \.parquet"), ("a.json", "csv", "layout="),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            layout_of(Path(path), layout)
    with pytest.raises(DataError, match="1 pairs have 0 sets of facts"):
        write_pairs([row()], tmp_path / "a.jsonl", facts=[])
    with pytest.raises(ConfigError, match="holds no pictures"):
        write_pairs([row()], tmp_path / "a.jsonl", contents=lambda ref: b"")
