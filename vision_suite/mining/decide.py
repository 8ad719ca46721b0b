"""Verdicts, classes of sentences, the sentence that extends the context, and the end: SENTINEL's rules."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from vision_suite.errors import ConfigError, check_choice, check_literals, check_number

Verdict = Literal["factual", "hallucinated", "uncertain"]
Growth = Literal["non_hallucinated", "natural", "hallucinated"]
Sentences = Mapping[int, Sequence[str]]  # names of the objects of each distinct sentence, by the candidate's number


@dataclass(frozen=True)
class Rules:
    """Points in which the paper and the released code differ, and the ablations of tables 3, 4 and 9.

    Attributes:
        first_pairs: Make pairs of the first sentence, where no context could be coherent (paper: yes).
        positives: Preferred sentences: those that name an object of the context again (``coherent``), the others
            (``agnostic``), or the coherent ones first (``both``). Of the first sentence all count.
        repeats: What a sentence counts as whose objects the context all has: coherent like others (``used``, paper), in
            no pair (``unused``), since a preference for it teaches a model to repeat itself, or ``rejected`` like a
            hallucinated one.
        uncertain: What an object counts as about which the detectors differ (paper: in no pair, ``unused``).
        out_of_vocabulary: Verdict of a detector on a name that it does not know: none (``abstain``, which makes the
            object uncertain), or ``recognised`` (released code).
        pairing: Order in which sentences are paired: as they were ``drawn``, the ``likely`` ones first, or those first
            that are most ``alike`` in their words, so that a preference is about the object and not about phrasing.
        growth: Sentence that extends the context: a ``non_hallucinated`` one, the model's ``natural`` greedy one, or a
            ``hallucinated`` one.
        prefers: Non-hallucinated sentences that extend it first, ``coherent`` (paper) or ``agnostic`` (released code).
        otherwise: What extends it where no sentence has objects that are all factual: nothing (``stop``), a sentence
            without any object, else one with uncertain ones (``clean``), or ``any`` (released code).
        stop: An answer ends where more than half of the candidates end it at once (``ended``), or where more than half
            are empty or repeat others (``diversity``, released code).
        max_sentences: Longest context in sentences.
    """

    first_pairs: bool = True
    positives: Literal["coherent", "agnostic", "both"] = "coherent"
    repeats: Literal["used", "unused", "rejected"] = "used"
    uncertain: Literal["unused", "factual", "hallucinated"] = "unused"
    out_of_vocabulary: Literal["abstain", "recognised"] = "abstain"
    pairing: Literal["drawn", "likely", "alike"] = "drawn"
    growth: Growth = "non_hallucinated"
    prefers: Literal["coherent", "agnostic"] = "coherent"
    otherwise: Literal["stop", "clean", "any"] = "clean"
    stop: Literal["ended", "diversity"] = "ended"
    max_sentences: int = 16

    def __post_init__(self) -> None:
        check_literals(self, "rules")
        check_number("rules.max_sentences", self.max_sentences, low=1, whole=True)
        if not isinstance(self.first_pairs, bool):
            raise ConfigError(f"rules.first_pairs={self.first_pairs!r} must be true or false")


MODES = {
    "paper": Rules(),
    "released": Rules(
        first_pairs=False, out_of_vocabulary="recognised", prefers="agnostic", otherwise="any", stop="diversity"
    ),
}


# Rules by which contexts grow: they act while sentences are sampled, and on nothing that is stored.
OF_GROWTH = ("growth", "prefers", "otherwise", "stop", "max_sentences")


def rules_of(settings: Mapping[str, object]) -> Rules:
    """Rules of a configuration: a ``mode``, paper by default, and single rules that differ from it.

    Raises:
        ConfigError: The mode, a rule or its value is unknown.

    Example:
        >>> rules_of({"mode": "released", "growth": "natural"}).stop
        'diversity'
    """
    changes = dict(settings)
    mode = changes.pop("mode", "paper")
    check_choice("rules.mode", mode, MODES)
    known = ["mode", *Rules.__dataclass_fields__]
    for name in changes:
        check_choice("a setting of rules", name, known)
    return replace(MODES[str(mode)], **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Threshold:
    """Scores from which a detector finds an object present, and below which absent; between them it abstains.

    Attributes:
        low: Score below which an object is absent.
        high: Score from which it is present; equal to `low` in the paper.
        names: Limits of single names, where they differ.
    """

    low: float
    high: float
    names: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for low, high in [(self.low, self.high), *self.names.values()]:
            check_number("threshold", low, low=0, high=1)
            check_number("threshold", high, low=low, high=1)

    def of(self, name: str) -> tuple[float, float]:
        """Both limits for a name."""
        return self.names.get(name, (self.low, self.high))


def verdict(name: str, scores: Mapping[str, float], thresholds: Mapping[str, Threshold], rules: Rules) -> Verdict:
    """Verdict on an object: unanimous detectors decide, anything else is uncertain (section 3.2).

    Args:
        name: Name of the object.
        scores: Score of each detector; NaN where it does not know the name.
        thresholds: Limits of the detectors that decide; others are not asked.
        rules: Rules, for names that a detector does not know, and for uncertain objects.

    Example:
        >>> half = {"a": Threshold(0.5, 0.5), "b": Threshold(0.5, 0.5)}
        >>> [verdict("dog", {"a": 0.9, "b": b}, half, Rules()) for b in (0.8, 0.1, math.nan)]
        ['factual', 'uncertain', 'uncertain']
    """
    closed = rules.out_of_vocabulary == "recognised"
    found = {
        True if closed and math.isnan(scores[each]) else outcome(scores[each], limits.of(name))
        for each, limits in thresholds.items()
    }
    if found == {True}:
        return "factual"
    if found == {False}:
        return "hallucinated"
    return "uncertain" if rules.uncertain == "unused" else rules.uncertain


def outcome(score: float, limits: tuple[float, float]) -> bool | None:
    """Tell whether a detector finds an object present; None where it does not know, or its score lies between."""
    return True if score >= limits[1] else False if score < limits[0] else None


class Classes(NamedTuple):
    """Numbers of a step's distinct sentences by their class, in the order of drawing.

    Attributes:
        coherent: All objects factual, and one of them is in the context.
        agnostic: All objects factual, none of them in the context.
        hallucinated: An object that is not in the picture.
        plain: No object; in no pair.
        uncertain: An uncertain object and no hallucinated one; in no pair.
        repeated: All objects factual and in the context; empty where the rules count such sentences as coherent.
    """

    coherent: tuple[int, ...]
    agnostic: tuple[int, ...]
    hallucinated: tuple[int, ...]
    plain: tuple[int, ...]
    uncertain: tuple[int, ...]
    repeated: tuple[int, ...] = ()


def distinct(texts: Sequence[str]) -> list[int]:
    """Numbers of the candidates that are neither empty nor equal to an earlier one."""
    first: dict[str, int] = {}
    for number, text in enumerate(texts):
        first.setdefault(text.strip(), number)
    return sorted(number for text, number in first.items() if text)


def classify(sentences: Sentences, verdicts: Mapping[str, Verdict], named: Collection[str], rules: Rules) -> Classes:
    """Sort sentences into their classes (section 3.3).

    Args:
        sentences: Objects of each distinct sentence.
        verdicts: Verdict on each object.
        named: Objects that the context names.
        rules: Rules, for sentences that name nothing new.
    """
    found: dict[str, list[int]] = {name: [] for name in Classes._fields}
    for number, names in sentences.items():
        kinds = {verdicts[name] for name in names}
        if "hallucinated" in kinds:
            found["hallucinated"].append(number)
        elif "uncertain" in kinds:
            found["uncertain"].append(number)
        elif not kinds:
            found["plain"].append(number)
        elif rules.repeats != "used" and set(names) <= set(named):
            found["repeated"].append(number)
        else:
            found["coherent" if any(name in named for name in names) else "agnostic"].append(number)
    return Classes(**{name: tuple(numbers) for name, numbers in found.items()})


def next_sentence(classes: Classes, rules: Rules, seed: int) -> int | None:
    """Number of the sentence that extends the context, None if there is none (section 3.3, App. B.2).

    Args:
        classes: Classes of the step's sentences.
        rules: Rules; with natural growth another sentence is taken.
        seed: Number that decides among several.
    """
    order = [classes.coherent, classes.agnostic]
    if rules.prefers == "agnostic":
        order.reverse()
    if rules.growth == "hallucinated":
        order.insert(0, classes.hallucinated)
    if rules.otherwise == "clean":
        order += [classes.repeated, classes.plain, classes.uncertain]
    elif rules.otherwise == "any":
        order.append(tuple(sorted({number for each in classes for number in each})))
    options = next((each for each in order if each), ())
    return options[seed % len(options)] if options else None


def too_uniform(texts: Sequence[str]) -> bool:
    """Tell whether more than half of a step's candidates are empty or repeat others (released ``get_finish_flag``).

    Example:
        >>> too_uniform(["a."] * 6 + list("bcde")), too_uniform(["a."] * 7 + list("bcd"))
        (False, True)
    """
    return 2 * (len(texts) - len(distinct(texts))) > len(texts)
