"""Object HalBench, the part that works by rule: different names in a response instead of mentions (RLHF-V, RLAIF-V).

The benchmark has a language model extract the objects. Here COCO's words do it, so results are called
``object_halbench_rule`` and compare with each other only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from vision_suite.metrics.hallucination.captions import (
    Finding,
    caption_counts,
    length_without_denials,
    ratio,
    sentences_of,
)
from vision_suite.text.lexicon import Mention, Words
from vision_suite.text.sentences import split_sentences


def halbench_finding(text: str, objects: Collection[str], words: Words) -> Finding:
    """Judge one response; each different word counts once, so two words for one class are two.

    Args:
        text: Response.
        objects: Names of the objects in the picture, the first words of their groups.
        words: Vocabulary, `vision_suite.text.coco.CocoWords` with ``refined=True`` for the benchmark.

    Example:
        >>> from vision_suite.text.coco import CocoWords
        >>> finding = halbench_finding("A dog, a puppy and two dogs near a cat.", {"dog"}, CocoWords(refined=True))
        >>> finding.named, finding.made_up
        (('dog', 'puppy', 'cat'), (False, False, True))
    """
    once: dict[str, Mention] = {}
    for mention in words.find(text):
        once.setdefault(mention.word, mention)
    first = list(once.values())
    places, sentences = sentences_of(text, first)
    return _finding(first, objects, places, sentences, length_without_denials(split_sentences(text)))


def extracted_finding(names: Iterable[str], objects: Collection[str], words: Words) -> Finding:
    """Judge the names that something else extracted from one response; names without a class do not count.

    Args:
        names: Names in the singular.
        objects: Names of the objects in the picture.
        words: Vocabulary that gives names their class.

    Example:
        >>> from vision_suite.text.coco import CocoWords
        >>> extracted_finding(["table", "cat", "idea"], ["dining table"], CocoWords(refined=True)).made_up
        (False, True)
    """
    # One line a name keeps names apart and lets rules over whole captions, such as that of seats, see them all.
    mentions = words.find(".\n".join(dict.fromkeys(names)))
    return _finding(mentions, objects, (0,) * len(mentions), 1, 0)


def halbench_scores(findings: Iterable[Finding]) -> dict[str, float]:
    """Rates over all responses.

    Returns:
        ``object_halbench_rule_mention``, made-up names among all names (the benchmark's CHAIRi);
        ``object_halbench_rule_response``, responses with one among those that name an object (CHAIRs_refine);
        ``object_halbench_rule_all_responses``, the same among all responses (CHAIRs); ``recall``, objects of pictures
        that are named among all of them.

    Example:
        >>> from vision_suite.text.coco import CocoWords
        >>> words = CocoWords(refined=True)
        >>> found = [halbench_finding("A dog and a cat.", ["dog"], words), halbench_finding("Blue sky.", [], words)]
        >>> halbench_scores(found)["object_halbench_rule_response"]
        1.0
    """
    counts = caption_counts(findings)
    return {
        "object_halbench_rule_mention": ratio(counts.made_up, counts.named),
        "object_halbench_rule_response": ratio(counts.with_made_up, counts.with_objects),
        "object_halbench_rule_all_responses": ratio(counts.with_made_up, counts.captions),
        "recall": ratio(counts.covered, counts.objects),
    }


def _finding(
    mentions: Sequence[Mention], objects: Collection[str], places: tuple[int, ...], sentences: int, length: int
) -> Finding:
    shown = dict.fromkeys(objects)
    classes = {mention.name for mention in mentions}
    return Finding(
        named=tuple(mention.word for mention in mentions),
        made_up=tuple(mention.name not in shown for mention in mentions),
        sentence=places,
        covered=tuple(name in classes for name in shown),
        expected=(),
        sentences=sentences,
        words=length,
    )
