"""Tables and pictures of an evaluation: the writer and one view per type of report. Names are loaded on first use."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from vision_suite.callbacks.report.writer import ReportWriter as ReportWriter
else:
    __getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"writer": ["ReportWriter"]})
