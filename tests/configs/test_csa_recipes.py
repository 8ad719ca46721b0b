"""Every configuration of CSA trains a step, is tested and predicts (detectors), on features in the layout it names."""

import json

import h5py
import numpy as np
import pytest
import torch
import yaml
from long_tests import sampled
from synthetic_tad import write_feature_set

from vision_suite.callbacks.run_dir import run_dir
from vision_suite.cli.commands.train import run
from vision_suite.cli.configs import named_configs
from vision_suite.lit_modules.csa import LitCSA
from vision_suite.models.csa import CSADetector
from vision_suite.optim import parameter_groups
from vision_suite.types import DetectionReport

NAMES = [name for name in named_configs() if name.startswith("csa/")]


def section(path, name):
    value = yaml.safe_load(path.read_text(encoding="utf-8"))[name]
    return yaml.safe_load((path.parent / value).read_text(encoding="utf-8")) if isinstance(value, str) else value


def write_layout(root, data, rows=40):
    """The generated set as the configuration's features and subsets are called."""
    sampling = data.get("sampling", {})
    channels = sampling.get("channels", 8)
    channels = 8 if channels == 0 else channels
    write_feature_set(root, videos=4, rows=rows, channels=channels, features="made")
    names = {"testing": "validation"} if data.get("test_on") == ["validation"] else {}
    annotations = json.loads((root / "annotations.json").read_text())
    for entry in annotations["database"].values():
        entry["subset"] = names.get(entry["subset"], entry["subset"])
        if "stride" in sampling:  # as long as rows last that are so far apart
            entry["frame"] = sampling["offset"] + rows * data.get("every", 1) * sampling["stride"]
            longer = entry["frame"] / (sampling["fps"] or 30) / entry["duration"]
            entry["duration"] *= longer
            for note in entry["annotations"]:
                note["segment"] = [longer * seconds for seconds in note["segment"]]
    (root / "annotations.json").write_text(json.dumps(annotations))
    made = {path.stem: np.load(path) for path in sorted((root / "made").glob("*.npy"))}
    (root / "features").mkdir(exist_ok=True)
    for place in data["features"]:
        target = root / place
        if target.suffix == ".h5":
            width = channels // len(data["features"])
            with h5py.File(str(target).replace("*", "all"), "w") as file:
                for name, values in made.items():
                    file[name] = np.repeat(values[:, :width], data.get("every", 1), axis=0)
            continue
        target.mkdir(parents=True, exist_ok=True)
        for name, values in made.items():
            if "csv" in place:
                header = ",".join(f"f{n}" for n in range(channels))
                np.savetxt(target / f"v_{name}.csv", values, delimiter=",", header=header, comments="")
            else:
                np.save(target / f"{name}.npy", values)
        if "sampling" not in data:
            (target / "features.json").write_text((root / "made/features.json").read_text())


# One of each network, each layout of features and each prepared set.
KEPT = (
    "csa/activitynet_tsn_bmn_csa",
    "csa/activitynet_tsp_gtad",
    "csa/thumos14_i3d_gtad_csa",
    "csa/thumos14_tsn_bmn",
    "csa/watch_tad",
    "csa/watch_tad_semantics",
    "csa/watch_tad_recognizer",
)


@pytest.mark.parametrize("name", sampled(NAMES, KEPT))
def test_one_step_of(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = named_configs()[name]
    data, model = section(path, "data")["init_args"], section(path, "model")["init_args"]
    write_layout(tmp_path / "set", data)
    tiny = ["--data.num_cells=16", "--data.num_workers=0", "--data.batch_size=2"]
    if "host" in model:
        tiny += ["--model.max_duration=8"]
    tiny += ["--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.accelerator=cpu"]
    tiny += ["--trainer.enable_model_summary=false", "--trainer.enable_progress_bar=false"]
    cli = run(["fit", "-c", name, "--data.root=set", *tiny])
    assert cli.trainer.global_step == 1
    assert torch.isfinite(cli.trainer.callback_metrics["train/loss"])
    cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)
    report = cli.model.report
    assert isinstance(report, DetectionReport)
    assert 0 <= report.metrics["average_mAP"] <= 1
    assert list(report.tiou) == list(model.get("tiou", report.tiou))
    folder = run_dir(cli.trainer) / "test"
    assert {"metrics.json", "detections.json", "per_class.csv", "tiou_curve.png", "errors.png"} <= {
        entry.name for entry in folder.iterdir()
    }
    if "host" not in model:
        return  # a recogniser has no proposals to predict
    cli.trainer.predict(cli.model, datamodule=cli.datamodule, return_predictions=False)
    found = json.loads((run_dir(cli.trainer) / "predict/detections.json").read_text())["results"]
    assert set(found) == {video.name for video in cli.datamodule.videos("test")}


