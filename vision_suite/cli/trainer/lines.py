"""Lines for the reader of the terminal, printed once in a group of processes."""

from __future__ import annotations

import sys

from pytorch_lightning.utilities import rank_zero_only


@rank_zero_only
def say(line: str) -> None:
    """Print a line."""
    print(line, flush=True)


@rank_zero_only
def warn(line: str) -> None:
    """Print a warning on stderr."""
    print(f"vision-suite: warning: {line}", file=sys.stderr)
