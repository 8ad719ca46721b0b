"""One tiny entry, made once; tests that change it work on a copy."""

import shutil

import hub_tiny
import pytest


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A hub with one entry of DCAL, and the checkpoint that it was made of."""
    folder = tmp_path_factory.mktemp("hub")
    path = hub_tiny.saved_before("dcal_reid", folder)
    hub_tiny.entry(path, folder / "hub")
    return folder / "hub", path


@pytest.fixture
def hub(made, tmp_path, monkeypatch):
    """The hub of a user, with a copy of that entry."""
    own = hub_tiny.as_user(monkeypatch, tmp_path)
    shutil.copytree(made[0], own, dirs_exist_ok=True)
    return own


@pytest.fixture
def folder(hub):
    """A copy of the entry."""
    return hub / hub_tiny.NAME
