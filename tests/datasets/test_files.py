"""Small text files: what is read, and messages that name the file, the row and the column."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_suite.datasets.files import finite, is_file, read_json, read_json_lines, read_lines, read_table, whole
from vision_suite.errors import DataError


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"))))
def test_lines_are_those_that_python_splits(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("lines") / "list.txt"
    path.write_bytes("\ufeff".encode() + "\r\n".join(lines).encode())
    assert read_lines(path) == [line for line in lines if line.strip()]


def test_numbers_of_files():
    assert [finite(value) for value in ("3", " 2.5 ", 4, True)] == [3, 2.5, 4, 1]
    assert all(math.isnan(finite(value)) for value in ("", ".", "x", None, [], "inf", float("nan")))


def test_whole_numbers(tmp_path):
    assert [whole(text, tmp_path, "n") for text in ("3", "3.0", " -2 ")] == [3, 3, -2]
    for text in ("3.5", "", "inf"):
        with pytest.raises(DataError, match="is not a whole number"):
            whole(text, tmp_path, "n")


def test_json(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(DataError, match="is missing: unpack"):
        read_json(path)
    path.write_text("\ufeff" + json.dumps({"a": [1, None]}), encoding="utf-8")
    assert read_json(path) == {"a": [1, None]}
    for damaged in (b"{", b"\xff", b"[" * 100_000):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="is not JSON"):
            read_json(path)


def test_json_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n\n{"b": 2}\n')
    assert read_json_lines(path) == [{"a": 1}, {"b": 2}]
    path.write_text('{"a": 1}\n[1]\n')
    with pytest.raises(DataError, match="row 2 is not a JSON object"):
        read_json_lines(path)
    path.write_text('{"a": 1}\n{"b"\n')
    with pytest.raises(DataError, match="row 2 is not JSON"):
        read_json_lines(path)


def test_tables(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('a, b ,c\n1,"x, y",3\n\n4, 5 \n')
    assert read_table(path, ("a", "b")) == [{"a": "1", "b": "x, y", "c": "3"}, {"a": "4", "b": "5", "c": ""}]
    for contents, message in (
        ("a,b\n1,2,3\n", "row 2 has more columns than the header"),
        ("a,b\n", "has no rows"),
        ("b\n1\n", "has no column 'a': it has b"),
        ("", "has no column 'a': it has none"),
    ):
        path.write_text(contents)
        with pytest.raises(DataError, match=message):
            read_table(path, ("a",))


def test_json_with_a_key_twice_is_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"videos": [{"start": 1, "end": 2, "start": 3}]}')
    with pytest.raises(DataError, match="has 'start' twice in one object: remove one"):
        read_json(path)
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"a": 1, "a": 1}\n')
    with pytest.raises(DataError, match="row 2 is not JSON: it has 'a' twice in one object"):
        read_json_lines(path)


def test_a_number_beyond_all_floats_is_none():
    assert math.isnan(finite(10**400))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a,b,a\n1,2,3\n", "has the column 'a' twice: remove one"),
        ("a,b\n1," + "9" * 200_000 + "\n", "is malformed (field larger than field limit"),
        ('a,b\n1,"2\n3,4\n', "is malformed (unexpected end of data)"),
    ],
)
def test_tables_with_two_meanings_are_refused(tmp_path, text, line):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        read_table(path, ("a",))
    assert line in str(error.value)
    assert "a.csv" in str(error.value)


def test_a_name_that_no_file_can_have_is_no_file(tmp_path):
    assert not is_file(tmp_path / ("x" * 300))
    assert not is_file(tmp_path)
    (tmp_path / "a").touch()
    assert is_file(tmp_path / "a")
