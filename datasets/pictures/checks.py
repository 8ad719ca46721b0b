"""Checking that pictures can be read before a run starts, and remembering the outcome for large sets."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from vision_suite.datasets.loading import available_cores
from vision_suite.datasets.pictures.images import BadPicture, check_pictures
from vision_suite.drafts import write_whole

REMEMBER_FROM = 1000  # pictures; checking fewer takes a second or two
RULES = 2  # raised when another set of pictures counts as unreadable, so that earlier outcomes are not used


def find_bad(paths: Sequence[str]) -> list[BadPicture]:
    """Pictures of a list that can't be read. For large lists the outcome is kept in the cache until a file changes."""
    unique = sorted(set(paths))
    if len(unique) < REMEMBER_FROM:
        return check_pictures(unique, available_cores())
    memo = _memo(unique)
    if memo.is_file():
        return [BadPicture(path, reason) for path, reason in json.loads(memo.read_text(encoding="utf-8"))]
    from pytorch_lightning.utilities import rank_zero_info  # only here: pictures are read without Lightning too

    rank_zero_info(f"Checking that {len(unique)} pictures can be read (once, until a file changes)")
    bad = check_pictures(unique, available_cores())
    write_whole(memo, json.dumps([[b.path, b.reason] for b in bad]))
    return bad


def _memo(paths: Sequence[str]) -> Path:
    from vision_suite.datasets.prepare.fetch import data_dir

    digest = hashlib.sha256(f"{RULES}\n".encode())
    for path in paths:
        try:
            status = os.stat(path.split("::")[0])
            digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        except OSError:
            digest.update(f"{path}\0missing\n".encode())
    return data_dir() / "checked" / f"{digest.hexdigest()[:32]}.json"
