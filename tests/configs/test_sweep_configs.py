"""Sweeps in ``configs/sweeps``: one for each method, right in every name and value, with a metric that is logged."""

import shutil
from dataclasses import replace

import pytest
import yaml
from folders import ROOT
from long_tests import sampled
from synthetic import write_market
from synthetic_tad import write_feature_set

from vision_suite.cli.configs import named_configs
from vision_suite.cli.trainer.sweep_values import check_values
from vision_suite.sweeps.probe import probe
from vision_suite.sweeps.remarks import remarks
from vision_suite.sweeps.settings import read_sweep

FILES = {path.stem: path for path in sorted((ROOT / "configs/sweeps").glob("*.yaml"))}
METHODS = {"dcal", "csa", "oat", "wings", "sentinel"}


@pytest.fixture(autouse=True)
def _checkpoint(monkeypatch):
    """The variable of the sweep that starts from a trained model."""
    monkeypatch.setenv("SFT_CHECKPOINT", "sft.ckpt")


def test_every_method_has_one():
    methods = {name.partition("/")[0] for name in named_configs()} - {"mllm"}
    assert methods == METHODS
    assert {name.partition("_")[0] for name in FILES} == METHODS
    assert {"dcal_reid", "dcal_fgvc", "csa_bmn", "csa_gtad"} <= set(FILES)


def test_sweeps_are_no_named_configurations():
    assert not any(name.startswith("sweeps") for name in named_configs())


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_right_and_wandb_reads_it_alike(name):
    sweep = read_sweep(FILES[name])
    assert sweep.name == name
    assert not list(remarks(sweep, FILES[name]))
    assert yaml.safe_load(FILES[name].read_text()) == sweep.contents
    assert FILES[name].read_text().startswith("# "), "a line tells what it searches"
    assert sweep.method == "grid" or sweep.run_cap >= 12


@pytest.mark.parametrize("name", sampled(FILES, {"csa_gtad", "oat"}))
def test_every_name_and_value_is_known(name):
    point = check_values(read_sweep(FILES[name]))
    assert set(point) >= {"model", "data", "trainer"}


def small(sweep, *flags):
    """The sweep with flags before its arguments, and fewer parameters of the network left as they are."""
    place = sweep.command.index("${args}")
    return replace(sweep, command=(*sweep.command[:place], *flags, *sweep.command[place:]))


def write_watch(cache):
    """The layout of Watch-TAD on generated features."""
    root = cache / "watch-tad"
    write_feature_set(root, videos=6, channels=8, features="features/snippets")


def write_pages(cache):
    """OneStop-mini itself, where it is prepared."""
    from vision_suite.datasets.prepare.fetch import data_dir

    prepared = data_dir() / "onestop-mini"
    if not prepared.is_dir():
        pytest.skip("needs real pages: vision-suite data prepare onestop-mini")
    shutil.copytree(prepared, cache / "onestop-mini")


def write_emoji(cache):
    """The layout of Emoji-ReID on generated pictures."""
    write_market(cache / "emoji-reid-64/a", train_ids=8, test_ids=3, val_ids=2, cameras=4, size=(64, 64), suffix=".png")


PROBES = {
    "csa_bmn": (write_watch, ["--trainer.accelerator=cpu", "--data.num_cells=24", "--data.batch_size=2"]),
    "csa_gtad": (write_watch, ["--trainer.accelerator=cpu", "--data.num_cells=24", "--data.batch_size=2"]),
    "oat": (write_pages, ["--trainer.accelerator=cpu"]),
    "dcal_reid": (write_emoji, ["--trainer.accelerator=cpu", "--data.batch_size=8", "--data.num_instances=2"]),
}


@pytest.mark.parametrize("name", sampled(PROBES, ()))
def test_the_metric_is_logged(name, tmp_path, monkeypatch):
    write, flags = PROBES[name]
    write(tmp_path / "cache")
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    sweep = small(read_sweep(FILES[name]), *flags)
    assert sweep.metric.name in probe(sweep, {"trainer": {}})
    assert not (tmp_path / "runs").exists(), "the probe leaves nothing"
