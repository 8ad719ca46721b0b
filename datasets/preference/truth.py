"""Truth about pictures for the search of made-up objects: COCO's files, AMBER's and POPE's.

COCO: objects of a picture are the categories of its instances and, if reference captions are given, the objects that
those name (CHAIR, `utils/chair.py`). AMBER: `data/annotations.json` beside `data/query/query_*.json`. POPE:
`coco_pope_*.json`, JSON lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vision_suite.datasets.files import read_json, read_json_lines
from vision_suite.errors import DataError
from vision_suite.text.lexicon import Words
from vision_suite.types.preference import HallucinationItem, HallucinationKind

Box = tuple[float, float, float, float]  # x, y, width, height in pixels
AMBER_CAPTION = "generative"  # type of AMBER's rows that ask for a caption


class AskedAbout(NamedTuple):
    """A question with the truth about it.

    Attributes:
        question: Text, without a picture's marker.
        picture: Name of the picture below the folder of pictures.
        item: Truth.
    """

    question: str
    picture: str
    item: HallucinationItem


class CocoTruth:
    """Objects and boxes by picture, out of COCO's files.

    Args:
        files: Files of instances or captions; at least one has instances.
        words: Words for objects; categories that it lacks keep their own name.

    Attributes:
        pictures: Name of each picture's file by its id, in the order of the files.
        objects: Names of the objects of each picture, sorted.
        boxes: Names and boxes of each picture's instances.

    Raises:
        DataError: A file is missing or malformed, or none has instances.
    """

    def __init__(self, files: Sequence[Path], words: Words) -> None:
        self.pictures: dict[str, str] = {}
        self.boxes: dict[str, list[tuple[str, Box]]] = {}
        named: dict[str, set[str]] = {}
        instances = False
        for path in files:
            table = read_json(path)
            try:
                for entry in table["images"]:
                    self.pictures.setdefault(str(entry["id"]), str(entry["file_name"]))
                categories = {each["id"]: str(each["name"]) for each in table.get("categories", ())}
                instances = instances or bool(categories)
                for each in table["annotations"]:
                    key = str(each["image_id"])
                    if "caption" in each:
                        found = words.find(str(each["caption"]))
                        named.setdefault(key, set()).update(mention.name for mention in found)
                        continue
                    category = categories[each["category_id"]]
                    name = next((whole.name for whole in words.find(category) if whole.text == category), category)
                    named.setdefault(key, set()).add(name)
                    x, y, width, height = (float(value) for value in each["bbox"])
                    self.boxes.setdefault(key, []).append((name, (x, y, width, height)))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise DataError(f"{str(path)!r} is no file of COCO's instances or captions ({error!r})") from None
        if not instances:
            raise DataError(f"{', '.join(map(repr, map(str, files)))}: no file has COCO's instances: add one")
        self.objects = {key: sorted(named.get(key, ())) for key in self.pictures}

    def item(self, key: str, task: str, kind: HallucinationKind, picture: str) -> HallucinationItem:
        """Truth about a picture.

        Args:
            key: Id of the picture.
            task: Name of the task.
            kind: Rules by which captions are judged.
            picture: Path of the picture.
        """
        boxes = tuple(self.boxes.get(key, ()))
        return HallucinationItem(key, kind, task, objects=tuple(self.objects[key]), picture=picture, boxes=boxes)


def coco_questions(path: Path, truth: CocoTruth, question: str, task: str, kind: HallucinationKind) -> list[AskedAbout]:
    """Requests for captions of pictures with a known truth.

    Args:
        path: COCO's file, all of whose pictures are described; or JSON lines with ``image_id`` and, if it differs, a
            ``question``.
        truth: Truth about the pictures.
        question: Request for a caption.
        task: Name of the task.
        kind: Rules by which captions are judged.

    Raises:
        DataError: The list is malformed, or names a picture without a truth.
    """
    if path.suffix != ".jsonl":
        listed: Iterable[Mapping[str, Any]] = ({"image_id": key} for key in truth.pictures)
    else:
        listed = read_json_lines(path)
    found = []
    for number, entry in enumerate(listed, start=1):
        key = str(entry.get("image_id"))
        if key not in truth.pictures:
            raise DataError(f"{str(path)!r} row {number}: the annotations have no picture {key[:60]!r}")
        asked, picture = entry.get("question") or question, truth.pictures[key]
        if not isinstance(asked, str):
            raise DataError(f"{str(path)!r} row {number}: its question is no text")
        found.append(AskedAbout(asked, picture, truth.item(key, task, kind, picture)))
    return found


def amber_questions(path: Path, annotations: Path, task: str, kind: HallucinationKind) -> list[AskedAbout]:
    """AMBER's requests for captions (kind ``amber``), or its questions (``amber_question``).

    Args:
        path: File of queries.
        annotations: File of annotations.
        task: Name of the task.
        kind: Kind of the rows to take; the others are passed over.

    Raises:
        DataError: A file is missing or malformed, or a query has no annotation.
    """
    queries, rows = read_json(path), read_json(annotations)
    found = []
    try:
        known = {row["id"]: row for row in rows}
        for query in queries:
            row = known[query["id"]]
            if (row["type"] == AMBER_CAPTION) != (kind == "amber"):
                continue
            picture, name = str(query["image"]), str(query["id"])
            if kind == "amber":
                words, made_up = tuple(map(str, row["truth"])), tuple(map(str, row["hallu"]))
                item = HallucinationItem(name, kind, task, objects=words, hallucinated=made_up, picture=picture)
            else:
                answer = _answer(row["truth"], f"{str(annotations)!r} id {name}")
                item = HallucinationItem(name, kind, task, answer=answer, type=str(row["type"]), picture=picture)
            found.append(AskedAbout(str(query["query"]), picture, item))
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{str(path)!r} and {str(annotations)!r} are not AMBER's queries and annotations ({error!r})"
        ) from None
    return found


def pope_questions(path: Path, task: str) -> list[AskedAbout]:
    """POPE's questions.

    Args:
        path: JSON lines with ``question_id``, ``image``, ``text`` and ``label``.
        task: Name of the task.

    Raises:
        DataError: The file is missing or malformed, or has an id twice.
    """
    found: dict[str, AskedAbout] = {}
    for number, row in enumerate(read_json_lines(path), start=1):
        where = f"{str(path)!r} row {number}"
        try:
            name, picture, question = str(row["question_id"]), row["image"], row["text"]
            answer = _answer(row["label"], where)
        except KeyError as error:
            raise DataError(f"{where} is no question of POPE: it has no {error}") from None
        if name in found or not isinstance(picture, str) or not isinstance(question, str):
            raise DataError(f"{where}: its id is there twice, or image or text is no text")
        found[name] = AskedAbout(
            question, picture, HallucinationItem(name, "pope", task, answer=answer, picture=picture)
        )
    return list(found.values())


def _answer(value: object, where: str) -> str:
    if value not in ("yes", "no"):
        raise DataError(f"{where}: the right answer is {str(value)[:40]!r}, not yes or no")
    return str(value)