def test_hosts_differ_from_csa_in_one_setting():
    """A comparison is fair only if nothing else changes."""
    for name in NAMES:
        if name.endswith("_csa"):
            plain, attended = (section(named_configs()[n], "model") for n in (name.removesuffix("_csa"), name))
            assert attended["init_args"].pop("self_attention") == "csa"
            assert plain["init_args"].pop("self_attention") == "none"
            assert plain == attended


# T, D, batch; rate, epochs at it, epochs; sigma, least score, kept; factor on the encoder's weight decay:
# OpenTAD, commit cd0ca96, configs/{bmn,gtad}/{thumos,anet}_*.py; BMN on the 100 rows of CUHK has T = 100.
OPENTAD = {
    "thumos14_tsn_bmn": (128, 64, 16, 1e-4, 5, 8, 0.3, 1e-4, 200, 10.0),
    "thumos14_i3d_bmn": (128, 64, 16, 1e-4, 5, 8, 0.3, 1e-4, 200, 10.0),
    "thumos14_tsn_gtad": (256, 64, 8, 1e-4, 5, 8, 0.3, 1e-4, 200, 1.0),
    "thumos14_i3d_gtad": (256, 64, 8, 1e-4, 5, 8, 0.3, 1e-4, 200, 1.0),
    "activitynet_tsn_bmn": (100, None, 16, 1e-3, 7, 8, 0.5, 0.01, 100, 10.0),
    "activitynet_tsp_bmn": (128, None, 16, 1e-3, 7, 8, 0.5, 0.01, 100, 10.0),
    "activitynet_tsn_gtad": (100, None, 16, 4e-3, 5, 8, 0.8, 0.0, 100, 1.0),
    "activitynet_tsp_gtad": (100, None, 16, 4e-3, 5, 8, 0.8, 0.0, 100, 1.0),
}


@pytest.mark.parametrize("name", OPENTAD)
def test_settings_are_those_of_one_author(name):
    path = named_configs()[f"csa/{name}"]
    data, model, trainer = (section(path, part) for part in ("data", "model", "trainer"))
    cells, model = data["init_args"], model["init_args"]
    post, optim = model["post"], model["optim"]
    module = LitCSA(3, 8, 16, **{**model, "max_duration": 8})
    decays = {
        name: group["weight_decay"] / optim["weight_decay"]
        for group in parameter_groups(module, module.optim, 1.0)
        for name, parameter in module.named_parameters()
        if any(parameter is each for each in group["params"])
    }
    encoder = {name for name in decays if name.startswith(("model.host.base.", "model.host.backbone1."))}
    assert {times for name, times in decays.items() if name not in encoder} == {1.0}
    (factor,) = {decays[name] for name in encoder}
    assert (
        cells["num_cells"], model["max_duration"], cells["batch_size"], optim["lr"], optim["milestones"][0],
        trainer["max_epochs"], post["sigma"], post.get("min_score", 0.0), post["keep"], pytest.approx(factor),
    ) == OPENTAD[name]  # fmt: skip
    assert (post["score"], post["vote"], trainer["gradient_clip_val"]) == ("confidence_iou", 0.95, 1.0)
    if model["host"] == "bmn":
        whole = CSADetector(400, 200, 100, self_attention="none", pem_width=model["pem_width"])
        assert sum(p.numel() for p in whole.host.parameters()) == 2_782_980, "OpenTAD's network"
