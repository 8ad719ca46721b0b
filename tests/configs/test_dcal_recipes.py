"""The recipes of the DCAL paper hold the numbers of the paper, and of TransReID where the paper is silent."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from timm.scheduler.cosine_lr import CosineLRScheduler

from vision_suite.cli.configs import named_configs
from vision_suite.models.dcal.glca import num_local_queries
from vision_suite.optim import OptimConfig, build_optimizer, peak_lr

BACKBONES = {
    "deit_t": "deit_tiny_patch16_224",
    "deit_s": "deit_small_patch16_224",
    "deit_b": "deit_base_patch16_224",
    "vit_b": "vit_base_patch16_224",
    "r50_vit_b": "vit_base_r50_s16_224",
}
PERSONS, VEHICLES, CLASSES = ("market1501", "dukemtmc", "msmt17"), ("veri776",), ("cub200", "stanford_cars", "aircraft")
REID = [f"{data}_{size}" for data in PERSONS + VEHICLES for size in BACKBONES if size != "r50_vit_b"]
FGVC = [f"{data}_{size}" for data in CLASSES for size in BACKBONES]
# Epoch -> learning rate of TransReID's schedule, to the digits in which docs/dcal.md states it.
EPOCHS = {1: 1.664e-3, 4: 6.416e-3, 5: 7.9658e-3, 60: 4.008e-3, 100: 5.508e-4, 119: 1.7368e-5, 120: 1.6e-5}


def load(path: Path) -> Any:
    """A configuration with the files that it names in the place of their names."""

    def filled(value):
        if isinstance(value, dict):
            return {key: filled(item) for key, item in value.items()}
        is_file = isinstance(value, str) and value.endswith(".yaml")
        return load(path.parent / value) if is_file else value

    return filled(yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.fixture(params=REID)
def reid(request):
    return request.param, load(named_configs()[f"dcal/{request.param}"])


@pytest.fixture(params=FGVC)
def fgvc(request):
    return request.param, load(named_configs()[f"dcal/{request.param}"])


class Part(torch.nn.Module):
    """One parameter of each kind that the optimiser treats in its own way."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 2)
        self.norm = torch.nn.LayerNorm(3)
        self.cls_token = torch.nn.Parameter(torch.zeros(1, 1, 3))
        self.log_variance = torch.nn.Parameter(torch.zeros(3))


def rates(optim: OptimConfig, total: int, batch: int):
    """Learning rate and decay of each of `Part`'s parameters, at each time from 1."""
    part = Part()
    optimizer, schedule = build_optimizer(part, optim, total=total, global_batch=batch)
    names = {id(parameter): name for name, parameter in part.named_parameters()}
    found = []
    for _ in range(total):
        groups = optimizer.param_groups
        found.append({names[id(p)]: (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]})
        optimizer.step()
        schedule.step()
    return optimizer, found


def timm_rates(*peaks: float) -> list[list[float]]:
    """Learning rates of epochs 1 to 120 with the scheduler that TransReID uses, for groups with these peaks."""
    optimizer = torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": peak} for peak in peaks])
    cosine = CosineLRScheduler(optimizer, t_initial=120, lr_min=1.6e-5, warmup_t=5, warmup_lr_init=8e-5, cycle_limit=1)
    found = []
    for epoch in range(1, 121):
        # At epoch 120 timm's cycle is over and gives the floor, which is where the cosine arrives too.
        cosine.step(epoch)
        found.append([group["lr"] for group in optimizer.param_groups])
    return found


def test_reid_follows_transreid_epoch_by_epoch(reid):
    _, config = reid
    optim = OptimConfig(**config["model"]["init_args"]["optim"])
    assert optim.interval == "epoch"
    optimizer, found = rates(optim, config["trainer"]["max_epochs"], batch=64)
    assert isinstance(optimizer, torch.optim.SGD)
    assert len(found) == 120
    assert all(group["momentum"] == 0.9 for group in optimizer.param_groups)
    assert {epoch: found[epoch - 1]["linear.weight"][0] for epoch in EPOCHS} == pytest.approx(EPOCHS, rel=5e-5)
    for now, (rate, bias_rate) in zip(found, timm_rates(0.008, 0.016), strict=True):
        assert now["linear.weight"][0] == now["norm.weight"][0] == now["cls_token"][0] == pytest.approx(rate)
        assert now["linear.bias"][0] == now["norm.bias"][0] == pytest.approx(bias_rate)
        decays = {name: decay for name, (_, decay) in now.items()}
        assert decays.pop("log_variance") == 0
        assert set(decays.values()) == {1e-4}
    assert peak_lr(optim, 256) == 0.008, "the rate belongs to a batch of 64 and is not scaled"


