"""Progress of the training in a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable

from jsonargparse import Namespace

from vision_suite.cli.trainer.checkpoint import Saved
from vision_suite.runs.record import FINISHED, Run

ENDS = ("trainer.max_", "trainer.min_", "trainer.limit_", "trainer.callbacks")  # settings that decide when a run ends


class NothingLeft(Exception):
    """Training has reached its end already: nothing is wrong, and there is nothing to do."""


def nothing_left(found: Saved, trainer: Namespace, run: Run | None, flags: Iterable[str]) -> None:
    """Say so where a checkpoint has reached the end of training.

    Args:
        found: The checkpoint.
        trainer: Trainer section of the configuration.
        run: Run that would be continued.
        flags: Dotted keys of the settings that flags give.

    Raises:
        NothingLeft: All epochs or steps are done; the message names the flag that adds some.
    """
    try:
        epochs = found.contents["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
        steps = found.contents["global_step"]
    except (KeyError, TypeError):
        return  # saved without loops: Lightning says what it lacks
    most_epochs, most_steps = trainer.get("max_epochs"), trainer.get("max_steps")
    name = found.path if run is None else run.folder
    if most_epochs is not None and 0 <= most_epochs <= epochs:
        done, flag = f"epoch {epochs} of {most_epochs}", "max_epochs"
    elif most_steps is not None and 0 <= most_steps <= steps:
        done, flag = f"step {steps} of {most_steps}", "max_steps"
    elif run is not None and run.status == FINISHED and not any(key.startswith(ENDS) for key in flags):
        # Stopped early, or out of time.
        done, flag = f"epoch {run.record.get('epoch')}, ended by a callback or a limit", "max_epochs"
    else:
        return
    raise NothingLeft(f"{name} has come to its end ({done}): nothing is left to train; --trainer.{flag} adds more")
