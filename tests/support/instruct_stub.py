"""Questions about coloured squares, and a module that needs no language model to answer them."""

import json
from pathlib import Path

import pytorch_lightning as pl
import torch
from PIL import Image
from torch import nn

from vision_suite.datasets.conversations.sources import SourceSettings
from vision_suite.datasets.instruct.data import InstructData
from vision_suite.lit_modules.base import LitBase
from vision_suite.optim import OptimConfig

COLOURS = {"red": (220, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 220), "white": (240, 240, 240)}
ASKED = "which colour is this ?"
TEXT = "one two three four five"


def write_questions(folder, count=12):
    """Rows to train on, and questions with a free answer, with choices, and plain text; returns the folder."""
    folder = Path(folder)
    (folder / "images").mkdir(parents=True)
    names = list(COLOURS)
    train, lines = [], []
    for number in range(count):
        colour = names[number % 4]
        image = f"images/{number}.png"
        Image.new("RGB", (48, 32), COLOURS[colour]).save(folder / image)
        turns = [{"from": "human", "value": f"<image>\n{ASKED}"}, {"from": "gpt", "value": colour}]
        train.append({"id": f"p{number}", "image": image, "conversations": turns})
        turn = {"kind": "V", "source": "colours", "question": ASKED, "answer": colour, "images": [image]}
        if number % 3 == 1:
            turn |= {"source": "choices", "choices": names, "answer": "ABCD"[number % 4]}
        lines.append({"id": f"v{number}", "config": "", "turns": [turn]})
    lines += [{"id": f"x{number}", "text": TEXT, "source": "text"} for number in range(2)]
    (folder / "train.json").write_text(json.dumps(train))
    (folder / "questions.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    (folder / "words.txt").write_text(
        f"{ASKED} A B C D . answer with the letter of the right choice {' '.join(names)} {TEXT} user assistant system"
    )
    return folder


def questions(folder, **settings):
    """The datamodule."""
    asked = {"asked": SourceSettings(str(folder / "questions.jsonl"))}
    return InstructData(
        **{
            "sources": {"train": SourceSettings(str(folder / "train.json"))}, "validate_on": asked, "test_on": asked,
            "tokenizer": str(folder / "words.txt"), "image_tokens": 2, "image_size": (8, 8), "system": "",
            "max_length": 64, "batch_size": 4, "eval_batch_size": 4, "num_workers": 0, "seed": 0, **settings,
        }
    )  # fmt: skip


class TinyText(nn.Module):
    """A language model of single words: the next one depends on the last."""

    def __init__(self, vocabulary, width=6):
        super().__init__()
        self.words, self.head = nn.Embedding(vocabulary, width), nn.Linear(width, vocabulary, bias=False)

    @property
    def head_weight(self):
        return self.head.weight

    def hidden(self, batch):
        return self.words(batch["input_ids"])


class Copied:
    """The model before training."""

    def __init__(self, model):
        self.model = TinyText(*model.words.weight.shape)
        self.model.load_state_dict(model.state_dict())

    def states(self, batch):
        return self.model.hidden(batch), self.model.head_weight.detach()


class LitTinyText(LitBase):
    """Trains it on the supervised ids, and knows what it was."""

    def __init__(self, data, *, lr=0.1, schedule="constant"):
        super().__init__(OptimConfig(lr=lr, schedule=schedule, weight_decay=0.0))
        torch.manual_seed(0)
        self.model = TinyText(data.vocabulary_size)
        self.untouched = Copied(self.model)
        self.drop = nn.Dropout(0.1)

    def training_step(self, batch, batch_idx):
        states = self.drop(self.model.hidden(batch))[:, :-1]
        return nn.functional.cross_entropy(self.model.head(states).flatten(0, 1), batch["labels"][:, 1:].flatten())


def trainer(folder, *callbacks, **settings):
    """Quiet, on the CPU, without loggers."""
    return pl.Trainer(
        **{
            "accelerator": "cpu", "devices": 1, "logger": False, "default_root_dir": folder, "max_epochs": 1,
            "enable_progress_bar": False, "enable_checkpointing": False, "enable_model_summary": False,
            "callbacks": list(callbacks), "num_sanity_val_steps": 0, "limit_val_batches": 0, **settings,
        }
    )  # fmt: skip
