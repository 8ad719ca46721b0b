"""Report of an evaluation of captions and questions: rates, and length and recall beside each of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from vision_suite.errors import DataError
from vision_suite.metrics.hallucination import amber, pope
from vision_suite.metrics.hallucination.amber import AmberAnswer, amber_finding, amber_scores, question_percentages
from vision_suite.metrics.hallucination.captions import Finding, caption_counts, ratio, sentence_counts
from vision_suite.metrics.hallucination.chair import chair_finding, chair_scores
from vision_suite.metrics.hallucination.halbench import halbench_finding, halbench_scores
from vision_suite.metrics.hallucination.matched import LengthRow, by_length
from vision_suite.text.amber import AmberWords
from vision_suite.text.coco import CocoWords
from vision_suite.text.lexicon import Words
from vision_suite.types.preference import HallucinationItem, HallucinationReport, MadeUp

QUESTIONS = ("pope", "amber_question")
SCORES = {"chair": chair_scores, "object_halbench": halbench_scores, "amber": amber_scores}


def hallucination_report(
    items: Sequence[HallucinationItem],
    texts: Mapping[int, str],
    *,
    protocol: Mapping[str, Any],
    words: Mapping[str, Words] | None = None,
    ended: Mapping[int, bool] | None = None,
) -> HallucinationReport:
    """Judge every text. Results depend on neither the order nor the number of processes that wrote them.

    ``metrics`` has for each task of captions the rates of `chair_scores`, `halbench_scores` or `amber_scores`, and
    ``recall``, ``words`` and ``sentences`` a caption, ``objects`` named a caption, ``captions`` (their number) and
    ``ended`` (share that the model ended itself); for each task of questions the scores of `pope_scores` as
    ``pope_<score>``, by both ways to read an answer (``pope_<score>_reference`` for the published one), or AMBER's
    percentages as ``amber_<dimension>_<score>`` and ``..._reference``. Each name ends in ``/<task>``. What has nothing
    to count is left out. ``protocol`` gets ``words`` (the rule by which objects are found) and ``by_length`` (rows of
    `by_length`) by task.

    Args:
        items: Truth, by the index that texts have.
        texts: Captions and answers by index of their item.
        protocol: Facts of the data; lines of its ``warnings`` stay before those of this evaluation.
        words: Vocabulary by task; by default COCO's for CHAIR and, with its additions, Object HalBench. AMBER's
            captions need an `AmberWords`.
        ended: Flags by index, true where the model ended its text itself, not at a limit; None if not recorded.

    Raises:
        DataError: There is no text, a text has no item, a task has items of several kinds, or lacks AMBER's words.

    Example:
        >>> item = HallucinationItem("a", "chair", "val", objects=("dog", "person"))
        >>> report = hallucination_report([item], {0: "A dog and a cat. A man walks."}, protocol={})
        >>> {name: round(value, 3) for name, value in report.metrics.items() if name[:5] in ("chair", "recal", "words")}
        {'chair_i/val': 0.333, 'chair_s/val': 1.0, 'chair_s_named/val': 1.0, 'recall/val': 1.0, 'words/val': 8.0}
        >>> report.answers[0]["made_up"], report.positions["val"]
        (['cat'], [(1, 1), (1, 0)])
    """
    if not texts:
        raise DataError("no text was judged: the evaluation split is empty")
    if unknown := sorted(index for index in texts if not 0 <= index < len(items)):
        raise DataError(f"a text of item {unknown[0]} of {len(items)}: evaluate with the items that batches number")
    metrics: dict[str, float] = {}
    rules: dict[str, str] = {}
    lengths: dict[str, list[LengthRow]] = {}
    positions: dict[str, list[tuple[int, int]]] = {}
    answers: dict[int, MadeUp] = {}
    warnings = list(protocol.get("warnings", ()))
    tasks: dict[str, list[int]] = {}
    for index in sorted(texts):
        tasks.setdefault(items[index].task, []).append(index)
    for task, indices in tasks.items():
        kind = _kind(task, [items[index] for index in indices])
        written = {index: texts[index] for index in indices}
        if kind in QUESTIONS:
            found, notes = _questions(kind, items, written)
            rules[task] = "strict: the first yes or no, else denials; reference: as the benchmark's own script"
            answers |= {index: _answer(index, items[index], text, None) for index, text in written.items()}
        else:
            judge = partial(_finding, items, _words(task, kind, words or {}))
            findings = {index: judge(index, text) for index, text in written.items()}
            found, notes = _captions(kind, list(findings.values()))
            rules[task] = _words(task, kind, words or {}).rule
            lengths[task] = by_length(judge, written)
            positions[task] = _positions(findings.values())
            answers |= {index: _answer(index, items[index], texts[index], each) for index, each in findings.items()}
        if ended is not None and kind not in QUESTIONS:
            known = [ended[index] for index in indices if index in ended]
            found["ended"] = ratio(sum(known), len(known))
            if not all(known):
                notes.append(f"{known.count(False)} of {len(known)} captions reached the limit of their length")
        metrics |= {f"{name}/{task}": value for name, value in found.items() if not math.isnan(value)}
        warnings += [f"{task}: {note}" for note in notes]
    facts = {
        **protocol,
        "words": rules,
        "by_length": lengths,
        "items": {"judged": len(texts), "not_reached": len(items) - len(texts)},
        "warnings": warnings,
    }
    return HallucinationReport(
        metrics=metrics,
        protocol=facts,
        answers=tuple(answers[index] for index in sorted(answers)),
        positions=positions,
        items=tuple(items),
    )


def _kind(task: str, items: Sequence[HallucinationItem]) -> str:
    kinds = {item.kind for item in items}
    if len(kinds) > 1:
        raise DataError(f"task {task!r} has items of {' and '.join(sorted(kinds))}: give each kind a task of its own")
    return kinds.pop()


def _words(task: str, kind: str, words: Mapping[str, Words]) -> Words:
    """Vocabulary of a task of captions."""
    found = words.get(task)
    if kind == "amber":
        if not isinstance(found, AmberWords):
            raise DataError(f"task {task!r} needs AMBER's words: give the folder with relation.json and safe_words.txt")
        return found
    return found or CocoWords(refined=kind == "object_halbench")


def _finding(items: Sequence[HallucinationItem], words: Words, index: int, text: str) -> Finding:
    """Judge a text by the rules of its item."""
    item = items[index]
    if isinstance(words, AmberWords):
        return amber_finding(text, item.objects, item.hallucinated, words)
    judge = halbench_finding if item.kind == "object_halbench" else chair_finding
    return judge(text, item.objects, words)


def _captions(kind: str, findings: Sequence[Finding]) -> tuple[dict[str, float], list[str]]:
    """Numbers of one task of captions, and lines about them."""
    counts = caption_counts(findings)
    found = SCORES[kind](findings)
    found["recall"] = ratio(counts.covered, counts.objects)
    for name in ("words", "sentences"):
        found[name] = ratio(getattr(counts, name), counts.captions)
    found["objects"], found["captions"] = ratio(counts.named, counts.captions), float(counts.captions)
    without = counts.captions - counts.with_objects
    return found, [f"{without} of {counts.captions} captions name no object"] if without else []


def _questions(
    kind: str, items: Sequence[HallucinationItem], texts: Mapping[int, str]
) -> tuple[dict[str, float], list[str]]:
    """Numbers of one task of questions by both ways to read answers, and lines about them."""
    labels = {index: items[index].answer for index in texts}
    if wrong := [index for index, label in labels.items() if label not in ("yes", "no")]:
        raise DataError(f"question {items[wrong[0]].id!r} has the answer {labels[wrong[0]]!r}: give yes or no")
    invalid = sum(pope.strict_answer(text) == "invalid" for text in texts.values())
    notes = [f"{invalid} of {len(texts)} answers are neither yes nor no: they count as wrong"] if invalid else []
    if kind == "pope":
        strict, reference = (
            pope.pope_scores(labels, texts, parse) for parse in (pope.strict_answer, pope.reference_answer)
        )
        reference.pop("invalid")
        found = {f"pope_{name}": value for name, value in strict.items()}
        return found | {f"pope_{name}_reference": value for name, value in reference.items()}, notes
    found = {"amber_invalid": invalid / len(texts)}
    for end, parse in (("", pope.strict_answer), ("_reference", amber.reference_answer)):
        given = [AmberAnswer(items[index].type, labels[index], parse(text)) for index, text in texts.items()]
        for dimension, scores in question_percentages(given).items():
            found |= {f"amber_{dimension}_{name}{end}": value for name, value in scores.items()}
    return found, notes


def _positions(findings: Iterable[Finding]) -> list[tuple[int, int]]:
    """Factual and made-up objects by position of their sentence, over all captions."""
    found: list[tuple[int, int]] = []
    for finding in findings:
        for place, (factual, made_up) in enumerate(sentence_counts(finding)):
            if place == len(found):
                found.append((0, 0))
            found[place] = (found[place][0] + factual, found[place][1] + made_up)
    return found


def _answer(index: int, item: HallucinationItem, text: str, finding: Finding | None) -> MadeUp:
    """A judged text, a question's without objects."""
    named = () if finding is None else finding.named
    made_up = () if finding is None else finding.made_up
    covered = () if finding is None else finding.covered
    objects = item.objects if item.kind == "amber" else tuple(dict.fromkeys(item.objects))
    return {
        "index": index,
        "id": item.id,
        "task": item.task,
        "text": text,
        "named": list(named),
        "made_up": [name for name, wrong in zip(named, made_up, strict=True) if wrong],
        "missed": [name for name, found in zip(objects, covered, strict=False) if not found],
        "sentences": [] if finding is None else sentence_counts(finding),
    }
