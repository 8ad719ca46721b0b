"""The recipe of OneStop-mini: the package's files with their checksums, expected counts, folds and credits."""

from __future__ import annotations

from pathlib import Path

from vision_suite.datasets.prepare.base import Manifest, Options, Progress, Recipe
from vision_suite.datasets.prepare.onestop import ARCHIVE

# Folds by the number of the paragraph: 1 and 2, 3 and 4, 5 and 6 of both articles. The last is the usual test part.
PAGES = {
    "2_1_1_Ele": 0,
    "2_1_2_Ele": 0,
    "2_1_3_Adv": 1,
    "2_1_4_Adv": 1,
    "2_1_5_Adv": 2,
    "2_1_6_Ele": 2,
    "2_2_1_Adv": 0,
    "2_2_2_Adv": 0,
    "2_2_3_Adv": 1,
    "2_2_4_Ele": 1,
    "2_2_5_Ele": 2,
    "2_2_6_Ele": 2,
}
EXPECTED = {"pages": 12, "words": 1307, "trials": 24, "fixations": 3209, "fixations_without_word": 1}
# Columns that words_norms adds to a word's vector, standardised over all words; the last: is it in the answer?
NORMS = ("word_length_no_punctuation", "wordfreq_frequency", "gpt2_surprisal", "is_in_aspan")
LICENCE = "eye movements CC-BY-4.0; texts, questions and pictures CC-BY-SA-4.0"
ATTRIBUTION = (
    "Eye movements: OneStop Eye Movements (Y. Berzak, J. Malmaud, O. Shubi, Y. Meiri, E. Lion, R. Levy: OneStop: A "
    "360-Participant English Eye Tracking Dataset with Different Reading Regimes, Scientific Data 2025, "
    "https://doi.org/10.1038/s41597-025-06272-2), CC-BY-4.0, https://creativecommons.org/licenses/by/4.0/.\n"
    "Texts, questions and pictures of pages: OneStopQA (https://github.com/berzak/onestop-qa), CC-BY-SA-4.0, "
    "https://creativecommons.org/licenses/by-sa/4.0/.\n"
    "Both as the Python package scanpath-studio 0.44.0 carries them (two readers, two articles).\n"
    "Changes: boxes and fixations moved to pixels of the pictures; one fixation without word left out; words and "
    "questions as vectors of all-MiniLM-L6-v2 (Apache-2.0).\n"
)


class OneStopMini(Recipe):
    """OneStop-mini."""

    name = "onestop-mini"
    title = "OneStop-mini"
    description = "2 readers x 12 pages, 3,209 fixations on 1,307 words; fetches 3 MB, with word vectors 86 MB"
    task = "scanpaths, tested on unseen pages or readers"
    licence = "CC-BY-4.0 (eye movements), CC-BY-SA-4.0 (texts and pictures)"
    archives = (ARCHIVE,)
    one_size = "pictures of one size"

    def build(self, part: Path, progress: Progress, options: Options) -> None:
        """Fetch and convert the pages."""
        from vision_suite.datasets.scanpath.onestop import build

        build(part, progress, options.source)

    def why_not_ready(self, folder: Path) -> str | None:
        """As for every set; a folder without sentence vectors is not ready where they can be made."""
        from vision_suite.datasets.sentence_vectors import can_embed

        reason = super().why_not_ready(folder)
        if reason is None and len(self.manifest(folder)["sources"]) == 1 and can_embed():
            return "made without sentence vectors, which can be made now"
        return reason

    def outdated(self, manifest: Manifest) -> str | None:
        """As for every set; a second source, that of sentence vectors, is in the manifest only if they were made."""
        return super().outdated({**manifest, "sources": manifest["sources"][:1]})

    def attribution(self) -> str:
        """Credits of eye movements, texts and pictures."""
        return ATTRIBUTION


RECIPE = OneStopMini()
