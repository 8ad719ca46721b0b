"""The span rule: scores of names in a prompt by the tokens of each name.

Grounding DINO (Liu et al., ECCV 2024) scores every token of one prompt "a. b." for every box. Its library rebuilds
names from the tokens above a threshold, which merges neighbours ("fork knife") and cuts names short ("glass"). Here a
name counts by its own tokens only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

BOX_THRESHOLD, TEXT_THRESHOLD = 0.35, 0.25  # of the SENTINEL release, for GroundingDINO
BORDERS = re.compile(r"[.?\s]+")  # what the network takes for the end of a phrase, and blanks

Name = TypeVar("Name")


def prompt_name(name: str) -> str:
    """A name as it stands in a prompt: lower case, without the marks that end a phrase."""
    return BORDERS.sub(" ", name).strip().lower()


def join_names(names: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """A prompt of names, each followed by a period, and the characters of each name.

    Example:
        >>> join_names(["dining table", "dog"])
        ('dining table. dog.', [(0, 12), (14, 17)])
    """
    prompt, places = "", []
    for name in names:
        start = len(prompt) + bool(prompt)
        places.append((start, start + len(name)))
        prompt = f"{prompt} {name}.".lstrip()
    return prompt, places


def token_spans(offsets: Sequence[tuple[int, int]], places: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Positions of the tokens of each name.

    Args:
        offsets: First character of each token of the prompt and the one behind it; equal for special tokens.
        places: Characters of each name.
    """
    return [
        [position for position, (low, high) in enumerate(offsets) if start <= low < high <= end]
        for start, end in places
    ]


def span_boxes(probabilities: Tensor, spans: Sequence[Sequence[int]], box_threshold: float) -> Tensor:
    """Score (Q, K) of each name for each box: the least of its tokens, 0 for boxes without a token above a threshold.

    Args:
        probabilities: (Q, T) of tokens for boxes.
        spans: Positions of the tokens of each of K names, none of them empty.
        box_threshold: Probability that the best token of a box must exceed; 0 lets every box count.
    """
    least = torch.stack([probabilities[:, list(span)].amin(dim=1) for span in spans], dim=1)
    counts = probabilities.amax(dim=1, keepdim=True) > box_threshold
    return least * counts


def span_scores(probabilities: Tensor, spans: Sequence[Sequence[int]], box_threshold: float = BOX_THRESHOLD) -> Tensor:
    """Score (K,) of each name: that of its best box.

    A name is present by the two thresholds of the reference if and only if its score exceeds `TEXT_THRESHOLD`.

    Args:
        probabilities: (Q, T) of tokens for boxes.
        spans: Positions of the tokens of each of K names, none of them empty.
        box_threshold: Threshold of `span_boxes`.

    Example:
        >>> span_scores(torch.tensor([[0.4, 0.3, 0.02], [0.1, 0.36, 0.01]]), [[0, 1], [2]])
        tensor([0.3000, 0.0200])
    """
    return span_boxes(probabilities, spans, box_threshold).amax(dim=0)


def chunks(names: Sequence[Name], cost: Callable[[Name], int], room: int) -> Iterator[list[Name]]:
    """Runs of names whose costs add up to at most ``room``; a name that costs more stands alone.

    Args:
        names: Names in order.
        cost: Function that gives the tokens that a name takes.
        room: Tokens of one prompt.
    """
    held: list[Name] = []
    used = 0
    for name in names:
        need = cost(name)
        if held and used + need > room:
            yield held
            held, used = [], 0
        held.append(name)
        used += need
    if held:
        yield held
