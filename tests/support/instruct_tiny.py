"""Conversations about coloured squares, and a LitWings that learns them in seconds."""

import json
from pathlib import Path

import pytorch_lightning as pl
import torch
from lit_training import QUIET
from PIL import Image
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader

from vision_suite.datasets.conversations.sources import SourceSettings
from vision_suite.datasets.instruct.data import InstructData
from vision_suite.datasets.loading import BatchKey
from vision_suite.layers.decoders import DecoderShape, new_decoder
from vision_suite.lit_modules.instruct_evaluation import AnswerConfig
from vision_suite.lit_modules.wings import LitWings
from vision_suite.models.mllm import TowerConfig
from vision_suite.models.wings.build import DecoderConfig
from vision_suite.models.wings.config import WingsConfig
from vision_suite.optim import OptimConfig
from vision_suite.text.tokenizers import word_tokenizer

COLOURS = {"red": (220, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 220), "white": (250, 250, 250)}
SUMS = {"one": "two", "two": "three", "three": "four", "four": "five"}
ASKED = "which colour is this ?"
SHAPE = DecoderShape(width=32, depth=2, heads=2, positions=128)
TOWER = TowerConfig(kind="conv", image_size=(64, 64))
WINGS = WingsConfig(rank=4, s_max=128)


def write_squares(folder):
    """Rows to train on with and without pictures, questions of three kinds, and the words of all of them."""
    folder = Path(folder)
    (folder / "images").mkdir(parents=True)
    train, questions = [], []
    for number, (colour, rgb) in enumerate(list(COLOURS.items()) * 2):
        name = f"images/{number}.png"
        Image.new("RGB", (64, 64), tuple(value - number if value > 100 else value + number for value in rgb)).save(
            folder / name
        )
        turns = [{"from": "human", "value": f"<image>\n{ASKED}"}, {"from": "gpt", "value": colour}]
        train.append({"id": f"p{number}", "image": name, "conversations": turns})
        turn = {"kind": "V", "source": "colours", "question": ASKED, "answer": colour, "images": [name]}
        questions.append({"id": f"v{number}", "config": "", "turns": [turn]})
    for number, (one, two) in enumerate(SUMS.items()):
        turns = [{"from": "human", "value": f"what follows {one} ?"}, {"from": "gpt", "value": two}]
        train.append({"id": f"t{number}", "conversations": turns})
        choices = [two, "seven"] if number % 2 else ["seven", two]
        turn = {"kind": "T", "source": "next", "question": f"what follows {one} ?", "choices": choices,
                "answer": "AB"[choices.index(two)], "images": []}  # fmt: skip
        questions.append({"id": f"c{number}", "config": "", "turns": [turn]})
    questions.append({"id": "x", "text": "one two three four five", "source": "text"})
    (folder / "train.json").write_text(json.dumps(train))
    for name in ("questions_val.jsonl", "questions_test.jsonl"):
        (folder / name).write_text("\n".join(json.dumps(each) for each in questions))
    words = [ASKED, "what follows seven five A B . answer with the letter of the right choice user assistant system"]
    (folder / "words.txt").write_text("\n".join([*words, *COLOURS, *SUMS]))
    return folder


def squares(folder, **settings):
    """The conversations in batches of 4."""
    folder = Path(folder)
    return InstructData(
        **{
            "root": str(folder), "tokenizer": str(folder / "words.txt"), "image_tokens": 5, "image_size": (64, 64),
            "system": "", "max_length": 64, "batch_size": 4, "eval_batch_size": 5,
            "cache": "memory", "seed": 3, **settings,
        }
    )  # fmt: skip


def module(data, **settings):
    """Seeded, so that every process starts from the same weights."""
    torch.manual_seed(0)
    return LitWings(
        data.vocabulary_size, data.image_tokens,
        **{
            "decoder": DecoderConfig(shape=SHAPE), "tower": TOWER, "wings": WINGS,
            "optim": OptimConfig(lr=3e-3, weight_decay=0.0, warmup=1),
            "answers": AnswerConfig(max_new_tokens=4), **settings,
        },
    )  # fmt: skip


def trainer(folder, *, callbacks=(), **settings):
    """Quiet, on the CPU, logging every step to CSV."""
    return pl.Trainer(
        default_root_dir=str(folder), logger=CSVLogger(str(folder), name="log"), log_every_n_steps=1,
        callbacks=list(callbacks), **{**QUIET, "num_sanity_val_steps": 0, "limit_val_batches": 0, **settings},
    )  # fmt: skip


def every(folder, steps):
    """Keeps a checkpoint every few steps."""
    return ModelCheckpoint(folder, "{step}", every_n_train_steps=steps, save_top_k=-1)


def source(path, **settings):
    """Settings of one source."""
    return SourceSettings(str(path), **settings)


def planned(data, groups, rank, world):
    """Batches of these rows for a process: each step is one group for each process, its targets those of all groups."""
    data.setup("fit")
    made = data._batches("fit", 0)
    batches = [made[BatchKey(list(rows), 0, number)] for number, rows in enumerate(groups)]
    for first in range(0, len(groups), world):
        step = batches[first : first + world]
        targets = sum((batch["labels"] != -100).sum() for batch in step)
        for batch in step:
            batch["step_targets"] = targets
    return DataLoader(batches[rank::world], batch_size=None)


def write_chains(folder):
    """Chains of questions beside the set of `write_squares`: text after text, a picture after text, and one alone."""
    folder = Path(folder)
    sums = list(SUMS.items())

    def text(number):
        one, two = sums[number % len(sums)]
        return {"kind": "T", "source": "next", "question": f"what follows {one} ?", "choices": [two, "seven"],
                "answer": "A", "images": []}  # fmt: skip

    def picture(number):
        name = f"images/{number}.png"
        return {"kind": "V", "source": "colours", "question": ASKED, "choices": list(COLOURS),
                "answer": "ABCD"[number % len(COLOURS)], "images": [name]}  # fmt: skip

    turns = [[text(0)], [text(0), text(1)], [text(2), picture(1)], [picture(2), picture(3), text(3)], [picture(0)]]
    lines = [
        {"id": f"iit-{number:06d}", "config": "".join(turn["kind"] for turn in each), "turns": each}
        for number, each in enumerate(turns)
    ]
    (folder / "chains.jsonl").write_text("\n".join(json.dumps(each) for each in lines))
    words = folder / "words.txt"
    words.write_text(words.read_text() + "\nC D")
    return folder


def write_decoder(squares, folder):
    """Write a language model in transformers' layout, with the tokenizer of the squares' words."""
    tokenizer = word_tokenizer((squares / "words.txt").read_text().splitlines())
    tokenizer.save_pretrained(folder)
    torch.manual_seed(7)
    decoder = new_decoder(SHAPE, len(tokenizer))
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    decoder.save_pretrained(folder)
    return folder
