"""Seeded mutations of files: of their bytes, of the sizes that they declare, and of what they hold.

Every function takes a ``random.Random`` and draws from nothing else, so a case is repeated by its seed.
"""

import csv
import io
import json
import random
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Draw = random.Random
EXTREME = (1e308, -1e308, 10**400, -(10**400), 2**63, -1, 0, 0.5, 1e-320, 10**6)
DEEP = 100_000
BOM = b"\xef\xbb\xbf"
MARK = "\u0001mark\u0001"


@dataclass(frozen=True)
class Mutated:
    """A file after a mutation.

    Attributes:
        how: Name of the mutation.
        contents: The bytes.
        plain: A value that is plainly wrong where it stands: figures made with it need a word.
    """

    how: str
    contents: bytes
    plain: bool = False


# Bytes


def truncated(data: bytes, draw: Draw) -> bytes:
    """Cut off at random."""
    return data[: draw.randrange(1, len(data))]


def flipped(data: bytes, draw: Draw) -> bytes:
    """1 to 64 bits turned over."""
    out = bytearray(data)
    for _ in range(2 ** draw.randrange(7)):
        out[draw.randrange(len(out))] ^= 1 << draw.randrange(8)
    return bytes(out)


def dropped(data: bytes, draw: Draw) -> bytes:
    """Without a chunk."""
    start, end = _range(data, draw)
    return data[:start] + data[end:]


def doubled(data: bytes, draw: Draw) -> bytes:
    """With a chunk twice."""
    start, end = _range(data, draw)
    return data[:end] + data[start:]


def zeroed(data: bytes, draw: Draw) -> bytes:
    """With zeros in a range."""
    start, end = _range(data, draw)
    return data[:start] + bytes(end - start) + data[end:]


def emptied(data: bytes, draw: Draw) -> bytes:
    """An empty file."""
    return b""


def spliced(data: bytes, other: bytes, draw: Draw) -> bytes:
    """The head of one file and the tail of another."""
    return data[: draw.randrange(1, len(data))] + other[draw.randrange(1, len(other)) :]


