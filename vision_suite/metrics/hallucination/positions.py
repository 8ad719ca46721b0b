"""Objects made up by position of the sentence: where it starts, and whether it goes on (SENTINEL, Fig. 2)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from vision_suite.errors import check_number
from vision_suite.metrics.hallucination.captions import ratio
from vision_suite.types.arrays import Floats

Caption = Sequence[tuple[int, int]]
"""Numbers of factual and of made-up objects of each sentence."""


class Position(NamedTuple):
    """All sentences at one position of their captions.

    Attributes:
        captions: Captions that have such a sentence.
        factual: Factual objects in these sentences.
        made_up: Made-up objects in these sentences.
        rate: Made-up ones among all objects; NaN without an object.
        clean_before: Captions with such a sentence and nothing made up before it.
        hazard: Share of those in which it starts here; NaN if there are none.
    """

    captions: int
    factual: int
    made_up: int
    rate: float
    clean_before: int
    hazard: float


class Carry(NamedTuple):
    """Share of sentences with something made up, by what the sentence before them holds.

    Attributes:
        after_made_up: Share behind a sentence with something made up; NaN if there is none.
        after_clean: Share behind a sentence without; NaN if there is none.
        lift: Ratio of the two.
    """

    after_made_up: float
    after_clean: float
    lift: float


def sentence_positions(captions: Sequence[Caption]) -> list[Position]:
    """Rates and hazards by position, the first sentence first.

    Args:
        captions: Factual and made-up objects of each sentence of each caption.

    Example:
        >>> found = sentence_positions([[(2, 0), (1, 1)], [(3, 0), (2, 0)]])
        >>> [(position.rate, position.hazard) for position in found]
        [(0.0, 0.0), (0.25, 0.5)]
    """
    found = []
    for place in range(max(map(len, captions), default=0)):
        here = [caption for caption in captions if len(caption) > place]
        clean = [caption for caption in here if not any(made_up for _, made_up in caption[:place])]
        factual, made_up = (sum(caption[place][kind] for caption in here) for kind in (0, 1))
        hazard = ratio(sum(caption[place][1] > 0 for caption in clean), len(clean))
        found.append(Position(len(here), factual, made_up, ratio(made_up, factual + made_up), len(clean), hazard))
    return found


def carry_over(captions: Sequence[Caption]) -> Carry:
    """Tell whether a sentence with something made up brings another one.

    Example:
        >>> carry_over([[(0, 1), (0, 1)], [(1, 0), (0, 1)], [(1, 0), (1, 0)]])
        Carry(after_made_up=1.0, after_clean=0.5, lift=2.0)
    """
    pairs = [(before[1] > 0, after[1] > 0) for caption in captions for before, after in pairwise(caption)]
    after_made_up, after_clean = (
        ratio(sum(after for before, after in pairs if before is kind), sum(before is kind for before, _ in pairs))
        for kind in (True, False)
    )
    return Carry(after_made_up, after_clean, ratio(after_made_up, after_clean))


def later_made_up(captions: Sequence[Caption], place: int) -> float:
    """Mean number of made-up objects behind one sentence, over the captions that have it; NaN without such a caption.

    Compare captions whose sentence was forced to be clean with captions as they come (SENTINEL, Fig. 2b and 9).

    Args:
        captions: See `sentence_positions`.
        place: Number of the sentence, from 0.

    Example:
        >>> later_made_up([[(1, 0), (0, 1), (0, 2)], [(1, 0)]], 0)
        1.5
    """
    here = [caption for caption in captions if len(caption) > place]
    return ratio(sum(made_up for caption in here for _, made_up in caption[place + 1 :]), len(here))


def densities(captions: Sequence[Caption], bins: int = 10) -> Floats:
    """Objects by relative position in the caption (SENTINEL, Fig. 2a).

    A sentence's objects are spread evenly over its part of the caption, all sentences being equally long.

    Args:
        captions: See `sentence_positions`.
        bins: Number of equal parts of a caption.

    Returns:
        (2, bins) float64, factual and made-up objects; sums are those of all captions.

    Example:
        >>> densities([[(2, 0), (0, 1)]], bins=4).tolist()
        [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    check_number("bins", bins, low=1, whole=True)
    found = np.zeros((2, bins))
    edges = np.arange(bins + 1) / bins
    for caption in captions:
        for place, objects in enumerate(caption):
            start, end = place / len(caption), (place + 1) / len(caption)
            share = np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], start), 0, None) * len(caption)
            found += np.outer(objects, share)
    return found
