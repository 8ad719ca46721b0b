"""Every named configuration parses, builds, trains one step and is tested, on generated pictures.

The first one of each data set also predicts and writes all pictures and files, which take longer than the steps.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import synthetic
import synthetic_sets
import torch
import yaml
from long_tests import sampled

from vision_suite.callbacks.predict.base import AutoWriter
from vision_suite.callbacks.report.writer import ReportWriter
from vision_suite.callbacks.run_dir import run_dir
from vision_suite.cli.commands.train import run
from vision_suite.cli.configs import named_configs
from vision_suite.types import ClassificationReport, RetrievalReport

CONF = Path(__file__).parents[1] / "conf"
# A generated tree in the layout of each data set, by the name the data modules know it under.
TREES: dict[str, Callable[[Path], Path]] = {
    "market1501": synthetic.write_market,
    "dukemtmc": synthetic.write_market,
    "occluded_duke": synthetic.write_market,
    "market_folder": lambda root: synthetic.write_market(root, val_ids=2),
    "msmt17": synthetic_sets.write_msmt17,
    "veri776": synthetic_sets.write_veri776,
    "vehicleid": synthetic_sets.write_vehicleid,
    "cuhk03": synthetic_sets.write_cuhk03,
    "cub200": synthetic_sets.write_cub,
    "cub_folder": synthetic_sets.write_cub,
    "nabirds": synthetic_sets.write_nabirds,
    "stanford_cars": synthetic_sets.write_cars,
    "aircraft": synthetic_sets.write_aircraft,
}


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """Makes the generated tree of a data set once."""
    made: dict[str, Path] = {}

    def tree(dataset: str) -> Path:
        if dataset not in made:
            made[dataset] = TREES[dataset](tmp_path_factory.mktemp(dataset) / "set")
        return made[dataset]

    return tree


def section(path: Path, name: str) -> Any:
    """A section of a configuration file, which may be a file of its own."""
    value = yaml.safe_load(path.read_text(encoding="utf-8"))[name]
    return yaml.safe_load((path.parent / value).read_text(encoding="utf-8")) if isinstance(value, str) else value


# Configurations of `vision-suite bootstrap`, which trains nothing.
MINING = {name for name in named_configs() if name.startswith("sentinel/mine_")}
# Configurations of other data have tests of their own.
PICTURES = {
    n: p
    for n, p in named_configs().items()
    if n not in MINING and {"image_size", "dataset"} <= section(p, "data").get("init_args", {}).keys()
}


def first_of_each_data_set() -> set[str]:
    """One configuration per data set."""
    names = {section(path, "data")["init_args"]["dataset"]: name for name, path in reversed(PICTURES.items())}
    return set(names.values())


# The network and the steps are those of dcal/market1501_deit_b; the files themselves are read by other tests.
SAME_NETWORK = {"dcal/dukemtmc_deit_b", "dcal/msmt17_deit_b", "dcal/veri776_deit_b"}


def drop_writers(trainer: Any) -> None:
    """Leave out what writes reports and predictions."""
    trainer.callbacks = [c for c in trainer.callbacks if not isinstance(c, ReportWriter | AutoWriter)]


@pytest.mark.parametrize("name", sampled(PICTURES, first_of_each_data_set() - SAME_NETWORK | {"dcal/cub200_r50_vit_b"}))
def test_one_step_of(name, trees, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = named_configs()[name]
    data = section(path, "data")["init_args"]
    # Twice as high as wide, or square, as the configuration has it: 4 x 2 or 2 x 2 patches of 16 pixels.
    height, width = data["image_size"]
    size = [64, 64 * width // height] if height != width else [32, 32]
    shape = {"image_size": size} | ({"resize": [side + 4 for side in size]} if "resize" in data else {})
    overlay = {
        "model": {"init_args": {"image_size": size}},
        "data": {"init_args": shape | ({"num_instances": 2} if "num_instances" in data else {})},
    }
    method = CONF / f"tiny_{name.split('/')[0]}.yaml"
    files = [str(file) for file in (CONF / "tiny.yaml", method) if file.is_file()]
    files.append(str(yaml.safe_dump(overlay, default_flow_style=True, width=10_000).strip()))
    options = [word for file in files for word in ("-c", file)]
    cli = run(["fit", "-c", name, *options, "--data.root", str(trees(data["dataset"]))])
    assert cli.trainer.global_step == 1
    loss = cli.trainer.callback_metrics["train/loss"]
    assert torch.isfinite(loss)
    writes = name in first_of_each_data_set()
    if not writes:
        drop_writers(cli.trainer)
    cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)
    report = cli.model.report
    assert isinstance(report, RetrievalReport | ClassificationReport)
    headline = report.metrics["mAP" if isinstance(report, RetrievalReport) else "top1"]
    assert 0 <= headline <= 1
    assert report.protocol["dataset"] == data["dataset"]
    if writes:
        cli.trainer.predict(cli.model, datamodule=cli.datamodule)
        summary = json.loads((run_dir(cli.trainer) / "predict" / "summary.json").read_text(encoding="utf-8"))
        assert summary["pictures"] == cli.datamodule.size("predict")
        assert summary["feature_dim"] == cli.model.model.feature_dim