def _range(data: bytes, draw: Draw) -> tuple[int, int]:
    start = draw.randrange(len(data))
    return start, min(len(data), start + max(1, draw.randrange(1 + len(data) // 4)))


BYTES = (truncated, flipped, dropped, doubled, zeroed, emptied)


# Declared sizes


def huge_png(data: bytes, draw: Draw) -> bytes:
    """A header that announces more pixels than there are, with the right checksum."""
    size = struct.pack(">II", *draw.choice([(60000, 60000), (2**31 - 1, 1), (9000, 9000)]))
    body = b"IHDR" + size + data[24:29]
    return data[:12] + body + struct.pack(">I", zlib.crc32(body)) + data[33:]


def huge_jpeg(data: bytes, draw: Draw) -> bytes:
    """A frame header that announces more pixels than there are."""
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", *draw.choice([(65500, 65500), (65500, 16), (9000, 9000)])) + data[at + 4 :]


def huge_tiff(data: bytes, draw: Draw) -> bytes:
    """Entries that announce more columns, rows or values than there are."""
    tag, count = draw.choice([(256, 1), (257, 1), (273, 1), (279, 1)]), draw.choice([1, 2**31])
    at = data.rindex(struct.pack("<HH", tag[0], 4)) if struct.pack("<HH", tag[0], 4) in data else None
    if at is None:
        at = data.rindex(struct.pack("<HH", tag[0], 3))
        return data[:at] + struct.pack("<HHII", tag[0], 4, count, 2**31 - 1) + data[at + 12 :]
    return data[: at + 4] + struct.pack("<II", count, 2**31 - 1) + data[at + 12 :]


def huge_npy(data: bytes, draw: Draw) -> bytes:
    """A header that announces more rows than there are."""
    length = struct.unpack("<H", data[8:10])[0]
    header = data[10 : 10 + length].decode("latin1")
    shape = draw.choice(["(1000000000000, 8)", "(2000000000, 8)", "(-1, 8)", "(0, 8)", "(60, 4000000000)"])
    text = re.sub(r"\([^)]*\)", shape, header, count=1).rstrip()
    text = text + " " * (-(10 + len(text) + 1) % 64) + "\n"
    return data[:8] + struct.pack("<H", len(text)) + text.encode("latin1") + data[10 + length :]


def huge_words(data: bytes, draw: Draw) -> bytes:
    """A number of four bytes that becomes the largest one: in formats made of sizes and contents."""
    at = 4 * draw.randrange(len(data) // 4)
    return data[:at] + draw.choice([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff"]) + data[at + 4 :]


def huge_boxes(data: bytes, draw: Draw) -> bytes:
    """A box of an MP4 file with another size, or another picture size."""
    names = [b"mdat", b"moov", b"trak", b"stsz", b"stts", b"stsc", b"stco", b"stsd", b"tkhd", b"mp4v", b"mdhd"]
    name = draw.choice([name for name in names if name in data])
    at = data.rindex(name)
    if name == b"mp4v":  # width and height
        return data[: at + 28] + struct.pack(">HH", 65535, 65535) + data[at + 32 :]
    if name in (b"stsz", b"stts", b"stsc", b"stco"):  # number of entries
        at += 16 if name == b"stsz" else 12
    return data[: at - 4] + draw.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(4)]) + data[at:]


# Structures


def json_mutations(data: bytes, draw: Draw) -> Iterator[Callable[[], Mutated]]:
    """The mutations of a JSON text, or of JSON lines, each as a function that makes it."""

    def changed(how: str, change: Callable[[object], object], plain: bool = False) -> Mutated:
        lines = data.decode().splitlines() if _is_lines(data) else [data.decode()]
        place = draw.randrange(len(lines))
        contents = json.loads(lines[place])
        written = change(contents)
        lines[place] = written if isinstance(written, str) else json.dumps(contents)
        return Mutated(how, "\n".join(lines).encode("utf-8", "surrogatepass"), plain)

    yield lambda: changed("number", lambda c: _set(c, draw, _is_number, lambda _: draw.choice(EXTREME)))
    yield lambda: changed("nan", lambda c: _set(c, draw, _is_number, lambda _: _nan(draw)), plain=True)
    yield lambda: changed("type", lambda c: _set(c, draw, _is_leaf, lambda old: _other(old, draw)), plain=True)
    yield lambda: changed("key_dropped", lambda c: _drop(c, draw))
    yield lambda: changed("key_twice", lambda c: _key_twice(c, draw), plain=True)
    yield lambda: changed("deep", lambda c: _deep(c, draw), plain=True)
    yield lambda: changed("values_swapped", lambda c: _swap(c, draw))
    yield lambda: changed("surrogate", lambda c: _set(c, draw, _is_text, lambda _: "\ud800"), plain=True)
    yield lambda: changed("long_text", lambda c: _set(c, draw, _is_text, lambda _: "x" * 10**6))
    yield from encodings(data)


def csv_mutations(data: bytes, draw: Draw) -> Iterator[Callable[[], Mutated]]:
    """The mutations of a table with a header, each as a function that makes it."""
    rows = list(csv.reader(io.StringIO(data.decode())))

    def written(how: str, table: list[list[str]], plain: bool = False, delimiter: str = ",") -> Mutated:
        text = io.StringIO()
        csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(table)
        return Mutated(how, text.getvalue().encode(), plain)

    def cell(how: str, value: Callable[[str], str], numbers: bool, plain: bool = False) -> Mutated:
        table = [list(row) for row in rows]
        places = [
            (r, c) for r in range(1, len(table)) for c, old in enumerate(table[r]) if _numeric(old) or not numbers
        ]
        r, c = draw.choice(places)
        table[r][c] = value(table[r][c])
        return written(how, table, plain)

    def columns(how: str, order: list[int], header: bool, plain: bool = False) -> Mutated:
        table = [[row[c] for c in order] if header or n else row for n, row in enumerate(rows)]
        return written(how, table, plain)

    def swapped() -> list[int]:
        order = list(range(len(rows[0])))
        first, second = draw.sample(order, 2)
        order[first], order[second] = order[second], order[first]
        return order

    every = list(range(len(rows[0])))
    chosen = draw.choice(every)
    yield lambda: written("semicolons", rows, plain=True, delimiter=";")
    yield lambda: written("tabs", rows, plain=True, delimiter="\t")
    yield lambda: columns("columns_moved", swapped(), header=True)
    yield lambda: columns("columns_swapped", swapped(), header=False)
    yield lambda: columns("column_dropped", [c for c in every if c != chosen], header=True)
    yield lambda: columns("column_twice", [*every, chosen], header=True)
    yield lambda: cell("number", lambda _: str(draw.choice(EXTREME)), numbers=True)
    yield lambda: cell("nan", lambda _: draw.choice(["nan", "inf", "-inf"]), numbers=True, plain=True)
    yield lambda: cell("text", lambda _: draw.choice(["x", "1,5", "0x10", "--", "١٢"]), numbers=True, plain=True)
    yield lambda: cell("quote", lambda old: old, numbers=False)
    yield lambda: Mutated("open_quote", _insert(data, b'"', draw), plain=True)
    yield lambda: cell("long_cell", lambda _: "9" * 200_000, numbers=False)
    yield lambda: Mutated("no_header", data.split(b"\n", 1)[1], plain=True)
    yield lambda: Mutated("nul", _insert(data, b"\0", draw), plain=True)
    yield lambda: written("row_twice", [*rows, draw.choice(rows[1:])])
    yield lambda: written("row_short", [*rows[:-1], rows[-1][:-1]])
    yield lambda: Mutated("header_only", data.split(b"\n", 1)[0] + b"\n", plain=True)
    yield from encodings(data)


def yaml_mutations(data: bytes, draw: Draw) -> Iterator[Callable[[], Mutated]]:
    """The mutations of a YAML text of ``key: value`` lines, each as a function that makes it."""
    text = data.decode()
    lines = text.splitlines()
    places = [n for n, line in enumerate(lines) if re.match(r"\s*[\w-]+: \S", line)]

    def value(how: str, new: Callable[[], str], plain: bool = False) -> Mutated:
        place = draw.choice(places)
        out = [*lines]
        out[place] = f"{lines[place].partition(':')[0]}: {new()}"
        return Mutated(how, ("\n".join(out) + "\n").encode(), plain)

    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    yield lambda: value("number", lambda: str(draw.choice(EXTREME)))
    yield lambda: value("nan", lambda: draw.choice([".nan", ".inf", "-.inf"]), plain=True)
    yield lambda: value("type", lambda: draw.choice(["[1, 2]", "{a: 1}", "null", "yes", "'x'", "2001-01-01"]))
    yield lambda: value("deep", lambda: "[" * 5000 + "]" * 5000, plain=True)
    yield lambda: value("recursive", lambda: "&r [*r]", plain=True)
    yield lambda: value("binary", lambda: "!!binary aGVsbG8=", plain=True)
    yield lambda: Mutated("aliases", (bomb + text).encode(), plain=True)
    yield lambda: Mutated("key_twice", (text + draw.choice([lines[n] for n in places]) + "\n").encode())
    yield lambda: Mutated("tabs", text.replace("  ", "\t").encode(), plain=True)
    yield lambda: Mutated("key_dropped", "\n".join(lines[:-1][: draw.choice(places)] + lines[-1:]).encode())
    yield lambda: Mutated("documents", (text + "---\n" + text).encode(), plain=True)
    yield from encodings(data)


def encodings(data: bytes) -> Iterator[Callable[[], Mutated]]:
    """A text in other encodings."""
    text = data.decode()
    yield lambda: Mutated("bom", BOM + data)
    yield lambda: Mutated("utf16", text.encode("utf-16"))
    yield lambda: Mutated("latin1", _insert(data, "é".encode("latin1"), random.Random(len(data))), plain=True)
    yield lambda: Mutated("crlf", text.replace("\n", "\r\n").encode())


def _insert(data: bytes, piece: bytes, draw: Draw) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + piece + data[at:]


def _is_lines(data: bytes) -> bool:
    """True for JSON lines."""
    lines = data.splitlines()
    return len(lines) > 1 and all(line.startswith(b"{") and line.endswith(b"}") for line in lines)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_leaf(value: object) -> bool:
    return not isinstance(value, dict | list)


def _numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _nan(draw: Draw) -> float:
    return draw.choice([float("nan"), float("inf"), float("-inf")])


def _other(old: object, draw: Draw) -> object:
    """A value of another type."""
    values: list[object] = ["text", [1, 2], {"a": 1}, True, -7.5, [], {}]
    return draw.choice([value for value in values if type(value) is not type(old)])


def _places(contents: object, wanted: Callable[[object], bool]) -> list[tuple[object, object]]:
    """Every container and key of a value that is wanted."""
    found: list[tuple[object, object]] = []
    todo = [contents]
    while todo:
        container = todo.pop()
        for key, value in container.items() if isinstance(container, dict) else enumerate(container):
            if wanted(value):
                found.append((container, key))
            if isinstance(value, dict | list):
                todo.append(value)
    return found


def _set(contents: object, draw: Draw, wanted: Callable[[object], bool], new: Callable[[object], object]) -> None:
    container, key = draw.choice(_places(contents, wanted) or _places(contents, lambda value: True))
    container[key] = new(container[key])  # type: ignore[index]


def _dicts(contents: object) -> list[dict]:
    found = [container[key] for container, key in _places(contents, lambda value: isinstance(value, dict))]
    return [each for each in [contents, *found] if isinstance(each, dict) and each]


def _drop(contents: object, draw: Draw) -> None:
    chosen = draw.choice(_dicts(contents))
    del chosen[draw.choice(list(chosen))]


def _key_twice(contents: object, draw: Draw) -> str:
    chosen = draw.choice(_dicts(contents))
    key = draw.choice(list(chosen))
    chosen[MARK] = draw.choice([0, "other", [], chosen[draw.choice(list(chosen))]])
    return json.dumps(contents).replace(json.dumps(MARK), json.dumps(key))


def _deep(contents: object, draw: Draw) -> str:
    _set(contents, draw, _is_leaf, lambda _: MARK)
    return json.dumps(contents).replace(json.dumps(MARK), "[" * DEEP + "]" * DEEP)


def _swap(contents: object, draw: Draw) -> None:
    chosen = draw.choice([each for each in _dicts(contents) if len(each) > 1] or _dicts(contents))
    first, second = draw.choice(list(chosen)), draw.choice(list(chosen))
    chosen[first], chosen[second] = chosen[second], chosen[first]
