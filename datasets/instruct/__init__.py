"""Instruction tuning: the datamodule of conversations and their readers. Names are loaded on first use."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from vision_suite.datasets.instruct.data import InstructData as InstructData
else:
    __getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"data": ["InstructData"]})
