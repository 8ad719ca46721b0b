"""Each run gets a folder of its own."""

import multiprocessing
import os

import pytest

from vision_suite.errors import ConfigError
from vision_suite.runs.folders import claim, release


def test_numbers_go_on_behind_the_highest(tmp_path):
    (tmp_path / "version_7").mkdir()
    (tmp_path / "version_x").mkdir()
    (tmp_path / "other").mkdir()
    assert claim(tmp_path).name == "version_8"
    assert claim(tmp_path).name == "version_9"


def test_a_folder_in_use_is_kept(tmp_path):
    folder = claim(tmp_path / "a" / "b")
    (folder / "file").touch()
    release(folder)
    assert folder.is_dir()
    (folder / "file").unlink()
    release(folder)
    assert not folder.exists()
    release(folder)


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "runs").touch()
    with pytest.raises(ConfigError, match="runs/toy is no folder"):
        claim(tmp_path / "runs" / "toy")
    with pytest.raises(ConfigError, match="runs is no folder"):
        claim(tmp_path / "runs")


def _claim_at_once(parent, barrier, found):
    barrier.wait()
    found.put((os.getpid(), claim(parent).name))


def test_twenty_at_once_get_twenty_folders(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, found = context.Barrier(20), context.Queue()
    children = [context.Process(target=_claim_at_once, args=(tmp_path / "toy", barrier, found)) for _ in range(20)]
    for child in children:
        child.start()
    names = {found.get(timeout=60)[1] for _ in children}
    for child in children:
        child.join()
    assert names == {f"version_{number}" for number in range(20)}
