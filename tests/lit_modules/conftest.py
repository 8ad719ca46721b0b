"""Coloured squares and a decoder of their words, for the modules of language models that read pictures."""

import instruct_tiny
import pytest


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    """Folder of conversations about coloured squares."""
    return instruct_tiny.write_squares(tmp_path_factory.mktemp("set") / "squares")


@pytest.fixture(scope="module")
def folder(squares, tmp_path_factory):
    """Folder of a small decoder of their words."""
    return instruct_tiny.write_decoder(squares, tmp_path_factory.mktemp("decoder"))


@pytest.fixture
def data(squares):
    """Their datamodule."""
    return instruct_tiny.squares(squares)
