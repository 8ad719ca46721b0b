"""Lines for the reader of the terminal, printed once in a group of processes."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from pytorch_lightning.utilities import rank_zero_only

import vision_suite

WARNING = "vision-suite: warning:"


@rank_zero_only
def say(line: str) -> None:
    """Print a line."""
    print(line, flush=True)


@rank_zero_only
def warn(line: str) -> None:
    """Print a warning on stderr."""
    print(f"{WARNING} {line}", file=sys.stderr)


def plain_warnings() -> None:
    """Print Python warnings of the suite's own files as `warn` does, without file, line and source."""
    usual = warnings.formatwarning
    roots = [Path(root).absolute() for root in vision_suite.__path__]

    def text(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if any(Path(filename).absolute().is_relative_to(root) for root in roots):
            return f"{WARNING} {message}\n"
        return usual(message, category, filename, lineno, line)

    if getattr(usual, "__module__", "") != __name__:  # else it is in place
        warnings.formatwarning = text
