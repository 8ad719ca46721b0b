"""Pictures: what the datamodules of picture tasks share. Names are loaded on first use."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from vision_suite.datasets.pictures.data import PictureData as PictureData
else:
    __getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"data": ["PictureData"]})
