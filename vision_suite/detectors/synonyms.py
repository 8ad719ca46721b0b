"""Names that are asked under several words, of which the best score counts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image

from vision_suite.detectors.protocol import ABSTAIN, OpenVocabDetector, Scores, check_requests
from vision_suite.text.lexicon import Lexicon


class WithSynonyms:
    """A detector that is asked for a word and for the name of its group: "puppy" and "dog".

    The score is the better one; a word that the detector does not know counts by its group's name alone.

    Args:
        detector: The detector.
        lexicon: Groups of synonyms.

    Attributes:
        name: Name of the detector.
        vocabulary: Names that the detector knows, without the words that lead to them; None for any.
    """

    def __init__(self, detector: OpenVocabDetector, lexicon: Lexicon) -> None:
        self.detector, self.lexicon = detector, lexicon
        self.name, self.vocabulary = detector.name, detector.vocabulary

    def score(self, images: Sequence[Image.Image], queries: Sequence[Sequence[str]]) -> Scores:
        """The better score of each word and of its group's name; `ABSTAIN` where the detector knows neither.

        Args:
            images: B RGB pictures.
            queries: Words asked about each of them.

        Raises:
            DataError: The numbers of pictures and lists of words differ.
        """
        check_requests(images, queries)
        asked = [list(dict.fromkeys(each for word in words for each in self._forms(word))) for words in queries]
        found = self.detector.score(images, asked)
        return [
            {word: _best([scores[each] for each in self._forms(word)]) for word in words}
            for words, scores in zip(queries, found, strict=True)
        ]

    def _forms(self, word: str) -> list[str]:
        """A word, and the name of its group where that is another one."""
        return list(dict.fromkeys([word, self.lexicon.name(word) or word]))


def _best(scores: Sequence[float]) -> float:
    """The largest score that is one."""
    return max((score for score in scores if not math.isnan(score)), default=ABSTAIN)
