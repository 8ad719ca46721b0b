"""Folders of runs as the trainer commands leave them, written in no time."""

import json
import math

import yaml
from PIL import Image

from vision_suite.runs.record import RunFile

STARTED = "2026-05-01T10:00:00+00:00"
ENDED = "2026-05-01T10:03:12+00:00"
NASTY = "<script>document.title='pwned'</script>\"'><img src=x onerror=alert(1)>{{ 7 * 7 }}"
LONG = NASTY + "x" * (300 - len(NASTY))


def record(command="fit", **entries):
    """A record of a run that came to its end."""
    return {
        "command": command,
        "command_line": ["vision-suite", command, "-c", "toy"],
        "status": "finished",
        "epoch": 3,
        "step": 30,
        "checkpoint": None,
        "best": None,
        "seed": 1,
        "started": STARTED,
        "ended": ENDED,
        "started_from": None,
        "working_folder": "/nowhere",
        "experiment": "toy",
        "git": {"commit": "0123456789abcdef", "dirty": False},
        "python": "3.11.7",
        "packages": {"torch": "2.15.0"},
        "hardware": {"processor": "one", "gpus": []},
        "data": {"root": "market", "fingerprint": {"files": 3, "sha256": "aa"}},
        **entries,
    }


def config(seed=1, lr=0.1, data=()):
    """A resolved configuration."""
    return {
        "seed_everything": seed,
        "trainer": {"max_epochs": 3, "default_root_dir": f"runs{seed}"},
        "model": {"class_path": "toy.LitToy", "init_args": {"optim": {"lr": lr}, "width": 6}},
        "data": {"class_path": "toy.Data", "init_args": {"seed": None, "rule": None, **dict(data)}},
    }


def write_fit(folder, seed=1, lr=0.1, steps=30, shift=0.0, settings=None, **entries):
    """A training run with a log of two metrics; its loss falls from 1 + shift to shift."""
    folder.mkdir(parents=True, exist_ok=True)
    write_record(folder, record(seed=seed, **entries), settings or config(seed, lr))
    write_log(folder / "metrics.csv", steps, shift)
    return folder


def write_record(folder, entries, settings):
    RunFile(folder, entries, yaml.safe_dump(settings, sort_keys=False))


def write_log(path, steps, shift=0.0, first=0):
    rows = ["epoch,step,train/loss,val/mAP"]
    for step in range(first, steps):
        loss = shift + math.exp(-step / 10)
        rows.append(f"{step // 10},{step},{loss},")
        if step % 10 == 9:
            rows.append(f"{step // 10},{step},,{0.5 - shift + step / 1000}")
    path.write_text("\n".join(rows) + "\n")


def write_test(folder, training, metrics, stage="test", pictures=(), **entries):
    """A run of ``test`` on the last checkpoint of a training run."""
    (folder / stage).mkdir(parents=True, exist_ok=True)
    used = str(training / "checkpoints/last.ckpt")
    write_record(folder, record(stage, started_from=used, **entries), {**config(), "ckpt_path": used})
    write_metrics(folder, metrics, stage, used)
    for name in pictures:
        Image.new("RGB", (40, 20), (200, 30, 30)).save(folder / stage / name)
    return folder


def write_metrics(folder, metrics, stage="test", checkpoint=None, **protocol):
    text = {
        "stage": stage,
        "task": "reid",
        "metrics": metrics,
        "protocol": {"distance": "cosine", **protocol},
        "data": {"root": "market"},
        "checkpoint": checkpoint,
    }
    (folder / stage).mkdir(parents=True, exist_ok=True)
    (folder / stage / "metrics.json").write_text(json.dumps(text))


def write_hostile(parent):
    """Two runs whose every name and value is an attack or 300 characters long."""
    names = (NASTY.replace("/", "_")[:80], LONG.replace("/", "_")[:200])
    folders = []
    for number, (name, text) in enumerate(zip(names, (NASTY, LONG), strict=True)):
        folder = parent / name
        folder.mkdir(parents=True)
        entries = record(
            experiment=text, command_line=["vision-suite", "fit", text], status=text, reason=text, seed=text,
            epoch=text, step={text: [text]}, checkpoint=text.replace("/", "_")[:200],
            git={"commit": text, "dirty": True},
            packages={text: text}, hardware=text, data={text: {text: text}}, started=text, initialised_from=text,
        )  # fmt: skip
        write_record(folder, entries, {text: {text: f"{text}{number}"}, "model": {"class_path": text}, "both": [text]})
        column = text.replace('"', '""')
        (folder / "metrics.csv").write_text(
            f'epoch,step,"{column}","val/{NASTY.replace(chr(34), chr(39))}"\n0,1,2,3\n1,2,3,4\n'
        )
        write_metrics(folder, {text: 0.5, "a/" + text: 1e300}, checkpoint=text, warnings=[text], **{text: text})
        Image.new("RGB", (4, 4)).save(folder / "test" / (names[0][:60] + ".png"))
        folders.append(folder)
    return folders
