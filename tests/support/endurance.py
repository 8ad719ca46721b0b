"""Training runs that are killed at random moments and go on, for the long tests."""

import csv
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import torch
import yaml
from children import PRELOAD
from synthetic import write_market
from synthetic_tad import write_feature_set

TRAINER = {
    "accelerator": "cpu",
    "max_epochs": 6,
    "log_every_n_steps": 1,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
SMALL = {"depth": 2, "embed_dim": 48, "num_heads": 3}
METHODS = {
    "dcal": {
        "trainer": {**TRAINER, "max_epochs": 24, "callbacks": [{"class_path": "EMA"}]},
        "model": {
            "class_path": "LitDCAL",
            "init_args": {
                "backbone": "vit_micro_conv8_64", "image_size": [32, 32], "backbone_args": SMALL, "drop_path": 0.2,
            },
        },
        "data": {
            "class_path": "ReIDData",
            "init_args": {
                "root": "market", "image_size": [32, 32], "batch_size": 8, "num_instances": 2, "cache": "memory",
                "validation": "holdout",
            },
        },
    },
    "csa": {
        "trainer": {**TRAINER, "max_epochs": 12},
        "model": {"class_path": "LitCSA", "init_args": {"tiou": [0.3, 0.5, 0.7]}},
        "data": {
            "class_path": "TADData",
            "init_args": {"root": "videos", "num_cells": 24, "batch_size": 2, "cache": "memory"},
        },
    },
}  # fmt: skip


def prepare(folder: Path, method: str) -> None:
    """Write the data and the configuration ``method.yaml`` of a small training of a method."""
    if method == "dcal":
        write_market(folder / "market", train_ids=16, test_ids=2, cameras=2, shots=3, size=(32, 32))
    else:
        write_feature_set(folder / "videos", videos=24)
    (folder / "method.yaml").write_text(yaml.safe_dump({"seed_everything": 3, **METHODS[method]}))


def _train(folder: str, argv: list[str], log: str) -> None:
    os.setsid()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.chdir(folder)
    from vision_suite.cli import main

    raise SystemExit(main(argv))


def train(folder: Path, argv: list[str], kill_after: float | None = None) -> tuple[int, float]:
    """Run a command in a process of its own, which is killed after some seconds; its exit code and duration."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    child = context.Process(target=_train, args=(str(folder), argv, str(folder / "log.txt")))
    start = time.monotonic()
    child.start()
    child.join(kill_after)
    if child.is_alive():
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            os.kill(child.pid, signal.SIGKILL)
        child.join()
    return child.exitcode, time.monotonic() - start


def result(run: Path) -> dict[str, object]:
    """Everything that a finished run must have in common with an uninterrupted one."""
    contents = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    names = ("state_dict", "optimizer_states", "lr_schedulers", "ema", "epoch", "global_step")
    return {**{name: contents.get(name) for name in names}, "metrics": metrics(run)}


def metrics(run: Path) -> dict[tuple[str, str], str]:
    """Every logged value by step and name, as written; a later part of the run wins."""
    parts = [*sorted(run.glob("metrics-*.csv"), key=lambda path: (len(path.name), path.name)), run / "metrics.csv"]
    found = {}
    for path in parts:
        with path.open(newline="") as lines:
            for row in csv.DictReader(lines):
                found |= {
                    (row["step"], name): text for name, text in row.items() if text and name not in ("step", "epoch")
                }
    return found


def equal(first: object, second: object) -> bool:
    """True for nested containers with the same values, tensors bit for bit."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        return (
            isinstance(second, dict)
            and first.keys() == second.keys()
            and all(equal(first[k], second[k]) for k in first)
        )
    if isinstance(first, list | tuple):
        return isinstance(second, list | tuple) and len(first) == len(second) and all(map(equal, first, second))
    return first == second


def moments(count: int, seconds: float, seed: int) -> list[float]:
    """So many random moments within a duration."""
    draw = random.Random(seed)
    return [draw.uniform(0, seconds) for _ in range(count)]
