"""Likelihoods of given answers, and answers that are written, for a batch of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from vision_suite.models.mllm.network import Mllm
from vision_suite.models.mllm.prefix import Prefix
from vision_suite.ops.logprobs import sequence_logps
from vision_suite.types.instruct import IGNORED, InstructBatch


def continued(batch: InstructBatch, answers: Sequence[Sequence[int]], pad_id: int) -> InstructBatch:
    """Put an answer behind each prompt; labels are the answers' ids.

    Args:
        batch: Prompts, padded on the right.
        answers: Ids of each row's answer.
        pad_id: Id of padding.
    """
    ids = batch["input_ids"]
    start = batch["attention_mask"].sum(1)
    lengths = torch.tensor([len(answer) for answer in answers], device=ids.device)
    width = max(int((start + lengths).max()), 1)
    places = torch.arange(width, device=ids.device).expand(len(ids), -1)
    taken = min(width, ids.shape[1])
    kept = places < (start + lengths)[:, None]
    new = ids.new_full((len(ids), width), pad_id)
    new[:, :taken] = ids[:, :taken]
    new = torch.where(kept, new, pad_id)
    labels = torch.full_like(new, IGNORED)
    image_of_token = torch.full_like(new, -1)
    if "image_of_token" in batch:
        image_of_token[:, :taken] = batch["image_of_token"][:, :taken]
    for row, answer in enumerate(answers):
        span = slice(int(start[row]), int(start[row]) + len(answer))
        new[row, span] = labels[row, span] = torch.tensor(answer, dtype=new.dtype, device=new.device)
    whole = {
        **batch,
        "input_ids": new,
        "attention_mask": kept,
        "position_ids": torch.where(kept, places, 0),
        "image_of_token": torch.where(kept, image_of_token, -1),
        "labels": labels,
    }
    return cast("InstructBatch", whole)


def with_features(model: Mllm, batch: InstructBatch) -> InstructBatch:
    """The batch with its pictures' tower tokens, so that several passes encode them once."""
    if model.tower is None or "features" in batch or not len(batch.get("image", ())):
        return batch
    features = {**batch, "features": model.tower_features(batch["image"])}
    del features["image"]
    return cast("InstructBatch", features)


def choice_logps(model: Mllm, batch: InstructBatch, choices: Sequence[Sequence[Sequence[int]]]) -> Tensor:
    """Log-probability of each choice of each prompt: (B, K) float64, minus infinity beyond a row's choices.

    Each prompt is read once, and its choices side by side behind it.

    Args:
        model: Network.
        batch: Prompts.
        choices: Ids of each choice of each row.
    """
    most, longest = max(map(len, choices)), max(len(choice) for each in choices for choice in each)
    device = batch["input_ids"].device
    labels = torch.full((len(choices), most, longest), IGNORED)
    for row, each in enumerate(choices):
        for number, choice in enumerate(each):
            labels[row, number, : len(choice)] = torch.tensor(choice)
    labels = labels.to(device)
    there = (labels != IGNORED).any(2)
    if longest == 1:  # such as letters: nothing follows the prompts
        states = Prefix(model, batch).last.repeat_interleave(most, 0)[:, None]
    else:
        prefix = Prefix(model, batch, most)
        before = labels.flatten(0, 1)[:, :-1]  # the last id of a choice predicts nothing
        states = torch.cat([prefix.last[:, None], prefix.follow(before.clamp_min(0), before != IGNORED)], 1)
    sums = sequence_logps(states, model.head_weight, labels.flatten(0, 1), shift=False)
    return sums.double().view(len(choices), most).masked_fill(~there, -torch.inf)


def answer_logps(model: Mllm, batch: InstructBatch, hidden: Tensor) -> Tensor:
    """Log-probability (B,) of each row's supervised ids."""
    return sequence_logps(hidden, model.head_weight, batch["labels"])


def written_answers(model: Mllm, batch: InstructBatch, end_ids: Sequence[int], pad_id: int, **settings: Any) -> Tensor:
    """Answers (B, T) int64 that the model writes, each with the id that ends it, -1 behind it.

    Args:
        model: Network.
        batch: Prompts.
        end_ids: Ids that end an answer.
        pad_id: Id of padding.
        settings: Further arguments of transformers' ``generate``.
    """
    ids = model.generate(batch, eos_token_id=list(end_ids), pad_token_id=pad_id, **settings)
    ended = torch.isin(ids, torch.tensor(list(end_ids), device=ids.device)).long()
    return ids.masked_fill(ended.cumsum(1) - ended > 0, -1)
