"""Tiny checkpoints of every method for the hub, entries made of them, and entries that someone tampered with."""

import json
import lzma
import os
from pathlib import Path

from folders import SUPPORT

from vision_suite.hub.sums import SUMS, sha256, write_sums
from vision_suite.hub.text import write_json
from vision_suite.hub.writing import write_index

NAME = "dcal_tiny.market"
WORK = ({"what": "generated pictures", "by": "the tests", "license": "CC0-1.0", "source": ""},)
PICTURES = {
    "colour": "RGB", "crop_bottom": 0, "resize": [32, 32], "interpolation": "bicubic", "center_crop": [32, 32],
    "scale": 1 / 255, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25],
}  # fmt: skip


def saved_before(name: str, folder: Path) -> Path:
    """A checkpoint of an earlier version, as a file."""
    path = folder / f"{name}.ckpt"
    path.write_bytes(lzma.decompress((SUPPORT / "before" / name / "last.ckpt.xz").read_bytes()))
    return path


def checkpoint(module, data: str, preprocessing: dict, path: Path, **more) -> Path:
    """A checkpoint of a module, as a run of it would leave it, with the state of an optimiser."""
    import torch

    from vision_suite.checkpoints.contents import VERSION
    from vision_suite.checkpoints.files import write

    kind = type(module)
    contents = {
        "state_dict": module.state_dict(),
        "hyper_parameters": {**module.hparams, "_class_path": f"{kind.__module__}.{kind.__qualname__}"},
        VERSION: "2.6.6",
        "epoch": 1,
        "global_step": 7,
        "callbacks": {},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(4)}}, "param_groups": []}],
        data: {"preprocessing": preprocessing, "class_names": [], "facts": {}, "order": {}, **more},
    }
    module.on_save_checkpoint(contents)
    write(contents, path)
    return path


def shaken(module, seed=0):
    """A module whose tensors are all away from their start, so that a lost one is seen."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in module.state_dict().values():
            if value.is_floating_point():
                noise = torch.rand(value.shape, generator=generator, dtype=torch.float32)
                value.add_(0.1 * noise.to(value))
    return module.eval()


def entry(path: Path, hub: Path, name: str = NAME, **asked) -> Path:
    """An entry of a checkpoint, and the hub's index."""
    from vision_suite.cli.hub.push import Push, push

    folder = push(path, hub, Push(name=name, license="Apache-2.0", attribution=WORK, **asked))
    if not (hub / "index.json.sig").exists():
        write_index(hub)
    return folder


def tampered(folder: Path, **files: bytes) -> None:
    """Change files of an entry and make its sums right again, as an attacker would; no index lists it then."""
    for name in ("index.json", "index.json.sig"):
        (folder.parent / name).unlink(missing_ok=True)
    for name, contents in files.items():
        (folder / name).write_bytes(contents)
    present = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != SUMS
    }
    (folder / SUMS).write_bytes(write_sums(present))


def configured(folder: Path, change) -> None:
    """Change an entry's configuration and make its sums right again."""
    config = json.loads((folder / "config.json").read_text())
    change(config)
    tampered(folder, **{"config.json": write_json(config).encode()})


def reweighted(folder: Path, weights: bytes) -> None:
    """Put other weights into an entry, and make configuration and sums right again."""

    def change(config):
        config["weights"].update(sha256=sha256(weights), bytes=len(weights))

    (folder / "model.safetensors").write_bytes(weights)
    configured(folder, change)


def notes_of(name: str = NAME) -> dict[str, str]:
    """Notes in the header of an entry's weights."""
    return {"format": "pt", "vision_suite.entry": "1", "vision_suite.name": name}


def local(folder: Path) -> str:
    """Name of an entry by its folder."""
    return f"local-dir:{folder}"


def as_user(monkeypatch, folder: Path) -> Path:
    """A user whose home, settings and hub lie in a folder; returns the hub."""
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(folder / name.lower()))
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("VISION_SUITE_HUB", str(folder / "hub"))
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    os.makedirs(folder / "hub", exist_ok=True)
    return folder / "hub"
