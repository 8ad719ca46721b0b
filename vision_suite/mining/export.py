"""Files of preference pairs: SENTINEL's two training routes, a table, and TRL's layout.

``official`` is one JSON object a line; ``official_json`` an object with a list of pairs for each ``image_id`` (the
LLaVA-1.5 route); ``llama_factory`` a list of ``instruction``, ``context``, ``chosen``, ``rejected`` and ``images``.
``parquet`` has the fields of ``official`` as columns. ``trl`` (a table) and ``trl_json`` are conversations, with the
context as a last message of the assistant that both sides continue. All of them also hold ``chosen_ends`` and
``rejected_ends``, which tell whether the model ended its answer there; `vision_suite.datasets.preference` reads every
layout back.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from vision_suite.drafts import write_whole
from vision_suite.errors import ConfigError, DataError, check_choice
from vision_suite.types.conversations import ImageRef
from vision_suite.types.preference import PreferenceRow

Layout = Literal["official", "official_json", "llama_factory", "parquet", "trl", "trl_json"]
Record = dict[str, Any]
Contents = Callable[[ImageRef], bytes]
MARKER = "<image>"
BY_ENDING: dict[str, Layout] = {".jsonl": "official", ".json": "official_json", ".parquet": "parquet"}
ENDINGS: dict[str, str] = {str(layout): ending for ending, layout in BY_ENDING.items()} | {
    "llama_factory": ".json", "trl_json": ".json", "trl": ".parquet",
}  # fmt: skip

# Types of the columns of TRL's layout, as the datasets library stores them beside a table.
_TEXT, _FLAG = {"dtype": "string", "_type": "Value"}, {"dtype": "bool", "_type": "Value"}
_TEXTS = {"feature": _TEXT, "_type": "List"}
_MESSAGES = {
    "feature": {"role": _TEXT, "content": {"feature": {"type": _TEXT, "text": _TEXT}, "_type": "List"}},
    "_type": "List",
}
FEATURES: dict[str, object] = {
    "id": _TEXT, "prompt": _MESSAGES, "chosen": _MESSAGES, "rejected": _MESSAGES,
    "chosen_ends": _FLAG, "rejected_ends": _FLAG, "objects_of_y_win": _TEXTS, "objects_of_y_lose": _TEXTS,
    "images": {"feature": {"_type": "Image"}, "_type": "List"},
}  # fmt: skip


def layout_of(path: Path, layout: str | None = None) -> Layout:
    """Layout of a file: the given one, or the usual one of its ending.

    Args:
        path: The file.
        layout: Name of a layout; None for that of the ending.

    Raises:
        ConfigError: There is no such layout, or the file's ending belongs to another.

    Example:
        >>> layout_of(Path("pairs.jsonl")), layout_of(Path("pairs.parquet"), "trl")
        ('official', 'trl')
    """
    if layout is None:
        if path.suffix not in BY_ENDING:
            raise ConfigError(f"{str(path)!r}: name the file .jsonl, .json or .parquet, or give a layout")
        return BY_ENDING[path.suffix]
    check_choice("layout", layout, get_args(Layout))
    if path.suffix != ENDINGS[layout]:
        raise ConfigError(f"{str(path)!r}: layout={layout} is read by its ending: name the file {ENDINGS[layout]}")
    return next(each for each in get_args(Layout) if each == layout)


def write_pairs(
    rows: Iterable[PreferenceRow],
    path: Path,
    layout: Layout | None = None,
    *,
    image_root: Path | None = None,
    facts: Iterable[Mapping[str, object]] | None = None,
    contents: Contents | None = None,
) -> int:
    """Write pairs to a file, whole or not at all, and return their number.

    Args:
        rows: The pairs.
        path: The file.
        layout: Layout of the file; None for the usual one of its ending.
        image_root: Folder below which pictures are named relatively; by default the file's own.
        facts: Further fields of each pair for the layouts official, official_json and parquet, such as
            ``nonhallu_objects``; ``image_id`` replaces the name of the picture's file.
        contents: Function that gives a picture's bytes, which are then put into tables in place of its path.

    Raises:
        ConfigError: The layout does not go with the file's ending.
        DataError: A pair does not fit the layout.
        StorageError: The file cannot be written; an earlier one is unchanged.
    """
    kind = layout_of(path, layout)
    root = (image_root or path.parent).absolute()
    listed = list(rows)
    further = [{} for _ in listed] if facts is None else [dict(each) for each in facts]
    if len(further) != len(listed):
        raise DataError(f"{len(listed)} pairs have {len(further)} sets of facts: give one for each")
    if contents is not None and not kind.startswith(("parquet", "trl")):
        raise ConfigError(f"layout={kind} holds no pictures: use parquet or trl, or leave contents out")
    table = ENDINGS[kind] == ".parquet"
    records = []
    for row, own in zip(listed, further, strict=True):
        pictures = [_picture(row, ref, root, contents, table=table) for ref in row.images]
        if kind.startswith("trl"):
            records.append(trl_record(row) | {"images": pictures})
        elif kind == "llama_factory":
            records.append(factory_record(row) | {"images": pictures})
        else:
            records.append(_official(row, own, pictures, table=table))
    write_whole(path, _contents(records, kind))
    return len(records)


def official_record(row: PreferenceRow) -> Record:
    """Fields of a pair as SENTINEL's generator names them, but for the picture.

    Raises:
        DataError: It has more than a single question.
    """
    return {
        "id": row.id,
        "question": question_of(row, marked=False),
        "context": row.context,
        "y_win": row.chosen,
        "y_lose": row.rejected,
        **_ends(row),
        "objects_of_y_win": list(row.chosen_objects),
        "objects_of_y_lose": list(row.rejected_objects),
        "type": "y+",
    }


def factory_record(row: PreferenceRow) -> Record:
    """Fields of a pair as LLaMA-Factory reads them (``ranking: true``, column ``context``), but for the pictures."""
    return {
        "id": row.id,
        "instruction": question_of(row, marked=True),
        "context": row.context,
        "chosen": row.chosen,
        "rejected": row.rejected,
        **_ends(row),
        "objects_of_y_win": list(row.chosen_objects),
        "objects_of_y_lose": list(row.rejected_objects),
    }


def trl_record(row: PreferenceRow) -> Record:
    """Fields of a pair as TRL reads them, but for the pictures; continuations begin with the blank that joins them."""
    prompt = [_message(turn.role, turn.parts) for turn in row.messages]
    if row.context:
        prompt.append(_message("assistant", (row.context,)))
    joint = " " if row.context else ""
    return {
        "id": row.id,
        "prompt": prompt,
        "chosen": [_message("assistant", (joint + row.chosen,))],
        "rejected": [_message("assistant", (joint + row.rejected,))],
        **_ends(row),
        "objects_of_y_win": list(row.chosen_objects),
        "objects_of_y_lose": list(row.rejected_objects),
    }


def question_of(row: PreferenceRow, *, marked: bool) -> str:
    """Text of a pair's only question.

    Args:
        row: The pair.
        marked: Mark pictures that stand before the text too; they are put there by readers where nothing is marked.

    Raises:
        DataError: There are several turns, or the text speaks of a picture's marker.
    """
    if len(row.messages) != 1:
        raise DataError(f"pair {row.id!r} has {len(row.messages)} turns, and this layout holds one: use layout=trl")
    parts = row.messages[0].parts
    if any(isinstance(part, str) and MARKER in part for part in parts):
        raise DataError(f"pair {row.id!r} has the text {MARKER!r} in its question: use layout=trl")
    text = "".join(part if isinstance(part, str) else MARKER for part in parts)
    first = f"{MARKER}\n" * len(row.images)
    if first and not marked and text.startswith(first) and MARKER not in text[len(first) :]:
        return text[len(first) :]
    return text


def _official(row: PreferenceRow, facts: Mapping[str, object], pictures: Sequence[Any], *, table: bool) -> Record:
    """Record of the layouts official, official_json and parquet."""
    name = Path(row.images[0].path).stem if row.images else row.id
    found: Record = {"image_id": name}
    if table:
        found["images"] = list(pictures)
    elif len(pictures) == 1:
        found["image_path"] = pictures[0]
    elif pictures:
        found["images"] = list(pictures)
    return found | official_record(row) | dict(facts)


def _ends(row: PreferenceRow) -> Record:
    return {"chosen_ends": row.chosen_ends, "rejected_ends": row.rejected_ends}


def _message(role: str, parts: Sequence[str | int]) -> Record:
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "text": None} for part in parts
    ]
    return {"role": role, "content": content}


def _picture(row: PreferenceRow, ref: ImageRef, root: Path, contents: Contents | None, *, table: bool) -> Any:
    """Path of a picture, relative where it lies below the root; in tables with the place of its bytes."""
    if contents is not None:
        return {"bytes": contents(ref), "path": None}
    if ref.start >= 0:
        raise DataError(
            f"pair {row.id!r}: its picture is inside {str(ref.path)!r} and has no path: unpack it, or give contents"
        )
    name = shown_path(ref.path, root)
    return {"bytes": None, "path": name} if table else name


def shown_path(path: Path, root: Path) -> str:
    """Path of a picture in a file: relative where it lies below a folder, else absolute.

    Args:
        path: The picture.
        root: The folder, absolute.
    """
    path = path.absolute()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _contents(records: Sequence[Record], kind: Layout) -> bytes:
    """The bytes of a file."""
    if ENDINGS[kind] == ".parquet":
        return _table(records, FEATURES if kind == "trl" else {})
    if kind == "official":
        return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
    if kind == "official_json":
        by_picture: dict[str, list[Record]] = {}
        for record in records:
            by_picture.setdefault(str(record["image_id"]), []).append(record)
        return (json.dumps(by_picture, ensure_ascii=False, indent=1) + "\n").encode()
    return (json.dumps(list(records), ensure_ascii=False, indent=1) + "\n").encode()


def _table(records: Sequence[Record], features: Mapping[str, object]) -> bytes:
    """A parquet file; the pictures' column has its type also where no pair has a picture.

    Args:
        records: The pairs.
        features: Types of all columns for the datasets library, which then decodes pictures; none for a plain table.
    """
    import pyarrow
    import pyarrow.parquet

    picture = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    names = list(dict.fromkeys(name for record in records for name in record))
    columns: dict[str, Any] = {name: [record.get(name) for record in records] for name in names}
    kinds: dict[str, Any] = {"images": pyarrow.list_(picture)}
    kinds |= dict.fromkeys(("chosen_ends", "rejected_ends"), pyarrow.bool_())
    kinds |= dict.fromkeys(("objects_of_y_win", "objects_of_y_lose"), pyarrow.list_(pyarrow.string()))
    try:
        arrays = {name: pyarrow.array(values, type=kinds.get(name)) for name, values in columns.items()}
    except (pyarrow.ArrowException, TypeError) as error:
        raise DataError(f"the pairs do not fit a table ({str(error)[:120]}): give facts of one kind each") from None
    table = pyarrow.table(arrays)
    if features:
        told = {"info": {"features": {name: features[name] for name in names}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(told)})
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out)
    return out.getvalue()
