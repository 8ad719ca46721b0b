"""The line on a checkpoint: every difference between it, the configuration, the flags and the data, and each once."""

import warnings
from pathlib import Path

import pytest
import torch
import yaml
from one_line import fails
from synthetic import write_market
from synthetic_tad import write_feature_set

from vision_suite.cli import main
from vision_suite.cli.trainer.restore import differences

NAMED = "from checkpoint good.ckpt: "
TRAINER = {
    "accelerator": "cpu",
    "max_steps": 1,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "log_every_n_steps": 1,
}


def trained(config):
    """Train with a configuration and keep the checkpoint as good.ckpt."""
    Path("it.yaml").write_text(yaml.safe_dump({"trainer": TRAINER, **config}))
    assert main(["fit", "-c", "it.yaml"]) == 0
    (last,) = Path("runs").rglob("last.ckpt")
    last.rename("good.ckpt")


def told(capsys, *argv, command="test"):
    """What a command says of the checkpoint, and its warnings."""
    capsys.readouterr()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert main([command, "-c", "it.yaml", "--ckpt_path", "good.ckpt", *argv]) == 0
    assert not [each for each in caught if "The network was" in str(each.message)], "printed, not raised by Python"
    captured = capsys.readouterr()
    (line,) = [line for line in captured.out.splitlines() if line.startswith(NAMED)]
    said = [line for line in captured.err.splitlines() if line.startswith("vision-suite: warning: ")]
    return line.removeprefix(NAMED), said


