"""vision_suite: train, evaluate and serve attention-based vision and multimodal models.

Importing this package loads nothing heavy; import the part you need, such as ``vision_suite.models.dcal``.
"""

from pathlib import Path

__version__ = "0.1.0"

# A checkout without symbolic links (Windows, some archive tools) finds the linked rooms at the repository root.
if not Path(__file__).with_name("lit_modules").is_dir():
    __path__.append(str(Path(__file__).resolve().parents[1]))
