"""Work of transformers without its progress bars."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without_bars() -> Iterator[None]:
    """Hide transformers' progress bars, that of its GGUF reader too, which no setting of transformers hides."""
    from transformers.utils import logging

    reader: Any = importlib.import_module("transformers.modeling_gguf_pytorch_utils")
    shown, bar = logging.is_progress_bar_enabled(), getattr(reader, "tqdm", None)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if bar is not None:
        reader.tqdm = functools.partial(bar, disable=True)
    try:
        yield
    finally:
        if bar is not None:
            reader.tqdm = bar
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
