"""Checkpoint hub: entries of files with checksums, an index that can be signed, and their loading without a network.

``vision_suite.hub.load("hub:dcal_micro.emoji_a")`` returns a network, its preprocessing and its configuration. Nothing
in an entry is executed, and neither Lightning nor wandb is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vision_suite.hub.loading import load as load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """Hand on `load` on first use: names and sums of entries are read without torch."""
    if name == "load":
        from vision_suite.hub.loading import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
