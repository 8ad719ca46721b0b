"""Starting weights from files of this suite and of other code."""

from vision_suite.weights.start import Initialised, init_from

__all__ = ["Initialised", "init_from"]
