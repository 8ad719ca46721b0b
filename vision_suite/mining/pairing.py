"""Pairs of a step's sentences: which are preferred, which rejected, and in which order they meet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Literal, NamedTuple, TypeVar

from vision_suite.errors import ConfigError
from vision_suite.mining.decide import Classes, Rules

Kind = Literal["y+", "y-"]
T = TypeVar("T")


class Pair(NamedTuple):
    """Numbers of a preferred and a hallucinated sentence of one step, and whether the preferred one is coherent."""

    win: int
    lose: int
    kind: Kind


def pairs_of(
    classes: Classes,
    rules: Rules,
    *,
    first: bool,
    logps: Mapping[int, float] | None = None,
    texts: Mapping[int, str] | None = None,
) -> list[Pair]:
    """Pair a step's sentences, as many as its smaller side has.

    Args:
        classes: Classes of the sentences.
        rules: Rules.
        first: The context is empty, so that coherence says nothing and all factual sentences count as coherent.
        logps: Log-probability of each sentence under the model, for ``likely``.
        texts: Text of each sentence, for ``alike``.

    Raises:
        ConfigError: The order of pairing needs what was not given of every sentence to pair.

    Example:
        >>> pairs_of(Classes((0, 3), (1, 5), (2, 6), (4,), (7,)), Rules(), first=False)
        [Pair(win=0, lose=2, kind='y+'), Pair(win=3, lose=6, kind='y+')]
    """
    if first and not rules.first_pairs:
        return []
    kinds: dict[int, Kind] = {number: "y+" for number in classes.coherent}
    kinds |= {number: "y+" if first else "y-" for number in classes.agnostic}
    preferred = {
        "coherent": classes.coherent,
        "agnostic": classes.agnostic,
        "both": classes.coherent + classes.agnostic,
    }
    winners = sorted(kinds) if first else list(preferred[rules.positives])
    losers = list(classes.hallucinated)
    if rules.repeats == "rejected":
        losers = sorted(classes.hallucinated + classes.repeated)
    if rules.pairing == "alike":
        words = _of_each([*winners, *losers], texts, "alike", "text")
        return [Pair(win, lose, kinds[win]) for win, lose in alike(winners, losers, words)]
    if rules.pairing == "likely":
        likely = _of_each([*winners, *losers], logps, "likely", "log-probability")
        winners, losers = (sorted(side, key=lambda number: -likely[number]) for side in (winners, losers))
    return [Pair(win, lose, kinds[win]) for win, lose in zip(winners, losers, strict=False)]


def alike(winners: Sequence[int], losers: Iterable[int], texts: Mapping[int, str]) -> Iterator[tuple[int, int]]:
    """Pair sentences of two sides once each, those first that share most of their words in order.

    Args:
        winners: Numbers of one side.
        losers: Numbers of the other.
        texts: Text of each sentence.

    Example:
        >>> texts = {0: "a cat is above the fox.", 1: "a dog sits there.", 2: "a pig is above the fox."}
        >>> list(alike([0, 1], [2], texts))
        [(0, 2)]
    """
    words = {number: text.split() for number, text in texts.items()}
    shares = {
        (win, lose): SequenceMatcher(None, words[win], words[lose], autojunk=False).ratio()
        for win in winners
        for lose in losers
    }
    used: set[int] = set()
    for pair in sorted(shares, key=lambda pair: -shares[pair]):
        if used.isdisjoint(pair):
            used.update(pair)
            yield pair


def _of_each(numbers: Iterable[int], known: Mapping[int, T] | None, pairing: str, what: str) -> Mapping[int, T]:
    """What is known of sentences, if it is known of all."""
    found = known or {}
    if missing := [number for number in numbers if number not in found]:
        raise ConfigError(
            f"rules.pairing={pairing!r} needs the {what} of each sentence, and sentence {missing[0]} has none: give "
            "it, or pair them as drawn"
        )
    return found
