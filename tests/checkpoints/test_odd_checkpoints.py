"""Every kind of odd checkpoint is one line in every command that reads checkpoints; no code in a file is run."""

import copy
import io
import lzma
from pathlib import Path

import numpy as np
import pytest
import torch
from command import write_toy
from folders import SUPPORT
from PIL import Image
from test_checkpoint_files import Evil

from vision_suite.checkpoints.contents import FORMAT, MARK
from vision_suite.cli import main

MAIN = ("fit", "test", "export", "features")
EVERY = ("fit", "validate", "test", "predict", "export", "features")


def changed(**entries):
    """A change of entries of a checkpoint; None removes one."""

    def change(contents):
        for name, value in entries.items():
            contents[name] = value
            if value is None:
                del contents[name]

    return change


def at(value, *keys):
    """A change of one value deep in a checkpoint."""

    def change(contents):
        for key in keys[:-1]:
            contents = contents[key]
        contents[keys[-1]] = value

    return change


VERSION = "pytorch-lightning_version"
STATE = ("optimizer_states", 0)
LOOP = ("loops", "fit_loop")
# Changes of the contents of a checkpoint, the commands that must refuse them, and words of their line.
CONTENTS = {
    "no state_dict": (changed(state_dict=None), MAIN, "it has no state_dict"),
    "state_dict is a list": (changed(state_dict=[1]), MAIN, "state_dict is of type list, not a dict"),
    "state_dict holds a number": (at(3, "state_dict", "head.bias"), MAIN, "state_dict['head.bias'] is of type int"),
    "state_dict of another network": (at(torch.ones(7), "state_dict", "head.bias"), MAIN, ""),
    "weights are not finite": (
        at(torch.tensor([1.0, torch.nan]), "state_dict", "head.bias"), MAIN, "state_dict['head.bias'] holds values that"
    ),
    "settings are a list": (changed(hyper_parameters=["width"]), MAIN, "hyper_parameters is of type list, not a dict"),
    "settings with a number as name": (at(1, "hyper_parameters", 5), MAIN, "a name in hyper_parameters is of type int"),
    "settings of a wrong type": (at("wide", "hyper_parameters", "width"), MAIN, ""),
    "class is a number": (at(4, "hyper_parameters", "_class_path"), MAIN, "['_class_path'] is of type int"),
    "no version": (changed(**{VERSION: None}), MAIN, f"it has no {VERSION}"),
    "version is a number": (changed(**{VERSION: 2}), MAIN, f"{VERSION} is of type int, not a version"),
    "version is no version": (changed(**{VERSION: "new"}), MAIN, f"{VERSION} is of type str, not a version"),
    "callbacks are a list": (changed(callbacks=[1]), MAIN, "callbacks is of type list, not a dict"),
    "callback state is a number": (changed(callbacks={"EMA": 1}), MAIN, "state of a callback is of type int"),
    "newer format": (at({"format": FORMAT + 1, "version": "9.9"}, MARK), MAIN, "written by vision-suite 9.9"),
    "format is text": (at("new", MARK), MAIN, f"{MARK} is of type str"),
    "data state is a list": (changed(ReIDData=[1]), ("fit", "test", "export"), ""),
    "data order is a list": (at([1], "ReIDData", "order"), ("fit", "test"), "is malformed"),
    "newer Lightning": (changed(**{VERSION: "9.1.0"}), ("fit",), "written by Lightning 9.1.0, newer than"),
    "weights only": (
        changed(optimizer_states=None, lr_schedulers=None, callbacks=None), ("fit",), "holds weights only"
    ),
    "optimizer states are a dict": (changed(optimizer_states={}), ("fit",), "is of type dict, not a list"),
    "optimizer state is a number": (at(3, *STATE), ("fit",), "a member of optimizer_states is of type int"),
    "optimizer without groups": (at(None, *STATE, "param_groups"), ("fit",), "param_groups is missing"),
    "no optimizer": (changed(optimizer_states=[]), ("fit",), "the states of 0 optimisers, not of 1"),
    "other groups": (at([], *STATE, "param_groups"), ("fit",), "its optimiser has groups of []"),
    "other parameters": (at([0], *STATE, "param_groups", 0, "params"), ("fit",), "its optimiser has groups of [1"),
    "other shapes": (at(torch.ones(9), *STATE, "state", 0, "exp_avg"), ("fit",), "exp_avg of its optimiser"),
    "parameter state is a list": (at([1], *STATE, "state", 0), ("fit",), "the state of a parameter is of type list"),
    "no schedules": (changed(lr_schedulers=None), ("fit",), "lr_schedulers is missing"),
    "schedule is a list": (changed(lr_schedulers=[[1]]), ("fit",), "a member of lr_schedulers is of type list"),
    "no loops": (changed(loops=None), ("fit",), "loops is missing"),
    "loops are a list": (changed(loops=[1]), MAIN, "loops is of type list"),
    "no state of a loop": (changed(loops={"fit_loop": {}}), MAIN, "fit_loop: state_dict is missing"),
    "count of epochs is text": (
        at("two", *LOOP, "epoch_progress", "current", "completed"), MAIN, "current.completed is of type str"
    ),
    "epoch is text": (changed(epoch="two"), ("fit",), "epoch is of type str, not a count"),
    "step is negative": (changed(global_step=-1), ("fit",), "global_step is"),
}  # fmt: skip


def picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20, 10)).save(stream, format="PNG")
    return stream.getvalue()


def torch_bytes(contents, **options) -> bytes:
    stream = io.BytesIO()
    torch.save(contents, stream, **options)
    return stream.getvalue()


def safetensors(good: bytes) -> bytes:
    from safetensors.torch import save

    return save({"weight": torch.ones(3)})


def flipped(good: bytes) -> bytes:
    data = bytearray(good)
    data[len(data) // 2] ^= 16
    return bytes(data)


# Files that are no checkpoints at all, and words of the line that every command prints.
FILES = {
    "empty": (lambda good: b"", "the file is empty"),
    "cut": (lambda good: good[:-300], "truncated"),
    "flipped": (flipped, "damaged (its checksum is wrong"),
    "zeros": (lambda good: bytes(5000), "it begins with zeros"),
    "text": (lambda good: b"hello", "a text file"),
    "page": (lambda good: b"<!DOCTYPE html><html>", "a web page"),
    "pointer": (lambda good: b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "picture": (lambda good: picture(), "a picture"),
    "noise": (lambda good: bytes(range(255, 0, -1)) * 9, "not a checkpoint"),
    "safetensors": (safetensors, "fit --init_from"),
    "bare weights": (lambda good: torch_bytes({"weight": torch.ones(3)}), "fit --init_from"),
    "weights below model": (lambda good: torch_bytes({"model": {"weight": torch.ones(3)}}), "fit --init_from"),
    "a tensor": (lambda good: torch_bytes(torch.ones(3)), "it holds a single Tensor"),
    "settings alone": (lambda good: torch_bytes({"width": 6}), "it has no state_dict"),
    "old torch": (
        lambda good: torch_bytes({"weight": torch.ones(3)}, _use_new_zipfile_serialization=False), "fit --init_from"
    ),
    "old torch, cut": (
        lambda good: torch_bytes({"w": torch.ones(300)}, _use_new_zipfile_serialization=False)[:-900], "cannot be read"
    ),
    "code": (lambda good: torch_bytes({"state_dict": {}, "x": Evil(Path("was-run"))}), "holds pickled code"),
    "arrays": (lambda good: (stream := io.BytesIO(), np.savez(stream, a=np.ones(3)))[0].getvalue(), "a zip file of"),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with data, a configuration and a checkpoint of the toy method."""
    import toy_method  # noqa: F401  (short class names are found among imported classes)

    root = tmp_path_factory.mktemp("odd")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        write_toy(root, train_ids=4, max_epochs=2)
        assert main(["fit", "-c", "toy.yaml"]) == 0
        (last,) = root.glob("runs/**/last.ckpt")
        last.rename(root / "good.ckpt")
        Path("sequences").mkdir()
        np.save("sequences/a.npy", np.zeros((4, 3), dtype=np.float32))
    return root


@pytest.fixture
def here(folder, monkeypatch):
    """The folder as working folder."""
    monkeypatch.chdir(folder)
    return folder


def line_of(command: str, path: str, capsys) -> str:
    """Run a command that must refuse a checkpoint; returns its one line."""
    capsys.readouterr()
    if command == "features":
        arguments = ["features", "--sequences", "sequences", "--output", "out", "--checkpoint", path]
    elif command == "export":
        arguments = ["export", "--format", "torch_export", "--ckpt_path", path]
    else:
        arguments = [command, "-c", "toy.yaml", "--trainer.max_epochs=3", "--ckpt_path", path]
    assert main(arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "vision-suite: error: " in line]
    assert len(lines) == 1
    return lines[0]


def one_of_each(cases):
    """In the normal suite each case meets one command, the next one the next; in the long suite it meets all."""
    quick = [(name, [commands[number % len(commands)]]) for number, (name, commands) in enumerate(cases)]
    return quick + [pytest.param(name, commands, marks=pytest.mark.long) for name, commands in cases]


@pytest.mark.parametrize(("name", "commands"), one_of_each([(name, EVERY) for name in FILES]))
def test_a_file_that_is_no_checkpoint(here, capsys, name, commands):
    make, words = FILES[name]
    path = Path("odd.ckpt")
    path.write_bytes(make(Path("good.ckpt").read_bytes()))
    for command in commands:
        line = line_of(command, str(path), capsys)
        assert "odd.ckpt: " in line, command
        assert words in line, command
    assert not Path("was-run").exists()


@pytest.mark.parametrize(
    ("path", "words"), [("none.ckpt", "no such file"), ("market", "folder"), ("toy.yaml/x", "no such file")]
)
def test_a_path_that_is_no_file(here, capsys, path, words):
    for command in ("test", "export"):
        assert words in line_of(command, path, capsys), command


@pytest.mark.parametrize(("name", "commands"), one_of_each([(name, each[1]) for name, each in CONTENTS.items()]))
def test_contents_that_are_no_checkpoint_of_a_run(here, capsys, name, commands):
    change, _, words = CONTENTS[name]
    contents = copy.deepcopy(torch.load("good.ckpt", weights_only=True))
    change(contents)
    torch.save(contents, "odd.ckpt")
    for command in commands:
        line = line_of(command, "odd.ckpt", capsys)
        assert command == "features" or words in line, command


@pytest.mark.parametrize(
    "name",
    [
        "weights only",
        "newer Lightning",
        *(pytest.param(name, marks=pytest.mark.long) for name in ("no loops", "no optimizer", "other groups")),
    ],
)
def test_what_no_training_can_go_on_from_is_evaluated(here, name):
    contents = torch.load("good.ckpt", weights_only=True)
    CONTENTS[name][0](contents)
    torch.save(contents, "odd.ckpt")
    assert main(["test", "-c", "toy.yaml", "--ckpt_path", "odd.ckpt"]) == 0


def test_another_optimizer(here, capsys):
    """Its state has other entries, which torch would put into the new optimiser without a word."""
    contents = torch.load("good.ckpt", weights_only=True)
    groups = contents["optimizer_states"][0]["param_groups"]
    plain = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1, momentum=0.9).state_dict()["param_groups"][0]
    contents["optimizer_states"][0]["param_groups"] = [{**plain, "params": group["params"]} for group in groups]
    torch.save(contents, "odd.ckpt")
    assert "its optimiser is no AdamW" in line_of("fit", "odd.ckpt", capsys)


@pytest.mark.parametrize(
    "change",
    [
        at("wide", "hyper_parameters", "width"),
        at(24, "hyper_parameters", "width"),
        at(torch.ones(7), "state_dict", "model.embed.weight"),
        at([], "hyper_parameters", "depth"),
    ],
)
def test_a_recogniser_that_does_not_fit_its_settings(here, capsys, change):
    stored = SUPPORT / "before/recognizer/last.ckpt.xz"
    contents = torch.load(io.BytesIO(lzma.decompress(stored.read_bytes())), weights_only=True)
    change(contents)
    torch.save(contents, "odd.ckpt")
    assert "odd.ckpt" in line_of("features", "odd.ckpt", capsys)
