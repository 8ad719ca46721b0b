"""Chains of questions with the model's own answers in the earlier turns, in the place of the right ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from vision_suite.metrics.instruct.iit import earlier_prompts, with_history
from vision_suite.models.mllm import Mllm
from vision_suite.models.mllm.scoring import written_answers
from vision_suite.types.instruct import IGNORED, Chat, InstructBatch, Message, Row


def with_own_history(
    model: Mllm, chat: Chat, batch: InstructBatch, rows: Sequence[Row], generation: dict[str, Any]
) -> InstructBatch:
    """The prompts of a batch, the earlier questions of each answered by the model, one after the other.

    An answer to an earlier question is written, whatever way the last one is scored: its row holds no choices of it.

    Args:
        model: Network.
        chat: Format of the conversations.
        batch: Prompts with the right answers in them, padded on the right; pictures as ``features``.
        rows: Row of each prompt.
        generation: Further arguments of `vision_suite.models.mllm.scoring.written_answers`.
    """
    lengths = batch["attention_mask"].sum(1).tolist()
    # A prompt that was too long has lost its oldest turns.
    fitted = [chat.fit(row.messages, length) for row, length in zip(rows, lengths, strict=True)]
    turns = [tuple(row.messages if found is None else found[0]) for row, found in zip(rows, fitted, strict=True)]
    asked = [earlier_prompts(replace(row, messages=each)) for row, each in zip(rows, turns, strict=True)]
    answers: list[list[str]] = [[] for _ in rows]
    for number in range(max(map(len, asked), default=0)):
        places = [place for place, prompts in enumerate(asked) if number < len(prompts)]
        prompts = [with_history(asked[place][number], answers[place]) for place in places]
        part = prompted(batch, places, prompts, chat)
        for place, ids in zip(places, written_answers(model, part, **generation).tolist(), strict=True):
            answers[place].append(chat.spoken([each for each in ids if each >= 0]))
    told = [with_history(each, answers[place]) for place, each in enumerate(turns)]
    return prompted(batch, range(len(rows)), told, chat)


def prompted(
    batch: InstructBatch, places: Sequence[int], prompts: Sequence[Sequence[Message]], chat: Chat
) -> InstructBatch:
    """Other prompts about the pictures of some rows of a batch, padded on the right.

    Args:
        batch: Prompts.
        places: Rows of the batch.
        prompts: Turns of each, with the pictures of its row or the first ones of them.
        chat: Format of the conversations.
    """
    encoded = [chat.prompt(each) for each in prompts]
    device, shape = batch["input_ids"].device, (len(encoded), max(len(each.ids) for each in encoded))
    ids = torch.full(shape, chat.pad_id, dtype=torch.int64)
    kept = torch.zeros(shape, dtype=torch.bool)
    image_of_token = torch.full(shape, -1, dtype=torch.int64)
    pictures: list[int] = []
    for row, (place, each) in enumerate(zip(places, encoded, strict=True)):
        length = len(each.ids)
        ids[row, :length], kept[row, :length] = torch.tensor(each.ids), True
        own = batch["image_of_token"][place]
        first = int(own[own >= 0].min()) if bool((own >= 0).any()) else 0
        numbers = torch.tensor(each.image_of_token)
        for order, number in enumerate(dict.fromkeys(numbers[numbers >= 0].tolist())):
            image_of_token[row, :length][numbers == number] = len(pictures)
            pictures.append(first + order)
    chosen = torch.tensor(list(places), dtype=torch.int64)
    entries = cast("dict[str, Tensor]", batch)
    made = {
        "input_ids": ids,
        "attention_mask": kept,
        "position_ids": torch.where(kept, torch.arange(shape[1]), 0),
        "image_of_token": image_of_token,
        "labels": torch.full(shape, IGNORED, dtype=torch.int64),
    }
    part = {name: value.to(device) for name, value in made.items()}
    part |= {name: entries[name][chosen.to(entries[name].device)] for name in ("index", "source") if name in entries}
    part |= {name: entries[name][pictures] for name in ("image", "features") if name in entries}
    return cast("InstructBatch", part)
