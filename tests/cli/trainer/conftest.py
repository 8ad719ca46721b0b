"""A place to run the trainer commands in, as a user would."""

import pytest
from command import write_toy


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder in which the toy method is known by its short name."""
    import killer  # noqa: F401  (short class names are found among imported classes)
    import toy_method  # noqa: F401

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def toy(place):
    """A configuration of the toy method that trains one epoch on generated data in the working folder."""
    write_toy(place, train_ids=4, max_epochs=1)
    return "toy.yaml"


@pytest.fixture
def endless(place):
    """A working folder with generated data and ``toy.yaml``, which trains until it is stopped."""
    write_toy(place)
    return place
