"""Examples in the docstrings of losses and metrics: they run, and every public function and class has one."""

import dataclasses
import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import is_typeddict

import pytest

from vision_suite import losses, metrics

MODULES = [
    module.name for room in (losses, metrics) for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}.")
]


def public(module: ModuleType) -> Iterator[tuple[str, object]]:
    """Functions and classes that a module defines; plain records of fields need no example of their own."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(value) or (
            inspect.isclass(value)
            and not (dataclasses.is_dataclass(value) or is_typeddict(value) or issubclass(value, Exception | tuple))
        ):
            yield f"{module.__name__}.{name}", value


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    module = importlib.import_module(name)
    report = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module):
        runner.run(test, out=report.append)
    assert not report, "".join(report)


def test_every_public_function_and_class_has_an_example():
    missing = [
        name
        for module in MODULES
        for name, value in public(importlib.import_module(module))
        if ">>> " not in (value.__doc__ or "")
    ]
    assert not missing, "no example in the docstring of\n" + "\n".join(missing)
