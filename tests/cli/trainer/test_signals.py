"""Signals to the trainer commands: status, last words, what is saved, and that nothing is left behind."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from command import finish, start, wait_for, wait_until_empty
from ends import classify, last_words
from long_tests import long

from vision_suite.cli import main

LAST = Path("runs/toy/version_0/checkpoints/last.ckpt")
SAVED_HINT = "go on from runs/toy/version_0/checkpoints/last.ckpt with: vision-suite fit --ckpt_path runs/toy/version_0"
STEPS = 12  # of an epoch
TWO = ["--trainer.devices=2", "--trainer.strategy=ddp", "--data.batch_size=2"]


@pytest.fixture
def toy(endless):
    return endless


def sending(name, hook="on_train_batch_start", step=0, rank=0):
    """Flags of a callback that sends a signal."""
    number = int(getattr(signal, name))
    given = {"number": number, "hook": hook, "step": step, "rank": rank}
    return ["--trainer.callbacks+=killer.SignalAt", *(f"--trainer.callbacks.{k}={v}" for k, v in given.items())]


def words(capsys):
    """The last words of a command that ran in this process."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vision-suite: ")]
    lines = [line for line in lines if not line.startswith("vision-suite: warning")]
    assert len(lines) == 1, lines
    return lines[0].removeprefix("vision-suite: ")


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), long("SIGINT", 130), long("SIGHUP", 129)])
def test_training_ends_at_once(toy, capsys, name, status):
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    assert main(["fit", "-c", "toy.yaml", *sending(name, step=STEPS + 2)]) == status
    assert words(capsys) == f"stopped by {name}; epoch 1, step {STEPS + 2}; {SAVED_HINT}"
    assert torch.load(LAST, weights_only=True)["global_step"] == STEPS
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)] == handlers


@pytest.mark.parametrize("hook", ["setup", long("on_fit_start")])
def test_before_training_every_signal_ends_at_once(toy, capsys, hook):
    assert main(["fit", "-c", "toy.yaml", *sending("SIGUSR1", hook)]) == 138
    assert words(capsys).startswith("stopped by SIGUSR1")
    assert not LAST.exists()


@pytest.mark.long
def test_evaluations_end_at_once(toy, capsys):
    assert main(["fit", "-c", "toy.yaml", "--trainer.max_epochs=1"]) == 0
    capsys.readouterr()
    for command, hook in (("test", "on_test_batch_start"), ("predict", "on_predict_batch_end")):
        flags = ["--ckpt_path", str(LAST), *sending("SIGUSR1", hook, step=0)]
        assert main([command, "-c", "toy.yaml", *flags]) == 138
        assert words(capsys).startswith("stopped by SIGUSR1")


@pytest.mark.long
def test_a_signal_at_the_end_of_an_epoch(toy, capsys):
    hook = sending("SIGTERM", "on_train_epoch_end", step=STEPS)
    assert main(["fit", "-c", "toy.yaml", *hook]) == 143
    assert words(capsys).startswith(f"stopped by SIGTERM; epoch 0, step {STEPS}")


def tensors(value, prefix=""):
    """Every tensor in a tree, by path."""
    if isinstance(value, torch.Tensor):
        return {prefix: value}
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return {name: tensor for key, part in parts for name, tensor in tensors(part, f"{prefix}/{key}").items()}


@pytest.mark.parametrize(
    ("flags", "sent", "saved"),
    [
        ([], STEPS + 2, STEPS + 3),  # at the end of the batch
        long([], 2 * STEPS - 1, 2 * STEPS),  # at the end of the epoch
        long(["--trainer.accumulate_grad_batches=2"], 4, 5),  # after the step of the optimiser
    ],
)
def test_usr1_saves_and_the_run_goes_on_exactly(toy, capsys, flags, sent, saved):
    flags = [*flags, "--trainer.max_epochs=3"]
    assert main(["fit", "-c", "toy.yaml", *flags, "--trainer.default_root_dir=whole"]) == 0
    capsys.readouterr()
    assert main(["fit", "-c", "toy.yaml", *flags, *sending("SIGUSR1", step=sent)]) == 138
    assert f", step {saved}; {SAVED_HINT}" in words(capsys)
    assert torch.load(LAST, weights_only=True)["global_step"] == saved
    assert main(["fit", "-c", "toy.yaml", *flags, "--ckpt_path=last"]) == 0
    whole, resumed = (
        torch.load(path, weights_only=True) for path in (Path("whole/toy/version_0/checkpoints/last.ckpt"), LAST)
    )
    for part in ("state_dict", "optimizer_states"):
        first, second = tensors(whole[part]), tensors(resumed[part])
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first), part
    assert whole["global_step"] == resumed["global_step"]


