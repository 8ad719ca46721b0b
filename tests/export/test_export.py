"""Export: round trips through files, refusal of files that differ, preprocessing that can be followed."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from long_tests import long
from PIL import Image
from synthetic import write_market
from synthetic_sets import write_cub
from torch import nn

from vision_suite.cli import main
from vision_suite.cli.commands.export import load_network
from vision_suite.datasets.fgvc.data import FGVCData
from vision_suite.datasets.reid.data import ReIDData
from vision_suite.errors import CheckpointError, ExportError, MissingDependencyError
from vision_suite.export import compare, export_network, formats, load_exported
from vision_suite.export import network as writing
from vision_suite.lit_modules.dcal import LitDCAL
from vision_suite.optim import OptimConfig

TINY = {"backbone": "vit_micro_conv8_64", "backbone_args": {"depth": 2, "embed_dim": 32, "num_heads": 2}}
FORMATS = [pytest.param("torch_export", id="torch_export"), pytest.param("onnx", id="onnx")]


class Small(nn.Module):
    """A network with attention-like weights, a choice of patches, and a way to go wrong once it is exported."""

    image_size = (8, 12)
    num_queries = 2

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv2d(3, 16, 4, 4)
        self.score = nn.Linear(16, 1)
        self.fault = fault

    def inference(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        tokens = self.embed(image).flatten(2).transpose(1, 2)
        weights = self.score(tokens).squeeze(-1).softmax(1)
        fault = self.fault if torch.compiler.is_exporting() else ""
        if fault == "choice":
            weights = weights.flip(1)
        index = weights.topk(2, dim=1).indices
        local = tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, 16)).mean(1)
        feature = F.normalize(torch.cat([tokens.mean(1), local], dim=1))
        if fault == "values":
            feature = feature * 1.001
        if fault == "batch":
            feature = feature - feature.mean(0)
        return {"feature": feature, "rollout": weights.unflatten(1, (2, 3))}


@pytest.fixture(scope="module")
def reid_run(tmp_path_factory) -> tuple[Path, ReIDData]:
    """A checkpoint of a re-ID network after one step, and the data it was trained on."""
    folder = tmp_path_factory.mktemp("reid")
    root = write_market(folder / "market", train_ids=4, test_ids=3, size=(50, 23), suffix=".png")
    data = ReIDData(
        "market_folder", str(root), image_size=(32, 16), batch_size=8, num_instances=2, eval_batch_size=3,
        num_workers=0, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), transreid_compat=True,
    )  # fmt: skip
    torch.manual_seed(0)
    return _checkpoint(folder, LitDCAL(4, image_size=(32, 16), optim=OptimConfig(lr=0.01), **TINY), data), data


@pytest.fixture(scope="module")
def fgvc_run(tmp_path_factory) -> tuple[Path, FGVCData]:
    """A checkpoint of a classifier after one step."""
    folder = tmp_path_factory.mktemp("fgvc")
    root = write_cub(folder / "cub", classes=5)
    data = FGVCData(
        "cub_folder", str(root), image_size=(32, 24), resize=(40, 36), batch_size=8, eval_batch_size=4, num_workers=0
    )
    torch.manual_seed(0)
    model = LitDCAL(5, task="fgvc", image_size=(32, 24), optim=OptimConfig(lr=0.01), glca={"ratio": 0.5}, **TINY)
    return _checkpoint(folder, model, data), data


def _checkpoint(folder: Path, model: LitDCAL, data: pl.LightningDataModule) -> Path:
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, use_distributed_sampler=False, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(model, data)
    trainer.save_checkpoint(folder / "run.ckpt")
    return folder / "run.ckpt"


def command(checkpoint: Path, kind: str, output: Path, *more: str) -> int:
    arguments = ["--ckpt_path", str(checkpoint), "--format", kind, "--output", str(output), "--model", "LitDCAL"]
    return main(["export", *arguments, *more])


def by_hand(path: str, steps: dict) -> torch.Tensor:
    """A picture prepared as the metadata says, with nothing but Pillow and NumPy."""
    image = Image.open(path).convert(steps["colour"])
    height, width = steps["resize"]
    image = image.crop((0, 0, image.width, image.height - steps["crop_bottom"]))
    image = image.resize(
        (width, height), {"bicubic": Image.BICUBIC, "bilinear": Image.BILINEAR}[steps["interpolation"]]
    )
    h, w = steps["center_crop"]
    top, left = (height - h) // 2, (width - w) // 2
    pixels = np.asarray(image, dtype=np.float64)[top : top + h, left : left + w]
    pixels = (pixels * steps["scale"] - steps["mean"]) / steps["std"]
    return torch.from_numpy(pixels.transpose(2, 0, 1)).float()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("task", ["reid", long("fgvc")])
def test_round_trip_from_picture_file_to_outputs(task, kind, request, tmp_path, capsys):
    checkpoint, data = request.getfixturevalue(f"{task}_run")
    output = tmp_path / "deep" / f"net{'.pt2' if kind == 'torch_export' else '.onnx'}"
    assert command(checkpoint, kind, output) == 0
    assert "compared on 8 generated pictures in batches of 1, 2, 5" in capsys.readouterr().out
    assert [path.name for path in output.parent.iterdir()] == [output.name]

    run, metadata = load_exported(output)
    assert metadata["preprocessing"] == data.preprocessing
    assert metadata["class_names"] == data.class_names
    assert metadata["model"].endswith("LitDCAL")
    data.setup("test")
    batch = next(iter(data.test_dataloader()))
    images = torch.stack([by_hand(data.record("test", int(n))[0], metadata["preprocessing"]) for n in batch["index"]])
    torch.testing.assert_close(images, batch["image"], atol=1e-5, rtol=1e-5)

    model = LitDCAL.load_from_checkpoint(checkpoint, map_location="cpu").eval()
    with torch.no_grad():
        expected = model.predict_step(batch, 0)
    found = run(images)
    assert list(found) == list(metadata["outputs"])
    assert set(found) == {"feature", "rollout"} | ({"probability"} if task == "fgvc" else set())
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], atol=2e-5, rtol=1e-4)
    assert run(images[:1])["feature"].shape[0] == 1
    # The global-local branch is inside: its half of the feature depends on which patches are picked.
    assert found["feature"].shape[1] == 64


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("fault", ["values", "choice", "batch"])
def test_a_file_that_differs_is_refused_and_deleted(kind, fault, tmp_path):
    path = tmp_path / "net.pt2" if kind == "torch_export" else tmp_path / "net.onnx"
    path.write_bytes(b"what was there before")
    with pytest.raises(ExportError, match="deleted"):
        export_network(Small(fault), path, kind, {})
    assert path.read_bytes() == b"what was there before"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_the_same_network_without_the_fault_is_kept(tmp_path):
    parity = export_network(Small(), tmp_path / "net.pt2", "torch_export", {"a": [1, "b"]}, batches=[3, 1])
    assert (parity.pictures, parity.near_ties) == (4, 0)
    assert max(parity.worst.values()) < 1e-6
    assert load_exported(tmp_path / "net.pt2")[1]["a"] == [1, "b"]


@pytest.mark.parametrize("kind", FORMATS)
def test_the_file_holds_the_distances_that_were_found(kind, tmp_path):
    """They are those of a comparison made again with the file."""
    path = tmp_path / ("net.pt2" if kind == "torch_export" else "net.onnx")
    network = Small()
    found = export_network(network, path, kind, {}, batches=[3, 1], tolerance=1e-3)
    run, metadata = load_exported(path)
    assert metadata["parity"] == {
        "pictures": 4, "near_ties": 0, "worst": found.worst, "tolerance": 1e-3, "batches": [3, 1],
    }  # fmt: skip
    again = compare(network.inference, run, network.image_size, network.num_queries, [3, 1], 1e-3)
    assert again.worst == pytest.approx(found.worst, rel=0.5, abs=1e-7)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_program_that_is_not_the_one_compared_is_refused(kind, tmp_path, monkeypatch):
    """The metadata is written after the comparison, by writing the file again."""
    path = tmp_path / ("net.pt2" if kind == "torch_export" else "net.onnx")
    save, calls = writing._save, []

    def save_another(saver, draft, metadata):
        calls.append(draft)
        network = formats.Graph(Small())
        with torch.no_grad():
            network.network.score.weight += 1.0
        other = formats.tracer_of(kind)(network.eval(), ["feature", "rollout"])
        save(saver if len(calls) == 1 else other, draft, metadata)

    monkeypatch.setattr(writing, "_save", save_another)
    with pytest.raises(ExportError, match="differs from the one compared"):
        export_network(Small(), path, kind, {})
    assert len(calls) == 2
    assert not list(tmp_path.iterdir())


def test_a_network_that_cannot_be_traced_is_one_error(tmp_path):
    class Untraceable(Small):
        def inference(self, image):
            if float(image.sum()) > 1e9:
                return {}
            return super().inference(image)

    with pytest.raises(ExportError, match="cannot be written as torch_export"):
        export_network(Untraceable(), tmp_path / "net.pt2", "torch_export", {})
    assert not list(tmp_path.iterdir())


def outputs(rollout, feature):
    return lambda image: {
        "rollout": torch.tensor(rollout)[: len(image)],
        "feature": torch.tensor(feature)[: len(image)],
    }


def test_near_ties_may_flip_but_are_counted():
    one = outputs([[[0.4, 0.3, 0.3 - 1e-7]], [[0.5, 0.3, 0.2]]], [[1.0, 0.0], [0.0, 1.0]])
    other = outputs([[[0.4, 0.3 - 1e-7, 0.3]], [[0.5, 0.3, 0.2]]], [[0.0, 1.0], [0.0, 1.0]])
    parity = compare(one, other, (8, 8), 2, [2], 1e-4)
    assert (parity.pictures, parity.near_ties) == (2, 1)
    with pytest.raises(ExportError, match="none of 1 pictures"):
        compare(one, other, (8, 8), 2, [1], 1e-4)
    with pytest.raises(ExportError, match=r"feature differs"):
        compare(one, other, (8, 8), 0, [2], 1e-4)


def test_clear_choices_may_not_flip():
    one = outputs([[[0.4, 0.31, 0.29]]], [[1.0, 0.0]])
    other = outputs([[[0.4, 0.29, 0.31]]], [[1.0, 0.0]])
    with pytest.raises(ExportError, match="picks 1 of 2 patches otherwise"):
        compare(one, other, (8, 8), 2, [1], 1e-4)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_numbers_are_differences(value):
    with pytest.raises(ExportError):
        compare(outputs([[[0.6, 0.4]]], [[1.0]]), outputs([[[0.6, 0.4]]], [[value]]), (8, 8), 1, [1], 1e-4)
    with pytest.raises(ExportError):
        compare(outputs([[[0.6, 0.4]]], [[1.0]]), outputs([[[value, 0.4]]], [[1.0]]), (8, 8), 1, [1], 1e-4)


def test_missing_packages_are_named_with_their_extra(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    with pytest.raises(MissingDependencyError, match=r"onnxscript: pip install 'vision-suite\[export\]'"):
        export_network(Small(), tmp_path / "net.onnx", "onnx", {})
    export_network(Small(), tmp_path / "net.pt2", "torch_export", {}, batches=[1])


class Payload:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


@pytest.mark.parametrize("damage", ["truncated", "text", "pickle", "no checkpoint", "missing", "class", "network"])
def test_bad_checkpoints_are_one_line(damage, reid_run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint, _ = reid_run
    path = tmp_path / "bad.ckpt"
    contents = torch.load(checkpoint, weights_only=True)
    if damage == "truncated":
        path.write_bytes(checkpoint.read_bytes()[: checkpoint.stat().st_size // 2])
    elif damage == "text":
        path.write_text("not a checkpoint")
    elif damage == "pickle":
        torch.save({**contents, "extra": Payload()}, path)
    elif damage == "no checkpoint":
        torch.save({"weights": torch.zeros(2)}, path)
    elif damage == "class":
        contents["hyper_parameters"]["_class_path"] = "os.system"
        torch.save(contents, path)
    elif damage == "network":
        contents["hyper_parameters"]["glca"] = False
        torch.save(contents, path)
    assert command(path, "torch_export", tmp_path / "net.pt2") == 2
    error = capsys.readouterr().err
    assert error.startswith("vision-suite: error: ")
    assert error.count("\n") == 1
    assert str(path) in error
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "net.pt2").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "net.onnx"], "ends in .pt2"),
        (["--batch", "0"], "argument --batch: '0' is no whole number from 1 to 65536"),
        (["--format", "tensorrt"], "tensorrt"),
        (["--colour", "red"], "--colour"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, message, reid_run, capsys):
    status = main(["export", "--ckpt_path", str(reid_run[0]), "--format", "torch_export", *arguments])
    error = capsys.readouterr().err
    assert status == 2
    assert error.count("\n") == 1
    assert message in error


def test_preprocessing_must_be_known(reid_run, tmp_path, capsys):
    contents = torch.load(reid_run[0], weights_only=True)
    del contents["ReIDData"]
    path = tmp_path / "bare.ckpt"
    torch.save(contents, path)
    flags = ["--mean", "0.5", "0.5", "0.5", "--std", "1", "1", "1", "--interpolation", "bicubic"]
    assert command(path, "torch_export", tmp_path / "net.pt2", *flags) == 2
    assert "give --resize" in capsys.readouterr().err
    assert command(path, "torch_export", tmp_path / "net.pt2", *flags, "--resize", "32", "16", "--batch", "2") == 0
    stored = load_exported(tmp_path / "net.pt2")[1]["preprocessing"]
    assert (stored["resize"], stored["mean"]) == ([32, 16], [0.5] * 3)


def test_flags_that_beat_the_checkpoint_are_named(reid_run, tmp_path, capsys):
    flags = ["--batch", "2", "--mean", "0.1", "0.2", "0.3", "--interpolation", "bicubic", "--std", "0.2", "0.3", "0.4"]
    assert command(reid_run[0], "torch_export", tmp_path / "net.pt2", *flags) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if "from your flag" in line] == [
        "interpolation=bicubic from your flag, bilinear in the checkpoint",
        "mean=[0.1, 0.2, 0.3] from your flag, [0.4, 0.5, 0.6] in the checkpoint",
    ]
    assert command(reid_run[0], "torch_export", tmp_path / "net.pt2", "--std", "1", "0", "1") == 2
    assert "argument --std: '0' is no number above 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("ReIDData", "preprocessing", "mean", [float("nan"), 0.5, 0.5]), "mean=[nan, 0.5, 0.5], which is not 3 fin"),
        (("ReIDData", "preprocessing", "warmth", 3), "has the entry 'warmth', which ReIDData does not know"),
        (("ReIDData", "class_names", "abc"), "state of the data is malformed"),
        (("hyper_parameters", "image_size", "wide"), "does not fit LitDCAL: model.image_size wide: expected"),
    ],
)
def test_what_the_checkpoint_stores_is_checked(reid_run, tmp_path, capsys, change, said):
    contents = inner = torch.load(reid_run[0], weights_only=True)
    *keys, last, value = change
    for key in keys:
        inner = inner[key]
    inner[last] = value
    torch.save(contents, tmp_path / "odd.ckpt")
    assert command(tmp_path / "odd.ckpt", "torch_export", tmp_path / "net.pt2") == 2
    line = capsys.readouterr().err
    assert line.startswith(f"vision-suite: error: {tmp_path / 'odd.ckpt'}")
    assert said in line
    assert line.count("\n") == 1


def test_a_checkpoint_of_a_compiled_network_can_be_exported(reid_run, tmp_path):
    contents = torch.load(reid_run[0], weights_only=True)
    contents["hyper_parameters"] |= {
        "compile": True,
        "pretrained": True,
        "_class_path": "vision_suite.lit_modules.dcal.LitDCAL",
    }
    path = tmp_path / "compiled.ckpt"
    torch.save(contents, path)
    network, metadata = load_network(path)
    assert "compile" not in json.dumps(metadata["settings"])
    export_network(network, tmp_path / "net.pt2", "torch_export", metadata, batches=[1])


def test_a_class_must_be_named(reid_run):
    with pytest.raises(CheckpointError, match=r"give --model, one of .*LitDCAL"):
        load_network(reid_run[0])
    assert load_network(reid_run[0], "LitDCAL")[0].image_size == (32, 16)
    with pytest.raises(CheckpointError, match=r"LitDCLA, which is no model of the suite: did you mean 'LitDCAL'"):
        load_network(reid_run[0], "LitDCLA")
