"""Names of the objects in pictures: the datamodule. Names are loaded on first use."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from vision_suite.datasets.presence.data import PresenceData as PresenceData
else:
    __getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"data": ["PresenceData"]})
