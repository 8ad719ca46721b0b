"""Preference learning: the datamodule of chosen and rejected continuations. Names are loaded on first use."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from vision_suite.datasets.preference.data import PreferenceData as PreferenceData
else:
    __getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"data": ["PreferenceData"]})
