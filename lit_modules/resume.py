"""Settings of a resumed run against those of its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from vision_suite.errors import ConfigError
from vision_suite.optim import OptimConfig
from vision_suite.optim_resume import Plan, apply_settings, options_of
from vision_suite.records import as_record
from vision_suite.renamed import renamed_class, with_new_names

if TYPE_CHECKING:
    from vision_suite.lit_modules.base import LitBase

# Without it nothing is fetched that the checkpoint would replace anyway: a run resumes where nothing can be fetched.
MAY_BE_SWITCHED_OFF = ("pretrained",)


class Resumed:
    """Optimiser and schedule of a run whose states come from a checkpoint.

    Args:
        optimizer: Optimiser, before the checkpoint's state is loaded.
        schedule: Its schedule.
        now: Present settings.
        saved: Settings of the checkpoint.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, schedule: LambdaLR, now: Plan, saved: Plan) -> None:
        self.optimizer, self.schedule, self.now, self.saved = optimizer, schedule, now, saved
        self.options = options_of(optimizer)

    def apply(self, step: int, epoch: int) -> str | None:
        """See `vision_suite.optim_resume.apply_settings`; to be called after the states were loaded."""
        return apply_settings(self.optimizer, self.schedule, self.options, self.now, self.saved, step=step, epoch=epoch)


def saved_plan(checkpoint: Mapping[str, Any]) -> Plan | None:
    """The settings with which a checkpoint's run trained; of an older file those of its hyper-parameters, or None."""
    if "optim" in checkpoint:
        return Plan.from_plain(checkpoint["optim"])
    settings = checkpoint.get("hyper_parameters", {}).get("optim")
    return None if settings is None else Plan(as_record(OptimConfig, settings, "optim"))


def check_start_only(module: LitBase, checkpoint: Mapping[str, Any]) -> None:
    """Refuse other values of settings that count only when a run starts.

    Args:
        module: Module of the resumed run.
        checkpoint: Contents of the checkpoint.

    Raises:
        ConfigError: A value differs.
    """
    stored = with_new_names(renamed_class(type(module)), checkpoint.get("hyper_parameters") or {})
    for name in module.start_only:
        old, new = _setting(stored, name), _setting(module.hparams, name)
        # A setting that one side does not name has its default there.
        if old is None or new is None or old == new or (name in MAY_BE_SWITCHED_OFF and not new):
            continue
        raise ConfigError(
            f"--model.{name}={new}: the checkpoint's run started with {old}, and the setting counts only when a run "
            "starts: leave it out, or start a new run"
        )


def _setting(settings: object, name: str) -> object:
    """A value by its dotted name, None if there is none."""
    for part in name.split("."):
        if not isinstance(settings, Mapping) or part not in settings:
            return None
        settings = settings[part]
    return list(settings) if isinstance(settings, tuple) else settings