def test_reid_states_transreids_data_and_losses(reid):
    name, config = reid
    data, model = config["data"]["init_args"], config["model"]["init_args"]
    square = name.startswith(VEHICLES)
    assert config["seed_everything"] == 1234
    assert data["image_size"] == model["image_size"] == [256, 256 if square else 128]
    assert (data["batch_size"], data["num_instances"]) == (64, 4)
    assert data["augment"] == {"hflip": 0.5, "pad": 10, "erase": 0.5}
    assert data["mean"] == data["std"] == [0.5] * 3
    assert data["interpolation"] == "bicubic"
    assert model["task"] == "reid"
    assert model["loss"]["label_smoothing"] == 0
    assert (model["triplet"]["margin"], model["triplet"]["normalize"]) == (None, False)
    assert (model["head"]["neck"], model["fusion"]["neck_feature"]) == (True, "before")
    assert (model["retrieval"]["ap"], model["retrieval"]["rerank"]) == ("rect", False)
    patches = data["image_size"][0] * data["image_size"][1] // 256
    assert num_local_queries(model["glca"]["ratio"], patches) == (76 if square else 38)


def test_fgvc_states_the_papers_numbers(fgvc):
    _, config = fgvc
    data, model = config["data"]["init_args"], config["model"]["init_args"]
    optim = OptimConfig(**model["optim"])
    assert (data["resize"], data["image_size"], model["image_size"]) == ([550, 550], [448, 448], [448, 448])
    assert data["batch_size"] == 16
    assert config["trainer"]["max_epochs"] == 100
    assert (optim.name, optim.weight_decay, optim.schedule) == ("adamw", 0.05, "cosine")
    assert peak_lr(optim, 16) == 1.5625e-5
    assert peak_lr(optim, 64) == 6.25e-5
    assert num_local_queries(model["glca"]["ratio"], 28 * 28) == 78
    assert (model["task"], model["loss"]["label_smoothing"]) == ("fgvc", 0)
    assert model["fusion"]["fgvc"] == "probability"


def test_fgvc_warms_up_for_five_of_a_hundred_epochs(fgvc):
    _, config = fgvc
    _, found = rates(OptimConfig(**config["model"]["init_args"]["optim"]), 200, batch=16)
    path = [now["linear.weight"][0] for now in found]
    assert path.index(max(path)) == 9, "10 of 200 steps"
    assert path[-1] == 0
    assert found[0]["linear.weight"][1] == 0.05
    assert found[0]["linear.bias"][1] == found[0]["norm.weight"][1] == found[0]["cls_token"][1] == 0


@pytest.mark.parametrize("name", REID + FGVC)
def test_backbones_and_branches(name):
    config = load(named_configs()[f"dcal/{name}"])["model"]["init_args"]
    size = next(size for size in sorted(BACKBONES, key=len, reverse=True) if name.endswith(size))
    assert config["backbone"].startswith(BACKBONES[size] + ".")
    assert config["backbone"] in timm.list_pretrained(BACKBONES[size] + "*")
    assert config["pretrained"] is True
    assert (config["drop_path"], config["glca"]["blocks"], config["pwca"]["blocks"]) == (0.1, 1, 0)
    assert config["glca"]["readout"] == "mean"
    assert config["loss"]["weighting"] == "uncertainty"


@pytest.mark.parametrize("name", [n for n in named_configs() if n.startswith("dcal/") and "emoji" not in n])
def test_a_recipe_is_listed_as_one_without_a_result(name):
    first = named_configs()[name].read_text(encoding="utf-8").splitlines()[0]
    assert "no result of this suite" in first