def test_signals_while_a_saved_run_ends_are_ignored(toy, capsys):
    more = sending("SIGTERM", "on_exception", step=3)
    assert main(["fit", "-c", "toy.yaml", *sending("SIGUSR1", step=2), *more]) == 138
    assert f"stopped by SIGUSR1; epoch 0, step 3; {SAVED_HINT}" in words(capsys)
    assert json.loads((LAST.parents[1] / "run.json").read_text())["status"] == "stopped"


@pytest.mark.long
def test_usr1_in_the_last_epoch_end_is_a_finished_run(toy):
    assert main(["fit", "-c", "toy.yaml", "--trainer.max_epochs=1", *sending("SIGUSR1", step=STEPS - 1)]) == 0


@pytest.mark.long
def test_usr1_without_checkpoints_ends_at_once(toy, capsys):
    flags = ["--trainer.enable_checkpointing=false", *sending("SIGUSR1", step=2)]
    assert main(["fit", "-c", "toy.yaml", *flags]) == 138
    assert ", step 2" in words(capsys)


@pytest.mark.parametrize(
    ("environment", "status", "called", "said"),
    [
        ({"SLURM_JOB_ID": "41"}, 0, "requeue 41", "SLURM job 41 is requeued"),
        long(
            {"SLURM_JOB_ID": "41", "SLURM_ARRAY_JOB_ID": "40", "SLURM_ARRAY_TASK_ID": "7"},
            3,
            "requeue 40_7",
            "SLURM job 40_7 could not be requeued (status 3: no such job): run scontrol requeue 40_7",
        ),
        long({"SLURM_JOB_ID": "41", "SLURM_JOB_NAME": "bash"}, 0, None, None),
        long(
            # Lightning recognises the job and would install handlers of its own.
            {
                "SLURM_JOB_ID": "41",
                "SLURM_NTASKS": "1",
                "SLURM_PROCID": "0",
                "SLURM_LOCALID": "0",
                "SLURM_NODEID": "0",
                "SLURM_JOB_NAME": "train",
            },
            0,
            "requeue 41",
            "SLURM job 41 is requeued",
        ),
    ],
)
def test_a_slurm_job_is_requeued(toy, capsys, monkeypatch, environment, status, called, said):
    programs = toy / "programs"
    programs.mkdir()
    (programs / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {toy}/calls\necho no such job >&2\nexit {status}\n')
    (programs / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["fit", "-c", "toy.yaml", *sending("SIGUSR1", step=2)]) == 138
    line = words(capsys)
    assert LAST.exists()
    calls = (toy / "calls").read_text() if (toy / "calls").exists() else None
    assert calls == (None if called is None else f"{called}\n"), "once, and after the checkpoint"
    assert (said in line) if said else ("SLURM" not in line)


@pytest.mark.long
def test_a_missing_scontrol_is_told(toy, capsys, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert main(["fit", "-c", "toy.yaml", *sending("SIGUSR1", step=2)]) == 138
    assert "could not be requeued" in words(capsys)


@pytest.mark.long
@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", 130), ("SIGUSR1", 138)])
def test_a_signal_to_the_whole_group_with_loader_workers(toy, name, status):
    process = start(toy, "fit", "-c", "toy.yaml", "--data.num_workers=2")
    wait_for(process, toy / LAST)
    os.killpg(process.pid, getattr(signal, name))
    done = finish(process)
    assert (done.returncode, classify(done)) == (status, "signal"), done.stderr
    assert last_words(done).startswith(f"stopped by {name}; epoch ")
    assert "worker" not in done.stderr
    wait_until_empty(process.pid)


@pytest.mark.dist
@pytest.mark.parametrize(
    ("flags", "status", "said"),
    [
        long(sending("SIGUSR1", step=STEPS + 1, rank=1), 138, "stopped by SIGUSR1; epoch 1, step "),
        long(sending("SIGTERM", step=STEPS + 1), 143, "stopped by SIGTERM; epoch 1, step "),
        long(
            ["--trainer.callbacks+=killer.FailAt", "--trainer.callbacks.step=7", "--trainer.callbacks.rank=1"],
            70,
            "the process of rank 1 ended with status 70",
        ),
    ],
)
def test_two_processes_end_together(toy, flags, status, said):
    process = start(toy, "fit", "-c", "toy.yaml", *TWO, *flags)
    done = finish(process)
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    if status != 70:
        assert last_words(done).startswith(said)
    if status == 138:
        assert torch.load(toy / LAST, weights_only=True)["global_step"] % STEPS
    assert "Traceback" not in done.stderr
    wait_until_empty(process.pid)
