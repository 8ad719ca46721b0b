"""Checkpoints with former names of settings, put into their records before Lightning reads them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vision_suite.checkpoints.files import read
from vision_suite.renamed import with_new_names


def with_renamed_settings(
    source: Any, settings: Mapping[str, Any], model: str
) -> tuple[str | Path | io.BytesIO, dict[str, Any]]:
    """A checkpoint and the settings that override its own, both under their present names.

    Args:
        source: Path of a checkpoint. Streams and addresses come back as they are.
        settings: Settings given beside the checkpoint, by old or new names.
        model: Name of the module's class in `vision_suite.renamed.RENAMED`.

    Returns:
        The checkpoint, a stream if it held old names; and the settings.

    Raises:
        CheckpointError: The file is damaged, or no checkpoint of a run.
    """
    if not isinstance(source, str | Path) or not zipfile.is_zipfile(source):
        return source, with_new_names(model, settings)
    contents = read(Path(source))
    stored = contents.get("hyper_parameters") or {}
    renamed, given = with_new_names(model, stored), with_new_names(model, settings)
    for name, value in given.items():
        if name not in settings or value is not settings[name]:
            given[name] = {**renamed.get(name, {}), **value}  # an old name changes one field of a record
    if renamed == stored:
        return source, given
    stream = io.BytesIO()
    torch.save({**contents, "hyper_parameters": renamed}, stream)
    stream.seek(0)
    return stream, given
