"""Interleaved image-text chains (IIT, WINGS section 4.2 and figure 8): one to three questions on a common subject.

The benchmark's data and its rule of scoring are not published. These chains are made of other sets: earlier turns are
the most similar text questions that do not give the last turn's answer away. Only the last turn is meant to be scored.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vision_suite.datasets.instruct.question_rows import IMAGE, Question, Turn, question_row, right_answer, stream_of
from vision_suite.types.arrays import Floats32

CONFIGS = ("T", "TT", "TTT", "TTV", "TV", "V")
DIGITS = 4  # of similarities: smaller differences may come from the machine


class Chains(NamedTuple):
    """Chains and what was refused on the way.

    Attributes:
        rows: Chains of all configurations, one after another.
        leaks: Number of similar questions refused since they hold the last turn's answer, by configuration.
    """

    rows: list[Question]
    leaks: dict[str, int]


def build_chains(
    text: Sequence[Turn],
    visual: Sequence[Turn],
    text_vectors: Floats32,
    visual_vectors: Floats32,
    *,
    count: int,
    seed: int,
) -> Chains:
    """Chains of each configuration; no question is used twice within one.

    Args:
        text: Questions without pictures.
        visual: Questions with pictures.
        text_vectors: (number of text questions, d) vectors of length 1.
        visual_vectors: (number of visual questions, d) vectors of length 1.
        count: Largest number of chains of each configuration.
        seed: Seed of the choice of last turns.
    """
    rows: list[Question] = []
    leaks: Counter[str] = Counter()
    texts = [words_of(turn) for turn in text]
    for config in CONFIGS:
        last, vectors = (visual, visual_vectors) if config[-1] == "V" else (text, text_vectors)
        used: set[int] = set()  # text questions
        made = 0
        for place in (int(place) for place in stream_of(seed, config).permutation(len(last))):
            if made == count:
                break
            if config[-1] == "T" and place in used:
                continue
            taken = used | ({place} if config[-1] == "T" else set())
            before: list[int] = []
            if len(config) > 1:
                likeness = np.round(text_vectors @ vectors[place], DIGITS)
                answer = right_answer(last[place])
                for near in (int(near) for near in np.argsort(-likeness, kind="stable")):
                    if near in taken:
                        continue
                    if holds(texts[near], answer):
                        leaks[config] += 1
                        continue
                    before.append(near)
                    taken.add(near)
                    if len(before) == len(config) - 1:
                        break
            if len(before) < len(config) - 1:
                continue
            used = taken
            # The nearest question stands next to the last one.
            rows.append(question_row(f"iit-{len(rows):06d}", *(text[near] for near in reversed(before)), last[place]))
            made += 1
    return Chains(rows, dict(leaks))


def words_of(turn: Turn) -> str:
    """Everything that a turn says: its question, without markers of pictures, and its choices."""
    return " ".join([turn["question"].replace(IMAGE, " "), *turn.get("choices", [])])


def subject_of(turn: Turn) -> str:
    """The text by which a turn is matched: its question and right answer."""
    return f"{turn['question'].replace(IMAGE, ' ').strip()} {right_answer(turn)}"


def holds(text: str, answer: str) -> bool:
    """True if a text holds an answer as whole words, in any case."""
    return re.search(rf"(?<!\w){re.escape(answer.lower())}(?!\w)", text.lower()) is not None


def tfidf_vectors(texts: Sequence[str]) -> Floats32:
    """Words of each text by their frequency and rarity, of length 1: (n, number of words) float32.

    A weight is count * (1 + log((1 + n) / (1 + number of texts with the word))), as in scikit-learn.

    Args:
        texts: Texts.
    """
    counts = [Counter(re.findall(r"\w\w+", text.lower())) for text in texts]
    frequency = Counter(word for each in counts for word in each)
    column = {word: place for place, word in enumerate(sorted(frequency))}
    table = np.zeros((len(texts), len(column)), dtype=np.float32)
    for row, each in enumerate(counts):
        for word, number in each.items():
            table[row, column[word]] = number * (1 + np.log((1 + len(texts)) / (1 + frequency[word])))
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    return np.asarray(table / np.maximum(lengths, 1e-12), dtype=np.float32)
