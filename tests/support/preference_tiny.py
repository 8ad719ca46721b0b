"""Pairs of sentences about coloured squares, and a LitSentinel that learns them in seconds."""

import instruct_tiny
import torch
from torch.utils.data import DataLoader

from vision_suite.lit_modules.captions import CaptionConfig
from vision_suite.lit_modules.sentinel import LitSentinel
from vision_suite.models.wings.build import DecoderConfig
from vision_suite.optim import OptimConfig

COLOURS = list(instruct_tiny.COLOURS)


def module(data, **settings):
    """Seeded, so that every process starts from the same weights."""
    torch.manual_seed(0)
    net = LitSentinel(
        data.vocabulary_size, data.image_tokens,
        **{
            "decoder": DecoderConfig(shape=instruct_tiny.SHAPE), "tower": instruct_tiny.TOWER,
            "optim": OptimConfig(lr=3e-3, weight_decay=0.0, schedule="constant"), "recover_memory": False,
            "captions": CaptionConfig(max_new_tokens=6), **settings,
        },
    )  # fmt: skip
    net.model.image_token_id = data.chat.image_token_id
    return net


def batch(data, rows, *, context="which colour is", ends=True):
    """Pairs of the squares with these numbers: the right colour is preferred to the next one, which is longer."""
    data.setup("test")
    found = []
    for number in rows:
        row = data.rows("test")[number]
        right = row.reference
        wrong = COLOURS[(COLOURS.index(right) + 1) % len(COLOURS)]
        prompt = data.chat.prompt(row.messages, context=context)
        answers = [
            data.chat.answer(text, context=context, end_of_turn=ends) for text in (right, f"{wrong} this is {wrong}")
        ]
        found.append((prompt, answers, row))
    return collated(data, found)


def collated(data, found):
    """Padded batch of prompts and their two continuations."""
    width = max(len(prompt.ids) for prompt, _, _ in found)
    long = max(len(answer) for _, answers, _ in found for answer in answers)
    ids = torch.full((len(found), width), data.chat.pad_id)
    kept = torch.zeros(len(found), width, dtype=torch.bool)
    of_token = torch.full((len(found), width), -1)
    branch_ids = torch.full((len(found), 2, long), data.chat.pad_id)
    branch_mask = torch.zeros(len(found), 2, long, dtype=torch.bool)
    for number, (prompt, answers, _) in enumerate(found):
        length = len(prompt.ids)
        ids[number, :length] = torch.tensor(prompt.ids)
        kept[number, :length] = True
        places = torch.tensor(prompt.image_of_token)
        of_token[number, :length] = torch.where(places >= 0, places + number, -1)
        for side, answer in enumerate(answers):
            branch_ids[number, side, : len(answer)] = torch.tensor(answer)
            branch_mask[number, side, : len(answer)] = True
    pictures = data._stages["test"].pictures([ref for _, _, row in found for ref in row.images])
    return {
        "input_ids": ids, "attention_mask": kept, "image_of_token": of_token,
        "position_ids": torch.where(kept, torch.arange(width), 0), "branch_ids": branch_ids,
        "branch_mask": branch_mask, **pictures,
    }  # fmt: skip


def loader(batches):
    """Loader of these batches, in order."""
    return DataLoader(batches, batch_size=None)
