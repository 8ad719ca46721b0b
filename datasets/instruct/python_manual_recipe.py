"""The recipe of python-manual: Python's own manual as text to replay, without a download."""

from __future__ import annotations

from pathlib import Path

from vision_suite.datasets.prepare.base import Options, Progress, Recipe


class PythonManual(Recipe):
    """Python-manual; its texts are those of the running Python, whose version is in the manifest."""

    name = "python-manual"
    title = "Python-manual"
    description = "paragraphs and unfinished sentences of Python's manual, text only; fetches nothing"
    task = "instruction tuning: text to replay, and to measure drift on"
    licence = "PSF-2.0"

    def build(self, part: Path, progress: Progress, options: Options) -> None:
        """Write paragraphs and sentences."""
        from vision_suite.datasets.instruct.python_manual import build

        build(part)

    def attribution(self) -> str:
        """Credits of the texts."""
        return (
            "Python's language and library reference as the module pydoc_data.topics carries it, Copyright 2001 Python "
            "Software Foundation, all rights reserved (https://docs.python.org/3/license.html), PSF-2.0.\n"
            "Changes: cut into paragraphs and sentences; code, grammar, headings and tables left out.\n"
        )


RECIPE = PythonManual()
