"""Captions compared at equal length and at equal recall, since saying less is no cure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TypedDict

from vision_suite.metrics.hallucination.captions import Finding, caption_counts, ratio
from vision_suite.text.sentences import split_sentences

LONGEST = 10  # sentences


class LengthRow(TypedDict):
    """Captions cut behind a number of sentences.

    ``sentences`` kept at most; ``reached``, captions that are at least so long; ``made_up`` share of the objects named
    (CHAIR_i), ``made_up_captions`` share of the captions with one (CHAIR_s), ``recall`` share of the pictures' objects
    that are named, ``words`` a caption; NaN where there is nothing to count.
    """

    sentences: int
    reached: int
    made_up: float
    made_up_captions: float
    recall: float
    words: float


def cut(text: str, sentences: int) -> str:
    """First sentences of a text.

    Example:
        >>> cut("A dog runs. It barks! A cat sleeps.", 2)
        'A dog runs. It barks!'
    """
    return " ".join(split_sentences(text)[:sentences])


def by_length(judge: Callable[[int, str], Finding], texts: Mapping[int, str]) -> list[LengthRow]:
    """Rates of captions cut behind 1, 2, 3 ... sentences, up to the longest caption or `LONGEST` sentences.

    A caption that is shorter counts as it is, so the last row is that of whole captions if none is longer.

    Args:
        judge: Function that judges the text of an item.
        texts: Captions by index of their item.

    Example:
        >>> from vision_suite.metrics.hallucination.chair import chair_finding
        >>> from vision_suite.text.coco import CocoWords
        >>> words = CocoWords()
        >>> rows = by_length(lambda _, text: chair_finding(text, {"dog"}, words), {0: "A dog runs. A cat runs."})
        >>> [(row["sentences"], row["made_up"], row["recall"]) for row in rows]
        [(1, 0.0, 1.0), (2, 0.5, 1.0)]
    """
    lengths = {index: len(split_sentences(text)) for index, text in texts.items()}
    rows: list[LengthRow] = []
    for sentences in range(1, min(LONGEST, max(lengths.values(), default=0)) + 1):
        counts = caption_counts(judge(index, cut(text, sentences)) for index, text in texts.items())
        rows.append(
            {
                "sentences": sentences,
                "reached": sum(length >= sentences for length in lengths.values()),
                "made_up": ratio(counts.made_up, counts.named),
                "made_up_captions": ratio(counts.with_made_up, counts.captions),
                "recall": ratio(counts.covered, counts.objects),
                "words": ratio(counts.words, counts.captions),
            }
        )
    return rows


def at_length(models: Mapping[str, Sequence[LengthRow]], sentences: int) -> dict[str, LengthRow]:
    """Rows of several models whose captions are cut behind the same number of sentences.

    A model whose captions are all shorter keeps its last row. Models without a caption are left out.

    Args:
        models: Rows of `by_length` by model.
        sentences: Number of sentences.

    Example:
        >>> row = {"sentences": 1, "reached": 1, "made_up": 0.0, "made_up_captions": 0.0, "recall": 0.4, "words": 4.0}
        >>> rows = at_length({"long": [row, {**row, "sentences": 2}], "short": [row]}, 2)
        >>> rows["long"]["sentences"], rows["short"]["sentences"]
        (2, 1)
    """
    return {name: rows[min(sentences, len(rows)) - 1] for name, rows in models.items() if rows}


def at_recall(models: Mapping[str, Sequence[LengthRow]], recall: float | None = None) -> dict[str, float]:
    """Share of made-up objects of several models where their captions, cut earlier or later, have the same recall.

    Between two numbers of sentences the share lies on the line through both. It is NaN for a model whose first
    sentence alone has a higher recall, or whose whole captions have a lower one.

    Args:
        models: Rows of `by_length` by model.
        recall: Recall of the comparison; None for the highest that every model reaches.

    Example:
        >>> row = {"sentences": 1, "reached": 1, "made_up": 0.0, "made_up_captions": 0.0, "recall": 0.4, "words": 4.0}
        >>> rows = [row, {**row, "sentences": 2, "made_up": 0.2, "recall": 0.8}]
        >>> round(at_recall({"a": rows, "b": rows[:1]})["a"], 6), round(at_recall({"a": rows}, 0.6)["a"], 6)
        (0.0, 0.1)
    """
    rows_of = {name: rows for name, rows in models.items() if rows}
    shared = min((rows[-1]["recall"] for rows in rows_of.values()), default=math.nan) if recall is None else recall
    return {name: _interpolated(rows, shared) for name, rows in rows_of.items()}


def _interpolated(rows: Sequence[LengthRow], recall: float) -> float:
    """Share of made-up objects at a recall, on the line between the rows around it."""
    # The first row that has the recall counts: later ones say more without naming more of the picture.
    if rows[0]["recall"] == recall:
        return rows[0]["made_up"]
    for before, after in pairwise(rows):
        if before["recall"] < recall <= after["recall"]:
            share = (recall - before["recall"]) / (after["recall"] - before["recall"])
            return (1 - share) * before["made_up"] + share * after["made_up"]
    return math.nan
