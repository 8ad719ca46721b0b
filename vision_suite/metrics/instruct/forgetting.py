"""Forgetting: drops of task scores against the untouched model, and drift of its distribution without labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vision_suite.errors import DataError
from vision_suite.ops.divergence import blocks, divergence
from vision_suite.ops.logprobs import BUDGET
from vision_suite.types.instruct import TaskScore


class Forgetting(NamedTuple):
    """Scores lost against a reference; unit of the task scores.

    Attributes:
        mean_drop: Mean of reference minus score; a gain on one task hides a loss on another.
        hinge_drop: Mean of the drops, gains counted as 0.
        retention: Mean of score over reference.
        forgotten: Number of tasks with a drop.
        worst: Largest drop.
        tasks: Number of tasks.
    """

    mean_drop: float
    hinge_drop: float
    retention: float
    forgotten: int
    worst: float
    tasks: int


class Drift(NamedTuple):
    """Change of next-token distributions against a reference.

    Attributes:
        kl: (N,) KL divergence of the distributions from the reference's, in nats.
        agrees: (N,) bool, whether the likeliest token is the same.
    """

    kl: Tensor
    agrees: Tensor


def forgetting(reference: Mapping[str, float], scores: Mapping[str, float]) -> Forgetting:
    """Scores lost against a reference (Wings, Table 1: `reference` is the language model before it saw pictures).

    Read the mean and the hinge drop together: the mean alone calls a model better than its reference although half of
    its tasks fell.

    Args:
        reference: Score of the reference by task, higher is better.
        scores: Score by task; further tasks are left out.

    Raises:
        DataError: A task has no score, there is none, or a reference is not above 0.

    Example:
        >>> forgetting({"a": 0.5, "b": 0.8}, {"a": 0.6, "b": 0.6})
        Forgetting(mean_drop=0.05, hinge_drop=0.1, retention=0.975, forgotten=1, worst=0.2, tasks=2)
    """
    if missing := reference.keys() - scores.keys():
        raise DataError(f"no score of the task {min(missing)!r}: evaluate both models on the same tasks")
    if not reference or min(reference.values()) <= 0:
        raise DataError(f"{len(reference)} reference scores, all above 0 are needed: leave out tasks without a signal")
    before = np.array(list(reference.values()), dtype=np.float64)
    after = np.array([scores[name] for name in reference], dtype=np.float64)
    drop = before - after
    return Forgetting(
        mean_drop=_rounded(drop.mean()),
        hinge_drop=_rounded(np.maximum(drop, 0).mean()),
        retention=_rounded((after / before).mean()),
        forgotten=int((drop > 0).sum()),
        worst=_rounded(drop.max()),
        tasks=len(drop),
    )


def compared_tasks(
    reference: Iterable[TaskScore], scores: Iterable[TaskScore], names: Iterable[str] | None = None
) -> Forgetting:
    """Scores lost, over the tasks on which the reference beats chance.

    Whether a task counts is the reference's affair: a model that fell to chance has forgotten the task. Perplexities,
    which are better the lower they are, are left out.

    Args:
        reference: Scores of the reference.
        scores: Scores of the model.
        names: Names of the tasks to compare; None takes all.

    Raises:
        DataError: No task is left, or the model lacks a score.

    Example:
        >>> facts = TaskScore("facts", "choice", 500, 0.5, 0.022, 0.25, True)
        >>> at_chance = TaskScore("sums", "choice", 500, 0.26, 0.019, 0.25, False)
        >>> compared_tasks([facts, at_chance], [facts, at_chance]).tasks
        1
    """
    chosen = None if names is None else set(names)
    kept = {task.name: task.score for task in reference if task.counted and task.kind != "text"}
    kept = {name: score for name, score in kept.items() if chosen is None or name in chosen}
    if not kept:
        raise DataError("the reference is above chance on no task: use more questions, or easier ones")
    return forgetting(kept, {task.name: task.score for task in scores if task.kind != "text"})


def drift(reference: Tensor, logits: Tensor) -> Drift:
    """Drift of next-token distributions, in float32 or better; differentiable in ``logits``.

    Args:
        reference: (N, V) logits of the reference, floating point.
        logits: (N, V) logits.

    Raises:
        DataError: Shapes that differ.

    Example:
        >>> one, two = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 1.0986123]])  # 1/2, 1/2 against 1/4, 3/4
        >>> found = drift(one, two)
        >>> round(float(found.kl), 4), found.agrees.tolist()
        (0.1438, [False])
    """
    if reference.shape != logits.shape or reference.ndim != 2:
        raise DataError(f"logits {tuple(reference.shape)} and {tuple(logits.shape)}: give (N, V) twice")
    return Drift(divergence(reference, logits), reference.argmax(1) == logits.argmax(1))


def hidden_drift(reference: tuple[Tensor, Tensor], tuned: tuple[Tensor, Tensor], *, budget: int = BUDGET) -> Drift:
    """Drift from hidden states, the vocabulary never built for more positions at once than fit a budget.

    Args:
        reference: Hidden states (N, d) and output embeddings (V, d) of the reference.
        tuned: The same of the model.
        budget: Bytes that the logits of both may take.

    Example:
        >>> head = torch.eye(3)
        >>> states = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
        >>> hidden_drift((states, head), (states, head), budget=1).kl.tolist()
        [0.0, 0.0]
    """
    found = []
    with torch.no_grad():
        for part in blocks(len(reference[0]), len(reference[1]), budget):
            logits = [states[part] @ head.T for states, head in (reference, tuned)]
            found.append(drift(*logits))
    if not found:
        return Drift(reference[0].new_zeros(0), torch.zeros(0, dtype=torch.bool, device=reference[0].device))
    return Drift(torch.cat([each.kl for each in found]), torch.cat([each.agrees for each in found]))


def perplexity(nll: float, tokens: float) -> float:
    """Perplexity of ``tokens`` tokens whose negative log-likelihoods sum to ``nll``; infinity where it overflows.

    Example:
        >>> round(perplexity(10 * math.log(8.0), 10), 6)
        8.0
    """
    if tokens <= 0:
        raise DataError("a perplexity of 0 tokens: give text of at least two tokens")
    mean = nll / tokens
    return math.inf if mean >= 700 else math.exp(mean)


def _rounded(value: float) -> float:
    """A number without the last digits, in which sums of decimal fractions differ."""
    return float(np.round(value, 12))
