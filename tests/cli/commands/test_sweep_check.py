"""``vision-suite sweep check``: every mistake in one line before anything starts, in little time."""

import pytest
import yaml
from jsonargparse import ArgumentParser
from long_tests import long
from pytorch_lightning import Trainer

from vision_suite.cli import main
from vision_suite.cli.trainer import sweep_values
from vision_suite.cli.trainer.suite_cli import SuiteCLI
from vision_suite.cli.trainer.sweep_values import check_values
from vision_suite.cli.trainer.vocabulary import class_defaults
from vision_suite.datasets.reid.data import ReIDData
from vision_suite.errors import ConfigError
from vision_suite.lit_modules.dcal import LitDCAL
from vision_suite.sweeps.probe import probe
from vision_suite.sweeps.settings import parse_sweep

FIT = ["vision-suite", "fit", "-c", "oat/grid"]
FACTS = ("num_classes", "num_cameras", "num_views")  # the data decide them
SMALL = [
    "--trainer.accelerator=cpu", "--data.train_scenes=32", "--data.batch_size=8", "--model.samples=1",
]  # fmt: skip


def over(parameters, command=None, **entries):
    words = [*FIT, "${args}"] if command is None else command
    return parse_sweep({"method": "random", "run_cap": 1, "parameters": parameters, "command": words, **entries})


@pytest.mark.parametrize(("parameters", "message"), [
    ({"model.optim.lrr": {"value": 0.1}}, "did you mean 'optim.lr'"),
    ({"trainer.max_epoch": {"value": 3}}, "did you mean 'trainer.max_epochs'"),
    ({"model.optim.lr": {"values": [0.1, "fast"]}}, "expected float"),
    ({"model.encoder_layers": {"min": 1.0, "max": 4.0}}, "uniform draws floats, so choose int_uniform"),
    ({"model.encoder_layers": {"values": [1, 2.5]}}, "expected int"),
    ({"trainer.max_epochs": {"values": [1, -7]}}, "max_epochs=-7: give -1 or more"),
    ({"model.optim.schedule": {"values": ["cosine", "cosin"]}}, "expected cosine, constant or step"),
    ({"seed_everything": {"values": [1, -3]}}, "seed_everything=-3"),
    ({"trainer.gradient_clip_val": {"values": [1.0, None]}}, "${args_json_file}"),
    ({"model.optim": {"value": {"lr": "x"}}}, "lr"),
])  # fmt: skip
def test_mistakes_are_told_with_the_setting(parameters, message):
    with pytest.raises(ConfigError) as caught:
        check_values(over(parameters))
    text = str(caught.value)
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize(("command", "message"), [
    (["vision-suite", "fit", "${args}", "-c", "oat/grid"], "put ${args} at the end"),
    ([*FIT, "--model.optim.lr=0.3", "${args}"], "given twice"),
    (["vision-suite", "fit", "-c", "oat/gird", "${args}"], "did you mean 'oat/grid'"),
    (["vision-suite", "fit", "-c", "oat/grid", "--trainer.devces=1", "${args}"], "did you mean 'trainer.devices'"),
])  # fmt: skip
def test_mistakes_of_the_command(command, message):
    with pytest.raises(ConfigError) as caught:
        check_values(over({"model.optim.lr": {"value": 0.1}}, command))
    assert message in str(caught.value)


def test_flags_need_a_value():
    parameters = {"model.optim.decay_all": {"values": [True, False]}}
    with pytest.raises(ConfigError, match=r"gives model\.optim\.decay_all no value: use \$\{args\}"):
        check_values(over(parameters, [*FIT, "${args_no_boolean_flags}"]))


