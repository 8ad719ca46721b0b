"""A sweep on Ray Tune, in a local cluster of two workers: the points and folders of a sweep without Ray."""

import json

import pytest
from light_sweeps import ends, events, sweep, table, wait_until_none_is_left, write_sweep

from vision_suite.errors import MissingDependencyError
from vision_suite.sweeps import cluster

PARAMETERS = {"x": {"min": 0.0, "max": 1.0}, "steps": {"value": 2}}


def entries(folder):
    """Files of each trial, without those that only a running one has."""
    return {
        path.name: {file.name for file in path.iterdir()} - {"keeper.json"}
        for path in sorted((folder / "runs/sweeps/light").glob("trial-*"))
        if path.is_dir()
    }


@pytest.mark.slow
@pytest.mark.dist
def test_points_and_folders_are_the_same(tmp_path):
    pytest.importorskip("ray")
    pytest.importorskip("ray.tune", reason="pip install 'vision-suite[ray]'")
    for name in ("here", "ray"):
        (tmp_path / name).mkdir()
        write_sweep(tmp_path / name, method="random", run_cap=4, parameters=PARAMETERS)
    done = sweep(tmp_path / "here", "run", "light.yaml")
    assert done.returncode == 0, done.stderr
    done = sweep(tmp_path / "ray", "run", "light.yaml", "--ray=local", "--slots=2")
    assert done.returncode == 0, done.stderr
    assert table(tmp_path / "ray") == table(tmp_path / "here")
    assert ends(tmp_path / "ray") == dict.fromkeys(range(1, 5), "finished")
    assert entries(tmp_path / "ray") == entries(tmp_path / "here")
    for number in range(1, 5):
        file = f"runs/sweeps/light/trial-{number:04d}/args.json"
        assert json.loads((tmp_path / "ray" / file).read_text()) == json.loads((tmp_path / "here" / file).read_text())
    lines = (tmp_path / "ray/ledger.txt").read_text().splitlines()
    assert len(lines) == 4, "trials run in the folder that the command was given in"
    order = [(event["event"], event["trial"]) for event in events(tmp_path / "ray") if "trial" in event]
    second = order.index(("start", 2))
    assert second < order.index(("end", 1)), "two workers at once"
    wait_until_none_is_left(tmp_path / "ray", 20)


def test_ray_is_asked_for_by_its_extra(monkeypatch):
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda name: None)
    with (
        pytest.raises(MissingDependencyError, match=r"vision-suite\[ray\]"),
        cluster._cluster("local", 2),
    ):
        raise AssertionError("it was entered")
