"""The real program in processes of its own, with the toy method at hand, and signals for it."""

import os
import signal
import subprocess
import sys
import time

import yaml
from folders import SUPPORT
from synthetic import write_market

MAX_EPOCHS = 400  # far more than any test needs, and a minute of work at the most
TRAINER = {
    "accelerator": "cpu",
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "log_every_n_steps": 1,
}
SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGTERM)


def write_toy(folder, train_ids=8, max_epochs=MAX_EPOCHS, **data):
    """Generated pictures and ``toy.yaml``, which trains until it is stopped, or for some epochs."""
    write_market(folder / "market", train_ids=train_ids, test_ids=2)
    given = {"root": "market", "image_size": [32, 16], "batch_size": 4, "num_instances": 2, "cache": "memory"}
    config = {
        "trainer": {**TRAINER, "max_epochs": max_epochs},
        "model": {"class_path": "toy_method.LitToy", "init_args": {"width": 6}},
        "data": {
            "class_path": "vision_suite.datasets.reid.data.ReIDData",
            "init_args": {"num_workers": 0, **given, **data},
        },
    }
    (folder / "toy.yaml").write_text(yaml.safe_dump(config))


def _default_signals():
    """A program in the background of a script inherits an ignored SIGINT."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def start(folder, *argv, **environment):
    """Start the program in a group of its own."""
    env = {**os.environ, "PYTHONPATH": str(SUPPORT), "OMP_NUM_THREADS": "1", "VISION_SUITE_DATA": str(folder / "cache")}
    return subprocess.Popen(
        [sys.executable, "-m", "vision_suite", *argv],
        cwd=folder,
        env={**env, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_default_signals,
    )


def finish(process, timeout=120):
    """Wait for the program; what it left."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"the command did not end:\n{out}\n{err}") from None
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def wait_for(process, path, timeout=120):
    """Wait until the program has written a file."""
    end = time.monotonic() + timeout
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.02)


def group(number):
    """Living processes of a group, zombies left out."""
    listed = subprocess.run(["ps", "-eo", "pgid,stat,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    return [row[2] for row in rows if row[0] == str(number) and not row[1].startswith("Z")]


def wait_until_empty(number, timeout=20):
    """Wait for the last process of a group; loader workers of a killed process look for it every five seconds."""
    end = time.monotonic() + timeout
    while left := group(number):
        assert time.monotonic() < end, left
        time.sleep(0.1)
