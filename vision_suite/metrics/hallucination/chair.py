"""CHAIR: the share of the objects named in captions that their pictures do not show (Rohrbach et al., 2018)."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from vision_suite.metrics.hallucination.captions import Finding, caption_counts, ratio, sentences_of
from vision_suite.text.lexicon import Words


def chair_finding(text: str, objects: Collection[str], words: Words) -> Finding:
    """Judge one caption; an object counts as often as it is named.

    Args:
        text: Caption.
        objects: Names of the objects in the picture, the first words of their groups.
        words: Vocabulary, such as `vision_suite.text.coco.CocoWords`.

    Example:
        >>> from vision_suite.text.coco import CocoWords
        >>> finding = chair_finding("A man feeds two dogs. A cat and a dog watch.", {"person", "cat"}, CocoWords())
        >>> finding.named, finding.made_up, finding.sentence
        (('person', 'dog', 'cat', 'dog'), (False, True, False, True), (0, 0, 1, 1))
    """
    mentions = words.find(text)
    named = tuple(mention.name for mention in mentions)
    places, sentences = sentences_of(text, mentions)
    shown = dict.fromkeys(objects)
    return Finding(
        named=named,
        made_up=tuple(name not in shown for name in named),
        sentence=places,
        covered=tuple(name in named for name in shown),
        expected=(),
        sentences=sentences,
        words=len(text.split()),
    )


def chair_scores(findings: Iterable[Finding]) -> dict[str, float]:
    """Rates over all captions.

    Returns:
        ``chair_i``, made-up mentions among all mentions; ``chair_s``, captions with at least one among all captions;
        ``chair_s_named``, the same among captions that name an object; ``recall``, objects of pictures that are named
        among all of them; NaN where there is nothing to count.

    Example:
        >>> from vision_suite.text.coco import CocoWords
        >>> finding = chair_finding("A dog and a cat.", ["dog", "bench"], CocoWords())
        >>> chair_scores([finding])["chair_i"], chair_scores([finding])["recall"]
        (0.5, 0.5)
    """
    counts = caption_counts(findings)
    return {
        "chair_i": ratio(counts.made_up, counts.named),
        "chair_s": ratio(counts.with_made_up, counts.captions),
        "chair_s_named": ratio(counts.with_made_up, counts.with_objects),
        "recall": ratio(counts.covered, counts.objects),
    }
