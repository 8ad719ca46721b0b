"""Valid files of every kind in working folders of their own, and the command that reads each."""

import json
import shutil
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import yaml
from command import TRAINER
from PIL import Image
from scanpath_fixture import amazon, table
from synthetic import draw, write_market
from synthetic_sets import write_cars
from synthetic_tad import Action, write_feature_set, write_video

from vision_suite.checkpoints.files import write
from vision_suite.datasets.emoji.build import digest_of_folder
from vision_suite.datasets.emoji.plan import load_plan
from vision_suite.datasets.prepare.archives import sha256_of
from vision_suite.datasets.scanpath.onestop_recipe import RECIPE as ONESTOP

SIZE = [32, 16]
TINY = {"depth": 1, "embed_dim": 24, "num_heads": 2, "patch_size": 8}
DCAL = {"backbone": "vit_tiny_patch16_224", "image_size": SIZE, "backbone_args": TINY, "drop_path": 0.0}
OAT = {
    "embed_dim": 32, "ff_dim": 48, "encoder_layers": 1, "decoder_layers": 1, "dropout": 0.0, "samples": 1,
    "resamples": 10, "appearance": "table", "position": "gauss_hermite",
}  # fmt: skip
CROPS = {"objects": "crops", "crop_size": [32, 32]}
OAT_OF_CROPS = {**OAT, "appearance": "cnn", "crop_size": [32, 32]}
PICTURES = {"image_size": SIZE, "batch_size": 4, "num_workers": 0, "cache": "memory"}
MARKET = {"root": "market", "dataset": "market_folder", "num_instances": 2, **PICTURES}
ROWS = {"num_cells": 8, "batch_size": 2, "cache": "memory", "num_workers": 0}
SCENES = {"batch_size": 4, "num_workers": 0}
FEATURES = (
    "features", "--videos", "videos", "--output", "out", "--backbone", "timm:resnet10t", "--weights", "random:0",
    "--fps", "4", "--clip", "2", "--stride", "2", "--quiet",
)  # fmt: skip


@dataclass(frozen=True)
class Seed:
    """A valid file and the command that reads it.

    Attributes:
        kind: Name of the kind.
        home: Working folder, below the place of all.
        file: The file that is mutated, relative to the working folder.
        argv: Command.
        text: Format of its structure: json, csv, yaml, or nothing for bytes only.
        names: Words by which a message may name the file or what it holds.
    """

    kind: str
    home: str
    file: str
    argv: tuple[str, ...]
    text: str = ""
    names: tuple[str, ...] = field(default=())

    def words(self) -> set[str]:
        """Words of which one must stand in a message about the file."""
        path = Path(self.file)
        return {path.name, path.stem, *self.names}


CHANGED = ("missing or changed", "files instead of", "a file was changed")
PICTURE = "0002_c1s1_000100_00"
TEST, VALIDATE = ("test", "-c", "run.yaml"), ("validate", "-c", "run.yaml")
ONE_MORE = ("--trainer.max_epochs", "2")
CHECKPOINT = (*TEST, "--ckpt_path", "mine.ckpt")
SEEDS = [
    Seed("jpeg", "jpeg", f"market/query/{PICTURE}.jpg", TEST),
    Seed("png", "png", f"market/query/{PICTURE}.png", TEST),
    Seed("tiff", "tiff", "pictures/a.tiff", TEST),
    Seed("mp4", "video", "videos/a.mp4", FEATURES),
    Seed("mkv", "video", "videos/b.mkv", FEATURES),
    Seed("annotations", "rows", "annotations.json", VALIDATE, "json"),
    Seed("times", "rows", "features/features.json", VALIDATE, "json"),
    Seed("scores", "scores", "scores.json", VALIDATE, "json"),
    Seed("collages", "collages", "Amazon.json", VALIDATE, "json"),
    Seed("scenes", "lines", "scenes.jsonl", VALIDATE, "json", ("scene",)),
    Seed("trials", "lines", "trials.jsonl", VALIDATE, "json", ("trial",)),
    Seed(
        "manifest", "prepared", "cache/onestop-mini/MANIFEST.json", ("data", "verify", "onestop-mini"), "json", CHANGED
    ),
    Seed("parts", "prepared", "cache/emoji-reid-64/MANIFEST.json", ("data", "verify", "emoji-reid"), "json", CHANGED),
    Seed("counts", "jpeg", "market/MANIFEST.json", TEST, "json", ("Market folders",)),
    Seed("list", "list", "list.csv", TEST, "csv"),
    Seed("fixations", "tables", "fixations.csv", VALIDATE, "csv", ("boxes.csv", "trial")),
    Seed("boxes", "tables", "boxes.csv", VALIDATE, "csv", ("scene", "fixations.csv", "trial")),
    Seed("yaml", "jpeg", "data.yaml", (*TEST, "--data", "data.yaml"), "yaml", ("--data",)),
    Seed("npy", "rows", "features/clip02.npy", VALIDATE),
    Seed("npz", "npz", "features/clip02.npz", VALIDATE),
    Seed("pt", "pt", "features/clip02.pt", VALIDATE),
    Seed("rows_csv", "rows_csv", "features/clip02.csv", VALIDATE),
    Seed("h5", "h5", "features.h5", VALIDATE, names=("clip",)),
    Seed("vectors", "lines", "s2.npy", VALIDATE),
    Seed("mat", "cars", "cars/devkit/cars_train_annos.mat", TEST, names=("cars",)),
    Seed("ckpt", "jpeg", "mine.ckpt", CHECKPOINT, "state"),
    Seed("resume", "jpeg", "mine.ckpt", ("fit", "-c", "run.yaml", "--ckpt_path", "mine.ckpt", *ONE_MORE), "state"),
    Seed("export", "cars", "mine.ckpt", ("export", "--ckpt_path", "mine.ckpt", "--format", "torch_export"), "state"),
    Seed("weights", "jpeg", "plain.pt", ("fit", "-c", "run.yaml", "--init_from", "plain.pt"), "state"),
    Seed("safetensors", "jpeg", "plain.safetensors", ("fit", "-c", "run.yaml", "--init_from", "plain.safetensors")),
]


