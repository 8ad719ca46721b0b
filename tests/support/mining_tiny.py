"""A model, an extractor and detectors of a few lines for mining, and a child process that mines and kills itself."""

import hashlib
import os
import random
import signal
import sys
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from vision_suite.mining.decide import Threshold, rules_of
from vision_suite.mining.run import begin, bootstrap
from vision_suite.mining.step import MiningImage, MiningStep
from vision_suite.mining.store import Store

NAMES = ("cat", "dog", "bus", "cup", "fork", "owl")


class Sentence(NamedTuple):
    """A sentence as a sampler gives it."""

    text: str
    ids: tuple[int, ...] = ()
    logp: float = -1.0
    ended: bool = False


class TinySampler:
    """Sentences that depend on the seed and on the context alone; ends the more likely, the longer the context."""

    def __call__(self, image, question, context, *, count, seed, greedy=False):
        draw = random.Random(f"{seed}{context}{greedy}")
        return [self._sentence(draw, context) for _ in range(count)]

    def _sentence(self, draw, context):
        length = context.count(".")
        if draw.random() < 0.15 * length:
            return Sentence("", (), -0.5, True)
        names = draw.sample(NAMES, draw.choice([1, 2]))
        text = " and ".join(f"a {name}" for name in names) if draw.random() < 0.9 else "nothing more"
        return Sentence(f"There is {text}.", tuple(range(2 + len(names))), -draw.random(), draw.random() < 0.1 * length)


class WordExtractor:
    """The names that a sentence holds."""

    def names(self, sentence, context=""):
        return [word.strip(".") for word in sentence.split() if word.strip(".") in NAMES]


class HashDetector:
    """Scores that depend on the picture and the name; one name is unknown."""

    def __init__(self, seed, unknown=()):
        self.seed, self.unknown, self.calls = seed, unknown, 0

    def score(self, images, queries):
        self.calls += 1
        return [
            {name: self._score(image, name) for name in asked} for image, asked in zip(images, queries, strict=True)
        ]

    def _score(self, image, name):
        if name in self.unknown:
            return float("nan")
        shared = hashlib.sha256(image.tobytes() + name.encode()).digest()
        own = hashlib.sha256(image.tobytes() + name.encode() + bytes([self.seed])).digest()
        return (0.8 * shared[0] + 0.2 * own[0]) / 255


def tiny_step(sampler=None, **rules):
    """A step with two detectors that often agree."""
    thresholds = {"a": Threshold(0.5, 0.5), "b": Threshold(0.4, 0.6, {"cup": (0.3, 0.3)})}
    detectors = {"a": HashDetector(1), "b": HashDetector(2, ("owl",))}
    return MiningStep(sampler or TinySampler(), WordExtractor(), detectors, thresholds, rules_of(rules), 6, 3)


def tiny_items(count=20):
    """Pictures of one colour each, by their colour."""
    return [MiningImage(f"p{number}", str(number % 17), "What is there?") for number in range(count)]


def read_tiny(path):
    """The picture of a colour."""
    return Image.new("RGB", (4, 3), (15 * int(path), 0, 0)), f"sha-{path}"


def mine_tiny(path, step=None, items=None):
    """Mine the tiny pictures into a file."""
    step, items = step or tiny_step(), items or tiny_items()
    with Store(Path(path)) as store:
        begin(store, "tiny", step, items, {"sampler": "tiny"}, {"a": {"seed": 1}, "b": {"seed": 2}})
        bootstrap(store, "tiny", step, items, read_tiny, lambda *done: None)


def dump(path):
    """Every row of every table of a file."""
    with Store(Path(path), new=False) as store:
        tables = [name for (name,) in store.rows("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        return {table: store.rows(f"SELECT * FROM {table}") for table in tables}


class Killer(TinySampler):
    """Sampler that kills its process with SIGKILL in a certain call."""

    def __init__(self, calls):
        self.left = calls

    def __call__(self, *args, **settings):
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1
        return super().__call__(*args, **settings)


def kill_in_transaction(writes):
    """Kill the process amid the transaction of a certain step, after its candidates are written."""
    write, left = Store._write_pairs, [writes]

    def writing(store, *args):
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        write(store, *args)

    Store._write_pairs = writing


if __name__ == "__main__":
    file, place, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if place == "transaction":
        kill_in_transaction(number)
    mine_tiny(file, tiny_step(Killer(number)) if place == "sampler" else None)
