"""Small scanpath sets of every kind, and networks that read them."""

import json

import numpy as np
import pytorch_lightning as pl

from vision_suite.datasets.scanpath.data import ScanpathData
from vision_suite.lit_modules.oat import LitOAT
from vision_suite.optim import OptimConfig

SMALL = {
    "embed_dim": 32, "ff_dim": 48, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.0, "samples": 2,
    "resamples": 50,
}  # fmt: skip


def lit(**settings):
    """A network for the synthetic grid."""
    pl.seed_everything(0, verbose=False)
    grid = {"in_channels": 16, "num_positions": 4, "max_length": 8, "appearance": "table", "position": "cholesky"}
    optim = OptimConfig("adam", 1e-3, weight_decay=0.0, schedule="constant")
    return LitOAT(**{**grid, **SMALL, "optim": optim, **settings})


def table_lit(data, **settings):
    """A network for a set with vectors at free places."""
    facts = {name: getattr(data, name) for name in ("in_channels", "num_positions", "max_length")}
    return lit(**{**facts, "position": "gauss_hermite", **settings})


def trainer(folder, epochs=1, **more):
    """A silent trainer."""
    options = {"callbacks": [], "logger": False, "enable_checkpointing": False, **more}
    return pl.Trainer(
        accelerator="cpu", devices=1, max_epochs=epochs, default_root_dir=folder, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False, **options,
    )  # fmt: skip


def write(folder, scenes, trials):
    """A set in the suite's own JSON lines."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("scenes.jsonl", scenes), ("trials.jsonl", trials)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def scene(folder, number, count):
    """A row of objects, 80 pixels apart, with vectors of width 5."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(number)
    np.save(folder / f"s{number}.npy", rng.standard_normal((count, 5)).astype(np.float32))
    np.save(folder / f"t{number}.npy", rng.standard_normal(5).astype(np.float32))
    boxes = [[80 * n, 20, 80 * n + 50, 70] for n in range(count)]
    size = {"width": 80 * count, "height": 100}
    return {"image": f"s{number}.png", **size, "boxes": boxes, "features": f"s{number}.npy"}


def beside(folder, *, objects):
    """Paths from the left to the last object, which is the target."""
    scenes = [scene(folder, n, objects) for n in range(6)]
    trials = [
        {"image": row["image"], "subject": subject, "task": "last", "target": objects - 1,
         "fixations": [[80 * n + 25, 45] for n in range(objects)]}
        for row in scenes for subject in "ab"
    ]  # fmt: skip
    return ScanpathData("table", str(write(folder, scenes, trials)), batch_size=4, num_workers=0, seed=0)


def reading(folder, **settings):
    """Two readers of 6 lines of 8 words: refixations, seconds, a question, an answer of two words, no end."""
    rng = np.random.default_rng(3)
    scenes, trials = [{**scene(folder, n, 8), "fold": n % 3} for n in range(6)], []
    for number, row in enumerate(scenes):
        for reader in "ab":
            words = np.sort(rng.integers(0, 8, 9)).tolist()
            seen = [[80 * word + 25, 45, 0.1 + 0.3 * rng.random()] for word in words]
            facts = {"image": row["image"], "subject": reader, "task": "why?", "given": 1, "terminated": False}
            asked = {"target": [2, 3], "target_object": -1, "target_features": f"t{number}.npy"}
            trials.append({**facts, **asked, "objects": words, "fixations": seen})
    usual = {"validation_share": 0.2, "batch_size": 4, "num_workers": 0, "seed": 0}
    return ScanpathData("table", str(write(folder, scenes, trials)), **{**usual, **settings})


def searches(folder, *, ready=False):
    """Trials with the target, without it and without a task, some on the background; ``ready`` reads what is there."""
    settings = {"split": "official", "batch_size": 4, "num_workers": 0}
    if ready:
        return ScanpathData("table", str(folder), **settings)
    scenes, trials = [scene(folder, n, 4 + n % 2) for n in range(6)], []
    for number, row in enumerate(scenes):
        for place, condition in enumerate(("present", "absent", "free")):
            facts = {"image": row["image"], "subject": "ab"[number % 2], "condition": condition, "given": 1}
            if condition != "free":
                facts |= {"task": f"thing {place}", "target_features": f"t{number}.npy"}
            if condition == "present":
                facts["target"] = 2
            trials.append({**facts, "fixations": [[105, 45], [25, 45], [240, 99], [185, 45]][: 4 - place]})
    for trial in trials[::2]:
        trial["objects"] = [1, -2, 2, 2][: len(trial["fixations"])]
    for place, trial in enumerate(trials):
        trial["subset"] = ("train", "train", "train", "valid", "test", "test")[place // 3]
    return ScanpathData("table", str(write(folder, scenes, trials)), **settings)


def covers(folder):
    """The annotations of 10 collages of 6 x 14 covers, without pictures."""
    entries = {}
    for number in range(1, 11):
        box = {"xmin": 11, "ymin": 1, "xmax": 19, "ymax": 9}
        paths = {str(person): [[5, 5], [15, 5]] for person in (1, 2)}
        size = {"width": 140, "height": 60}
        entries[f"{number}.jpg"] = {"fixations": paths, "ground_truth": [box], "size": size, "target": "target_0.jpg"}
    (folder / "Amazon.json").write_text(json.dumps(entries))
    return folder
