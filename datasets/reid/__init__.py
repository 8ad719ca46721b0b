"""Re-identification: the datamodule and the layouts it reads. Names are loaded on first use."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from vision_suite.datasets.reid.data import ReIDData as ReIDData
else:
    __getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"data": ["ReIDData"]})