def build(root: Path, homes: Collection[str] | None = None) -> None:
    """Write working folders below a root: some, or all of them."""
    makers = {
        "jpeg": _market, "png": _market, "tiff": _list, "list": _list, "video": _videos, "lines": _lines,
        "tables": _tables, "collages": _collages, "prepared": _prepared, "cars": _cars,
        **dict.fromkeys(("rows", "scores", "npz", "pt", "rows_csv", "h5"), _rows),
    }  # fmt: skip
    for home, make in makers.items():
        if homes is None or home in homes:
            (root / home).mkdir(parents=True)
            make(root / home)


def _market(folder: Path) -> None:
    suffix = {"jpeg": ".jpg", "png": ".png"}[folder.name]
    write_market(folder / "market", train_ids=2, test_ids=2, cameras=2, shots=1, suffix=suffix, manifest=True)
    _run(folder, "toy_method.LitToy", {"width": 6}, "ReIDData", MARKET)
    data = {"class_path": "vision_suite.datasets.reid.data.ReIDData", "init_args": MARKET}
    (folder / "data.yaml").write_text(yaml.safe_dump(data))


def _videos(folder: Path) -> None:
    for name in ("a.mp4", "b.mkv"):
        write_video(folder / "videos" / name, [Action("circle", 0, 1)], 3.0, fps=8)


def _cars(folder: Path) -> None:
    write_cars(folder / "cars")
    cars = {"root": "cars", "dataset": "stanford_cars", "check_counts": False, **PICTURES}
    _run(folder, "LitDCAL", {**DCAL, "task": "fgvc"}, "FGVCData", cars)


def _run(folder: Path, model: str, network: dict, data: str, given: dict) -> None:
    trainer = {**TRAINER, "max_epochs": 1}
    config = {
        "seed_everything": 3,
        "trainer": trainer,
        "model": {"class_path": model, "init_args": network},
        "data": {"class_path": data, "init_args": given},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(config))


def _list(folder: Path) -> None:
    """A manifest of pictures with plain names."""
    suffix = ".tiff" if folder.name == "tiff" else ".png"
    (folder / "pictures").mkdir()
    rows = ["path,id,camera,split"]
    splits = [("train", 1), ("train", 3), ("query", 2), ("query", 4), ("gallery", 2), ("gallery", 4)]
    for number, (split, identity) in enumerate([(s, i) for s, i in splits for _ in range(2)]):
        name = f"pictures/{chr(ord('a') + (number - 4) % 12)}{suffix}"
        draw(identity, number % 2, number, (32, 16)).save(folder / name)
        rows.append(f"{name},{identity},{1 + number % 2},{split}")
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    model = ("toy_method.LitToy", {}) if suffix == ".tiff" else ("LitDCAL", DCAL)
    _run(folder, *model, "ReIDData", {**MARKET, "dataset": "manifest", "root": "list.csv"})


def _rows(folder: Path) -> None:
    """A set of features in the format that the folder is called after."""
    import h5py

    home = folder.name
    write_feature_set(folder, videos=4, rows=24)
    more = {"features": ["features.h5"]} if home == "h5" else {}
    more |= {"class_scores": "scores.json"} if home == "scores" else {}
    _run(folder, "LitCSA", {"tiou": [0.3, 0.5]}, "TADData", {"root": ".", **ROWS, **more})
    scores = {"results": {f"clip{n:02d}": [0.25 + n / 10, 0.5] for n in range(4)}, "class": ["circle", "square"]}
    (folder / "scores.json").write_text(json.dumps(scores))
    if home == "h5":
        shutil.copy(folder / "features/features.json", folder / "features.json")
    for path in sorted((folder / "features").glob("*.npy")) if home not in ("rows", "scores") else ():
        values = np.load(path)
        if home == "npz":
            np.savez(path.with_suffix(".npz"), feats=values)
        elif home == "pt":
            torch.save(torch.from_numpy(values), path.with_suffix(".pt"))
        elif home == "rows_csv":
            header = ",".join(f"f{n}" for n in range(values.shape[1]))
            np.savetxt(path.with_suffix(".csv"), values, "%.6g", ",", header=header, comments="")
        else:
            with h5py.File(folder / "features.h5", "a") as file:
                file[path.stem] = values
        path.unlink()