@pytest.mark.parametrize("command", [
    [*FIT, "${args}"],
    [*FIT, "${args_no_equals}"],
    [*FIT, "-c", "${args_json_file}"],
    ["${env}", "${interpreter}", "-m", "vision_suite", "fit", "-c", "oat/grid", "${args}"],
])  # fmt: skip
def test_right_files_in_all_spellings(command):
    parameters = {
        "model.encoder_layers": {"min": 1, "max": 3},
        "model.optim.lr": {"distribution": "log_uniform_values", "min": 1.0e-4, "max": 1.0e-2},
        "model.optim.betas": {"values": [[0.9, 0.99], [0.8, 0.9]]},
        "trainer.max_epochs": {"distribution": "q_uniform", "min": 2, "max": 10, "q": 2},
        "data": {"parameters": {"train_scenes": {"values": [16, 32]}}},
        "seed_everything": {"values": [1, 2]},
    }
    point = check_values(over(parameters, command))
    assert point["model"]["init_args"]["encoder_layers"] == 2


def test_null_and_nested_values_survive_as_json():
    parameters = {"trainer.gradient_clip_val": {"values": [1.0, None]}, "model.optim": {"value": {"weight_decay": 0.0}}}
    point = check_values(over(parameters, [*FIT, "-c", "${args_json_file}"]))
    assert point["model"]["init_args"]["optim"]["weight_decay"] == 0.0
    assert point["model"]["init_args"]["optim"]["name"] == "adam", "what the file sets is kept"


def test_another_program_is_not_parsed():
    assert check_values(over({"anything": {"value": 1}}, ["python", "train.py", "${args}"])) is None


def hundred():
    """A hundred settings of model, data and trainer: their defaults, and a range where that is a plain number."""
    found = {"trainer.max_epochs": {"min": 1, "max": 9}, "model.optim.lr": {"min": 0.1, "max": 0.5}}
    owners = {"model": LitDCAL, "data": ReIDData, "trainer": Trainer}
    for section, owner in owners.items():
        for name, value in class_defaults(owner).items():
            is_plain = type(value) in (int, float, bool, str) and name not in FACTS
            if is_plain and f"{section}.{name}" not in found:
                found[f"{section}.{name}"] = {"values": [value]}
    return dict(list(found.items())[:100])


def test_a_hundred_names_need_few_parses(monkeypatch):
    """All names are parsed together, once a value: name by name it would take minutes."""
    calls = {"whole": 0, "values": 0}
    whole, values = SuiteCLI.parse_arguments, ArgumentParser.parse_object

    def counted(name, function):
        def call(*args, **kwargs):
            calls[name] += 1
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(SuiteCLI, "parse_arguments", counted("whole", whole))
    monkeypatch.setattr(sweep_values, "ArgumentParser", type("Counted", (ArgumentParser,), {}))
    monkeypatch.setattr(sweep_values.ArgumentParser, "parse_object", counted("values", values))
    parameters = hundred()
    assert len(parameters) == 100
    check_values(over(parameters, ["vision-suite", "fit", "-c", "dcal/emoji_reid", "${args}"]))
    assert calls["whole"] == 1
    assert calls["values"] >= 5, "the ends and three quantiles of a distribution"
    assert calls["values"] < 40, "some are the parser's own, for records"


def test_the_command_reads_a_named_sweep(capsys):
    assert main(["sweep", "check", "sweeps/oat"]) == 0
    assert "bayes over 4 parameters: nothing is wrong" in capsys.readouterr().out


def test_mistakes_end_with_one_line_and_status_2(tmp_path, capsys):
    file = tmp_path / "s.yaml"
    file.write_text(yaml.safe_dump({"method": "grid", "paramters": {}}))
    assert main(["sweep", "check", str(file)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"{file}: unknown key 'paramters': did you mean 'parameters'" in err


@pytest.mark.parametrize(("metric", "logged"), [("val/nats_per_fixation", True), long("val/nats_per_fixations", False)])
def test_a_probe_sees_which_metrics_are_logged(metric, logged, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sweep = over({"model.optim.lr": {"value": 0.001}}, [*FIT, *SMALL, "${args}"], metric={"name": metric})
    if logged:
        assert {metric, "train/loss"} <= set(probe(sweep))
    else:
        with pytest.raises(ConfigError, match="did you mean 'val/nats_per_fixation'"):
            probe(sweep)
    assert not (tmp_path / "runs").exists()
