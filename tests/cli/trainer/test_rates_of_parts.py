"""Factors on the rates of parts, given as flags: applied, stored, and told when a run goes on with others."""

from pathlib import Path

import pytest
import torch
import yaml
from one_line import fails

from vision_suite.cli import main

RUN = Path("runs/toy/version_0")


def stored_rates():
    """Peak rate and number of parameters of each group in the run's checkpoint."""
    (state,) = torch.load(RUN / "checkpoints/last.ckpt", weights_only=True)["optimizer_states"]
    return sorted((round(group["initial_lr"], 9), len(group["params"])) for group in state["param_groups"])


def test_factors_as_flags(toy, caplog):
    flags = ["--model.optim.schedule=constant", "--model.optim.lr_factors={weight: 0.5, hidden: 0.1}"]
    assert main(["fit", "-c", toy, *flags]) == 0
    # hidden.weight is of both parts, and the innermost one counts; head.weight is of one and head.bias of none.
    assert stored_rates() == [(0.001, 1), (0.005, 2), (0.01, 1)]
    config = yaml.safe_load((RUN / "config.yaml").read_text())["model"]["init_args"]
    assert config["optim"]["lr_factors"] == {"weight": 0.5, "hidden": 0.1}
    caplog.clear()
    again = ["fit", "-c", toy, "--ckpt_path=last", "--trainer.max_epochs=2"]
    assert main(again) == 0
    assert "trained to epoch 2" in caplog.text
    assert "resumed at step" not in caplog.text
    assert stored_rates() == [(0.001, 1), (0.005, 2), (0.01, 1)]
    more = ["--trainer.max_epochs=3", "--model.optim.lr_factors={hidden: 2.0}"]
    assert main(["fit", "-c", toy, "--ckpt_path=last", *more]) == 0
    (line,) = [line for line in caplog.messages if line.startswith("resumed at step")]
    assert "optim.lr_factors={'hidden': 2.0} (was {" in line
    assert stored_rates() == [(0.01, 1), (0.01, 1), (0.02, 1), (0.02, 1)]


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("{hiden: 0.1}", "optim.lr_factors: 'hiden' names no part of the network"),
        ("{hidden: 0}", "lr_factors.hidden=0.0 must be a finite number above 0"),
        ("{hidden: fast}", "lr_factors"),
    ],
)
def test_a_mistake_is_one_line(toy, capsys, value, line):
    assert line in fails(capsys, "fit", "-c", toy, f"--model.optim.lr_factors={value}")