def _lines(folder: Path) -> None:
    table(folder)
    _run(folder, "LitOAT", OAT, "ScanpathData", {"dataset": "table", "root": ".", "split": "official", **SCENES})


def _tables(folder: Path) -> None:
    """The scenes and trials of `_lines` as two tables."""
    table(folder, features=False, targets=False)
    boxes, fixations = ["image,x1,y1,x2,y2,label,width,height"], ["image,subject,x,y,duration,task,target,subset"]
    for line in (folder / "scenes.jsonl").read_text().splitlines():
        row = json.loads(line)
        for box, label in zip(row["boxes"], row["labels"], strict=True):
            boxes.append(",".join(map(str, [row["image"], *box, label, row["width"], row["height"]])))
    for line in (folder / "trials.jsonl").read_text().splitlines():
        row = json.loads(line)
        for x, y, seconds in row["fixations"]:
            facts = [row["image"], row["subject"], x, y, seconds, row["task"], row["target"], row["subset"]]
            fixations.append(",".join(map(str, facts)))
    for name, lines in (("boxes.csv", boxes), ("fixations.csv", fixations)):
        (folder / name).write_text("\n".join(lines) + "\n")
    for name in ("scenes.jsonl", "trials.jsonl"):
        (folder / name).unlink()
    given = {"dataset": "table", "root": ".", "split": "official", **CROPS, **SCENES}
    _run(folder, "LitOAT", OAT_OF_CROPS, "ScanpathData", given)


def _collages(folder: Path) -> None:
    amazon(folder, collages=5, subjects=2)
    _run(folder, "LitOAT", OAT_OF_CROPS, "ScanpathData", {"dataset": "amazon_covers", "root": ".", **CROPS, **SCENES})


def _prepared(folder: Path) -> None:
    """Two prepared sets of a few files, with true manifests."""
    cache = folder / "cache"
    mini = cache / "onestop-mini"
    mini.mkdir(parents=True)
    (mini / "scenes.jsonl").write_text('{"image": "a.png"}\n')
    np.save(mini / "a.npy", np.zeros(3))
    ONESTOP.seal(mini, {"counts": {"pages": 1}})
    emoji, plan = cache / "emoji-reid-64", load_plan()
    part = emoji / "a"
    (part / "query").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(part / "query/0001_c1.png")
    record = {"checksums": {"query": digest_of_folder(part / "query", {})}}
    (part / "MANIFEST.json").write_text(json.dumps(record, indent=1))
    (emoji / "names.csv").write_text("name\n")
    manifest = {
        "rule_version": plan.rule_version,
        "sources": plan.sources(),
        "identities": {"sha256": plan.expected.sha256},
        "tables": {"names.csv": sha256_of(emoji / "names.csv")},
        "parts": {"a": record},
    }
    (emoji / "MANIFEST.json").write_text(json.dumps(manifest, indent=1))


def train(root: Path, run) -> None:
    """Leave ``mine.ckpt`` and its weights alone in the folders whose commands read a checkpoint.

    Args:
        root: Root of the working folders.
        run: Function that runs a command line in a folder.
    """
    for home in ("jpeg", "cars"):
        done = run(["fit", "-c", "run.yaml"], root / home)
        assert done.end == "ok", str(done)
        (kept,) = (root / home / "runs").rglob("last.ckpt")
        contents = torch.load(kept, weights_only=True)
        # Far from those of the seed, which a command that took none would have.
        weights = {name: 1.5 * value for name, value in contents["state_dict"].items()}
        write({**contents, "state_dict": weights}, root / home / "mine.ckpt")
        torch.save(weights, root / home / "plain.pt")
        safetensors.torch.save_file(weights, root / home / "plain.safetensors")
        shutil.rmtree(root / home / "runs")


@dataclass(frozen=True)
class Written:
    """What a command wrote, without the parts that name its folder or the sizes of files.

    Attributes:
        figures: Metrics, detections, paths, features.
        notes: Counts and facts beside the metrics.
    """

    figures: dict[str, object]
    notes: dict[str, object]


def written(folder: Path) -> Written:
    """Read the files that a command wrote in its working folder."""
    figures: dict[str, object] = {}
    notes: dict[str, object] = {}
    for path in sorted([*folder.glob("runs/*/*/metrics.csv"), *folder.glob("runs/*/*/*/*.json")]):
        text = path.read_text().replace(str(folder), "").replace(folder.name, "")
        if path.name == "metrics.json":
            contents = json.loads(text)
            contents["data"].pop("fingerprint", None)
            figures[path.name] = contents.pop("metrics")
            notes |= contents
        else:
            figures[path.name] = text
    for path in sorted(folder.glob("out/*.npy")):
        figures[path.name] = np.load(path)
    for path in sorted(folder.glob("*.pt2")):
        figures[path.name] = path.stat().st_size > 0
    return Written(figures, notes)
