"""Entries of vision_suite's checkpoint hub for torch.hub.

``torch.hub.load(FOLDER, "load", "hub:dcal_micro.emoji_a", source="local")`` returns network, preprocessing and
configuration.
"""

from vision_suite.hub.loading import load as load
from vision_suite.hub.places import all_names as _all_names

dependencies = ["torch", "timm", "safetensors", "platformdirs", "cryptography"]


def names() -> list[str]:
    """Names of the entries of the user's hub and of the package."""
    return _all_names()
