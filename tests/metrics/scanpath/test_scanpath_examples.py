"""The examples in the docstrings of scanpath metrics and losses run and print what they show."""

import doctest
import importlib
import inspect

import pytest

from vision_suite.losses import scanpath as losses
from vision_suite.metrics import scanpath as metrics

FUNCTIONS = [getattr(metrics, name) for name in metrics.__all__ if inspect.isfunction(getattr(metrics, name))]
FUNCTIONS += [losses.next_fixation_loss, losses.log_normal_nll, losses.scanpath_loss]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_every_public_function_has_an_example(function):
    assert ">>>" in function.__doc__


@pytest.mark.parametrize("module", sorted({function.__module__ for function in FUNCTIONS}))
def test_examples_print_what_they_show(module):
    found = doctest.testmod(importlib.import_module(module))
    assert found.attempted
    assert not found.failed
