"""The recipe of page-questions: twelve pages with their text, pictures and questions, for evaluation only."""

from __future__ import annotations

from pathlib import Path

from vision_suite.datasets.prepare.base import Options, Progress, Recipe
from vision_suite.datasets.prepare.onestop import ARCHIVE

ATTRIBUTION = (
    "Texts, questions, answers and pictures of pages: OneStopQA (Y. Berzak, J. Malmaud, R. Levy: STARC: Structured "
    "Annotations for Reading Comprehension, ACL 2020, https://github.com/berzak/onestop-qa), CC-BY-SA-4.0, "
    "https://creativecommons.org/licenses/by-sa/4.0/, as the Python package scanpath-studio 0.44.0 carries them.\n"
    "Changes: answers in a new random order; the right ones read from the texts.\n"
    "Share-alike: name that licence on anything published from these texts and pictures.\n"
)


class PageQuestions(Recipe):
    """Page-questions."""

    name = "page-questions"
    title = "Page-questions"
    description = "12 pages of text (perplexity) with 12 questions of 4 choices, as text and as pictures; fetches 3 MB"
    task = "instruction tuning (evaluation only)"
    licence = "CC-BY-SA-4.0"
    archives = (ARCHIVE,)
    one_size = "pictures of one size"

    def build(self, part: Path, progress: Progress, options: Options) -> None:
        """Fetch the pages and write texts, pictures and questions."""
        from vision_suite.datasets.instruct.page_questions import build

        build(part, progress, options.source)

    def attribution(self) -> str:
        """Credits of texts and pictures."""
        return ATTRIBUTION


RECIPE = PageQuestions()
