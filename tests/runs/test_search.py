"""The run that ``last`` means."""

import pytest

from vision_suite.errors import CheckpointError
from vision_suite.runs.record import RunFile
from vision_suite.runs.search import Experiment, newest, only_experiment, run_of, runs_below, runs_of

A, B = Experiment("dcal/a", "1", "dcal/a"), Experiment("/home/me/b.yaml", "2", "b")


def make(folder, experiment, started, *, command="fit", checkpoint=True):
    folder.mkdir(parents=True)
    named = {} if experiment is None else {"experiment": experiment.name}
    record = {"command": command, "command_line": [], "status": "finished", "started": started, **named}
    RunFile(folder, record, "")
    if checkpoint:
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints/last.ckpt").touch()
    return folder


def test_runs_of_one_experiment_only(tmp_path):
    first = make(tmp_path / "dcal/a/version_0", A, "1")
    make(tmp_path / "dcal/a/version_1", B, "2")
    make(tmp_path / "dcal/a/version_2", A, "3", command="test")
    later = make(tmp_path / "elsewhere/x", A, "4")
    assert [run.folder for run in runs_of(A, [tmp_path])] == [first, later]
    assert newest(runs_of(A, [tmp_path]), "last", A.name, [tmp_path]).folder == later


def test_runs_of_earlier_versions_are_found_by_their_folder(tmp_path):
    """Their records name no experiment."""
    old = make(tmp_path / "dcal/a/version_0", None, "1")
    make(tmp_path / "dcal/c/version_0", None, "2")
    weights_and_biases = make(tmp_path / "project/h3x", None, "3")
    assert [run.folder for run in runs_of(A, [tmp_path])] == [old]
    assert [run.folder for run in runs_of(A, [tmp_path], [tmp_path / "project"])] == [old, weights_and_biases]


def test_a_newer_run_without_a_checkpoint_is_not_passed_over(tmp_path):
    older = make(tmp_path / "dcal/a/version_0", A, "1")
    make(tmp_path / "dcal/a/version_1", A, "2", checkpoint=False)
    with pytest.raises(
        CheckpointError, match=rf"version_1 \(finished\), has no checkpoint yet: .* --ckpt_path {older}"
    ):
        newest(runs_of(A, [tmp_path]), "last", A.name, [tmp_path])
    with pytest.raises(CheckpointError, match="start again without --ckpt_path"):
        newest(runs_of(A, [tmp_path])[1:], "last", A.name, [tmp_path])


def test_no_run_names_the_experiments_there_are(tmp_path):
    make(tmp_path / "b/version_0", B, "1")
    with pytest.raises(
        CheckpointError, match=r"no training run of dcal/a below .* \(there are runs of /home/me/b.yaml\)"
    ):
        newest(runs_of(A, [tmp_path]), "last", A.name, [tmp_path])


def test_without_a_name_the_only_experiment(tmp_path):
    with pytest.raises(CheckpointError, match="no training run below"):
        only_experiment([tmp_path / "nowhere"], "last")
    make(tmp_path / "dcal/a/version_0", A, "1")
    make(tmp_path / "dcal/a/version_1", A, "2")
    assert [run.started for run in only_experiment([tmp_path], "last")] == ["1", "2"]
    make(tmp_path / "b/version_0", B, "3")
    make(tmp_path / "c/d/version_0", None, "4")
    with pytest.raises(CheckpointError, match=r"3 experiments below .* \(dcal/a, /home/me/b.yaml, \S+/c/d\)"):
        only_experiment([tmp_path], "last")


def test_a_folder_inside_a_run_is_no_run(tmp_path):
    run = make(tmp_path / "dcal/a/version_0", A, "1")
    make(run / "test", A, "2")
    make(tmp_path / ".hidden/x", A, "3")
    make(tmp_path / "wandb/x", A, "4")
    assert [found.folder for found in runs_below([tmp_path])] == [run]
    assert runs_below([run])[0].folder == run


def test_the_run_of_a_checkpoint(tmp_path):
    run = make(tmp_path / "dcal/a/version_0", A, "1")
    assert run_of(run / "checkpoints/last.ckpt").folder == run
    assert run_of(tmp_path / "last.ckpt") is None