@pytest.fixture
def market(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_market(tmp_path / "market", train_ids=4, test_ids=2)


@pytest.mark.parametrize("kind", ["DimData", "OpaqueData"])
def test_preprocessing_that_no_argument_restores_is_told(market, capsys, kind):
    import toy_facts  # noqa: F401  (short class names are found among imported classes)

    data = {"class_path": kind, "init_args": {"root": "market"}}
    trained({"model": {"class_path": "toy_method.LitToy", "init_args": {"width": 6}}, "data": data})
    assert told(capsys)[0] == "no setting differs from the configuration"
    line, _ = told(capsys, "--data.grey=0.25")
    assert line == "mean is [0.5, 0.5, 0.5] in the checkpoint and [0.25, 0.25, 0.25] in the data"


@pytest.mark.long
def test_a_flag_in_preprocessing_is_told_once_in_lists(market, capsys):
    data = {"root": "market", "image_size": [32, 16], "batch_size": 4, "num_instances": 2, "cache": "memory"}
    model = {"class_path": "toy_method.LitToy", "init_args": {"width": 6}}
    trained({"model": model, "data": {"class_path": "ReIDData", "init_args": {"num_workers": 0, **data}}})
    line, _ = told(capsys, "--data.mean=[0.1, 0.2, 0.3]")
    assert line == "mean=[0.1, 0.2, 0.3] from your flag, [0.5, 0.5, 0.5] in the checkpoint"
    assert told(capsys)[0] == "no setting differs from the configuration", "unset values are no differences"
    loose = ["--data.init_args.root=null", "--data.init_args.predict_inputs=market"]
    assert told(capsys, *loose, command="predict")[0] == "no setting differs from the configuration"
    contents = torch.load("good.ckpt", weights_only=True)
    contents["ReIDData"]["preprocessing"]["mean"][0] = float("nan")
    torch.save(contents, "odd.ckpt")
    for command in ("test", "predict"):
        line = fails(capsys, command, "-c", "it.yaml", "--ckpt_path=odd.ckpt")
        assert line.startswith("odd.ckpt: the checkpoint's preprocessing has mean=[nan, 0.5, 0.5]")
    contents["hyper_parameters"]["width"] = "wide"
    contents["ReIDData"]["preprocessing"] = {}
    torch.save(contents, "odd.ckpt")
    line = fails(capsys, "test", "-c", "it.yaml", "--ckpt_path=odd.ckpt")
    assert line == "odd.ckpt holds a setting of a wrong type: model.width wide: expected int"
    contents["hyper_parameters"]["_class_path"] = "other.Task"
    contents["ReIDData"]["preprocessing"] = {"warmth": 3}
    torch.save(contents, "odd.ckpt")
    assert "odd.ckpt was saved by other.Task" in fails(capsys, "test", "-c", "it.yaml", "--ckpt_path=odd.ckpt")


@pytest.mark.long
def test_a_linked_setting_of_the_data_is_told_and_its_flag_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_feature_set(tmp_path / "set", videos=8)
    data = {"root": "set", "num_cells": 16, "num_workers": 0, "batch_size": 2}
    config = {
        "model": {"class_path": "LitRecognizer", "init_args": {"width": 4, "depth": 1}},
        "data": {"class_path": "TADData", "init_args": data},
    }
    trained(config)
    data["num_cells"] = 20
    Path("it.yaml").write_text(yaml.safe_dump({"trainer": TRAINER, **config}))
    assert told(capsys) == ("num_cells=16 from the checkpoint, 20 in the configuration", [])
    line = fails(capsys, "test", "-c", "it.yaml", "--ckpt_path=good.ckpt", "--data.num_cells=20")
    assert line == (
        "data.num_cells=20 (given in --data.num_cells), but the network of good.ckpt was trained with num_cells=16: "
        "use --data.num_cells=16"
    )
    data["num_cells"] = 16
    Path("it.yaml").write_text(yaml.safe_dump({"trainer": TRAINER, **config}))
    other = write_feature_set(tmp_path / "other", videos=8)
    (other / "features" / "features.json").write_text('{"fps": 4, "stride": 2, "clip": 2, "offset": 0}')
    line, said = told(capsys, "--data.root=other", "--data.sampling=null")
    assert line.startswith("sampling=None from your flag, {'")
    assert not [each for each in said if "sampling" in each], "told once"


def test_records_are_compared_setting_by_setting_or_as_a_whole():
    def phrases(saved, before, after, given=()):
        return differences(*({"data": {"x": each}} for each in (saved, before, after)), given)

    record = {"a": 1, "b": [1, 2]}
    assert phrases(record, None, None) == ["x=None from your flag, {'a': 1, 'b': [1, 2]} in the checkpoint"]
    assert phrases(None, record, record) == ["x={'a': 1, 'b': [1, 2]} from your flag, None in the checkpoint"]
    assert phrases(record, record, {"a": 1, "b": (3,)}) == ["x.b=[3] from your flag, [1, 2] in the checkpoint"]
    assert phrases(record, None, record) == []
    known = {**record, "structure": {"layers": 2}}  # of files, which no user gives
    assert phrases(known, {**record, "structure": None}, known) == []
    assert phrases(record, None, record, ["data.x"]) == [
        "x={'a': 1, 'b': [1, 2]} from the checkpoint, None in the configuration"
    ]
    assert phrases(record, {"a": 2, "b": (1, 2)}, record, ["data.x.a"]) == [
        "x.a=1 from the checkpoint, 2 in the configuration"
    ]
    assert phrases({}, {"a": 1}, {"a": 1}) == ["x={'a': 1} from your flag, {} in the checkpoint"]


def test_a_flag_may_set_a_value_inside_a_record_to_null(toy):
    argv = ["--model.optim.lr_reference_batch=512", "--model.optim.lr_reference_batch=null"]
    assert main(["fit", "-c", toy, "--trainer.max_steps=1", *argv]) == 0
    config = yaml.safe_load(Path("runs/toy/version_0/config.yaml").read_text())
    assert config["model"]["init_args"]["optim"]["lr_reference_batch"] is None


def test_an_empty_name_of_weights_is_refused(toy, capsys):
    line = fails(capsys, "fit", "-c", toy, "--init_from=")
    assert line == "init_from is empty (given in --init_from): name a file of weights, or leave it out"
