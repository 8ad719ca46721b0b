"""Parts of Lightning that the suite replaces or relies on, as they were read.

Lightning promises nothing about private names. A test compares each part with the installed version and fails with the
names of those that changed: compare them with their use here, then store the new version and digest.
"""

from __future__ import annotations

import hashlib
import inspect
import pkgutil
from dataclasses import dataclass

READ_IN = "2.6.6"


@dataclass(frozen=True)
class Part:
    """A function of Lightning.

    Attributes:
        name: Dotted name of the function.
        digest: First 16 digits of the SHA-256 of its source in version `READ_IN`.
        use: Use that the suite makes of it.
    """

    name: str
    digest: str
    use: str

    def installed_digest(self) -> str:
        """The digest of the source in the installed version; the reason in brackets if it has no such function."""
        try:
            source = inspect.getsource(pkgutil.resolve_name(self.name))
        except (AttributeError, ImportError) as error:
            return f"({error})"
        return hashlib.sha256(source.encode()).hexdigest()[:16]


PARTS = (
    Part(
        "pytorch_lightning.cli.LightningCLI._parse_ckpt_path",
        "9c48f812abdba883",
        "replaced: flags beat the checkpoint",
    ),
    Part(
        "pytorch_lightning.cli.LightningCLI._prepare_subcommand_parser",
        "f8dd35019fc11fa4",
        "extended: defaults of the commands' own arguments",
    ),
    Part(
        "pytorch_lightning.cli.LightningCLI._add_subcommands",
        "c1156fb114742aca",
        "relied on: it keeps the parsers in _subcommand_parsers",
    ),
    Part(
        "pytorch_lightning.cli.LightningCLI._instantiate_trainer",
        "fb0a321f9f407d93",
        "extended: the callbacks of every run",
    ),
    Part(
        "pytorch_lightning.cli.LightningCLI._add_instantiators",
        "21a40c6fecfae243",
        "replaced: instantiators of a class of the suite",
    ),
    Part(
        "pytorch_lightning.cli._InstantiatorFn.__call__",
        "40d63e5e45dfdbdd",
        "extended: only linked values that a class takes become hyper-parameters",
    ),
    Part(
        "pytorch_lightning.cli.LightningCLI.parse_arguments",
        "0212af63be2c673c",
        "replaced: errors in one line, and never the process's own arguments",
    ),
    Part(
        "pytorch_lightning.cli.LightningCLI.instantiate_classes",
        "68ccc75b84764fdc",
        "extended: an error inside a link comes out as it is",
    ),
    Part(
        "pytorch_lightning.cli.SaveConfigCallback.setup",
        "ea5348cc7956ff16",
        "extended: the processes agree on the run's folder first",
    ),
    Part(
        "pytorch_lightning.utilities.model_helpers._restricted_classmethod_impl.__get__",
        "3a9561d6087b9a58",
        "relied on by LitBase: load_from_checkpoint stays a method of the class alone",
    ),
    Part(
        "pytorch_lightning.core.mixins.hparams_mixin.HyperparametersMixin._set_hparams",
        "a0f4cd18a23d9625",
        "relied on by LitBase: hyper-parameters in plain containers",
    ),
    Part(
        "pytorch_lightning.trainer.connectors.signal_connector._SignalConnector.register_signal_handlers",
        "cd4b642fd86bfc6f",
        "replaced: the command's own signal handlers stay",
    ),
    Part(
        "pytorch_lightning.trainer.connectors.signal_connector._SignalConnector.teardown",
        "adc8388942cc3edb",
        "relied on: it restores nothing where nothing was registered",
    ),
    Part(
        "pytorch_lightning.trainer.call._call_and_handle_interrupt",
        "e8fc47931d63cebb",
        "relied on: Stopped passes through, after the callbacks' on_exception",
    ),
    Part(
        "pytorch_lightning.strategies.launchers.subprocess_script._SubprocessScriptLauncher.launch",
        "401529edcc28ddb3",
        "replaced: the processes end together",
    ),
    Part(
        "pytorch_lightning.strategies.launchers.subprocess_script._SubprocessScriptLauncher._call_children_scripts",
        "1999295f64b0979c",
        "relied on: it keeps the processes in procs",
    ),
    Part(
        "pytorch_lightning.trainer.connectors.callback_connector._CallbackConnector._reorder_callbacks",
        "f51a9b5b58a16855",
        "relied on by SaveBeforeStop: checkpoint callbacks run last",
    ),
    Part(
        "pytorch_lightning.trainer.connectors.logger_connector.logger_connector._LoggerConnector.update_train_step_metrics",
        "44584c0c55de3464",
        "relied on by LogKeeper: the row of a step",
    ),
    Part(
        "pytorch_lightning.trainer.connectors.logger_connector.logger_connector._LoggerConnector.log_metrics",
        "ac6f000b838713fb",
        "relied on by LogKeeper: the row of an epoch",
    ),
    Part(
        "lightning_fabric.loggers.csv_logs._ExperimentWriter._check_log_dir_exists",
        "e1857e769882eb8d",
        "replaced by RowWriter: earlier files stay",
    ),
    Part(
        "lightning_fabric.loggers.csv_logs._ExperimentWriter._record_new_keys",
        "b9a8cbc7e985ae06",
        "relied on by RowWriter: the columns",
    ),
)


def changed_parts() -> list[str]:
    """A line for every part whose installed source differs from the one that was read."""
    found = [(part, part.installed_digest()) for part in PARTS]
    return [f"{part.name} ({part.use}) is now {now}" for part, now in found if now != part.digest]
