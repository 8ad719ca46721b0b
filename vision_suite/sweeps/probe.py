"""A training of a sweep's middle point for one step and its validation, to see which metrics it logs."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from vision_suite.errors import ConfigError
from vision_suite.hints import did_you_mean
from vision_suite.runs.trial_log import NAME, read_values
from vision_suite.sweeps.command import here, trainer_options
from vision_suite.sweeps.events import SweepTrial
from vision_suite.sweeps.launch import OUTPUT, TrialSlot, environment_of, last_words, prepare_folder, words_of
from vision_suite.sweeps.settings import SweepFile

FLAGS = (
    "--trainer.max_epochs=1",
    "--trainer.max_steps=1",
    "--trainer.limit_train_batches=1",
    "--trainer.val_check_interval=1.0",
    "--trainer.check_val_every_n_epoch=1",
    "--trainer.num_sanity_val_steps=0",
    "--trainer.enable_progress_bar=false",
)


def probe(sweep: SweepFile) -> list[str]:
    """Names of the metrics that a trial logs; the sweep's own must be among them.

    Args:
        sweep: The sweep; another program than ``vision-suite fit`` is run as it is.

    Raises:
        ConfigError: The command fails, or the metric is not logged; the nearest names are told.
    """
    args = sweep.args([each.at(places[len(places) // 2]) for each in sweep.parameters for places in [each.places()]])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "probe"
        words = words_of(sweep, args, folder)
        prepare_folder(folder, SweepTrial(0, args), words)
        if trainer_options(words) is not None:
            words += FLAGS  # validation is whole: some metrics need all of a split, and some are of a later batch
        with (folder / OUTPUT).open("wb") as output:
            done = subprocess.run(
                here(words),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment_of(folder, TrialSlot(0, {})),
                check=False,
            )
        if done.returncode:
            raise ConfigError(f"the probe ended with status {done.returncode}: {last_words(folder)}")
        lines = read_values(folder / NAME)
    logged = list(dict.fromkeys(metric for line in lines for metric in line["metrics"]))
    wanted = None if sweep.metric is None else sweep.metric.name
    if wanted is not None and wanted not in logged:
        hint = did_you_mean(wanted, logged) or f": it logs {', '.join(logged) or 'nothing'}"
        raise ConfigError(f"metric.name={wanted}: a trial logs no such metric{hint}")
    return logged
