"""Vocabularies of things by name: COCO's classes, or groups of synonyms in a file."""

from __future__ import annotations

import json
from pathlib import Path

from vision_suite.errors import DataError
from vision_suite.prepared import find_folder
from vision_suite.text.coco import CocoWords
from vision_suite.text.lexicon import Lexicon

COCO = {"coco": False, "coco_refined": True}
FILE = "synonyms.json"


def load_vocabulary(source: str | Path) -> Lexicon:
    """Vocabulary of things.

    Args:
        source: ``coco`` for CHAIR's words of COCO's classes, ``coco_refined`` for those of Object HalBench, or a file,
            folder or prepared set with groups of synonyms: ``[{"words": [name, synonym, ...]}, ...]`` in JSON.

    Raises:
        DataError: There is no such file, or it is malformed.
        ConfigError: A word is in two groups.

    Example:
        >>> load_vocabulary("coco").names("A puppy on a sofa.")
        ['dog', 'couch']
    """
    if source in COCO:
        return CocoWords(refined=COCO[str(source)])
    path = find_folder(source)
    if path is not None and path.is_dir():
        path = path / FILE
    if path is None or not path.is_file():
        raise DataError(
            f"vocabulary {str(source)!r} is no file and no folder with {FILE}: give coco, coco_refined, a JSON file of "
            "synonyms, or a prepared set such as emoji-scenes-closed"
        )
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        groups = [entry["words"] for entry in entries]
        if not groups or not all(isinstance(group, list) for group in groups):
            raise TypeError("no lists of words")
        if not all(isinstance(word, str) for group in groups for word in group):
            raise TypeError("a word is no text")
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        reason = " ".join(str(error).split())[:80]
        raise DataError(f'{path}: malformed ({reason}): write [{{"words": [name, synonym, ...]}}, ...]') from None
    return Lexicon(groups)
