"""The examples in docstrings of losses and metrics give what they show."""

import doctest
import importlib
import pkgutil

import pytest
import torch
from torchmetrics import Metric

import vision_suite.losses
import vision_suite.metrics

NAMES = sorted(
    module.name
    for package in (vision_suite.losses, vision_suite.metrics)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
)


@pytest.mark.parametrize("name", NAMES)
def test_examples_give_what_they_show(name):
    torch.manual_seed(0)
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_every_metric_has_an_example():
    modules = [importlib.import_module(name) for name in NAMES]
    kinds = {kind for module in modules for kind in vars(module).values() if isinstance(kind, type)}
    ours = [kind for kind in kinds if issubclass(kind, Metric) and kind.__module__.startswith("vision_suite.")]
    assert ours
    assert [kind.__name__ for kind in ours if ">>>" not in (kind.__doc__ or "")] == []
