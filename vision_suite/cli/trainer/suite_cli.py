"""LightningCLI with this suite's base classes, defaults, links and checkpoint precedence.

Precedence of a model setting, weakest first: default, configuration files, checkpoint, flags.
"""

from __future__ import annotations

import sys
import warnings
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from jsonargparse import Namespace
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI, _InstantiatorFn
from pytorch_lightning.utilities import rank_zero_only

from vision_suite import __version__
from vision_suite.callbacks.run_record import RunRecord
from vision_suite.cli import TRAINER_COMMANDS
from vision_suite.cli.configs import experiment_name
from vision_suite.cli.trainer import arguments
from vision_suite.cli.trainer.checkpoint import WORDS, SavedModel, find, saved_model
from vision_suite.cli.trainer.messages import explain
from vision_suite.cli.trainer.old_names import renamed_arguments
from vision_suite.cli.trainer.vocabulary import ParserNames, class_settings
from vision_suite.datasets.base import BaseData
from vision_suite.errors import CheckpointError, ConfigError, SuiteError
from vision_suite.lit_modules.base import LitBase

RUNS = "runs"
# Facts of the training set that a model takes from the data module when its constructor has an argument of that name.
LINKED = (
    "num_classes", "num_cameras", "num_views", "in_channels", "num_cells", "num_positions", "max_length",
)  # fmt: skip
Value = TypeVar("Value")


class SuiteCLI(LightningCLI):
    """The trainer commands.

    Args:
        argv: Command and options, names of configurations already replaced by files.
        typed: Command and options as typed, for the record.
        callbacks: Callbacks that every run has, unless the configuration names one of the same class.
    """

    def __init__(self, argv: Sequence[str], typed: Sequence[str], callbacks: Sequence[Callback]) -> None:
        self.argv = renamed_arguments(argv)
        self.given = arguments.given_settings(argv)
        self.own_callbacks = list(callbacks)
        self.saved: SavedModel | None = None
        self.taken: dict[str, Any] = {}
        files = arguments.config_files(argv)
        strict = {"exit_on_error": False, "allow_abbrev": False}
        super().__init__(
            LitBase,
            BaseData,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            seed_everything_default=1,
            save_config_callback=RunRecord,
            save_config_kwargs={"save_to_log_dir": False, "command": ["vision-suite", *typed]},
            trainer_defaults={
                "default_root_dir": RUNS,
                "use_distributed_sampler": False,  # identity batches come from a sampler that knows its rank
                "logger": {
                    "class_path": "pytorch_lightning.loggers.CSVLogger",
                    "init_args": {"save_dir": RUNS, "name": experiment_name(files[0] if files else None)},
                },
            },
            parser_kwargs={
                "version": __version__,
                "prog": "vision-suite",
                **strict,
                **{command: strict for command in TRAINER_COMMANDS},
            },
            args=self.argv,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link what the data module knows to the model, and set the defaults of the commands' own arguments."""
        for name in LINKED:
            parser.link_arguments(
                f"data.{name}", f"model.init_args.{name}", compute_fn=self._linked(name), apply_on="instantiate"
            )

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        parser.set_defaults({"weights_only": True})  # a checkpoint never runs code
        if subcommand == "predict":
            parser.set_defaults({"return_predictions": False})  # they are written as they come, not held in memory
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse the prepared list; unlike the base class, never look at the process's own arguments.

        Raises:
            ConfigError: The parser's complaint, in one line with the nearest names.
        """
        try:
            self.config = parser.parse_args(self.argv)
        except ArgumentError as error:
            names = ParserNames(self._subcommand_parsers[self.argv[0]])
            raise ConfigError(explain(str(error), names)) from error
        self._place_loggers()

    def _parse_ckpt_path(self) -> None:
        """Let the checkpoint's settings beat files and defaults, and flags beat the checkpoint.

        Replaces Lightning's method of the same name, in which the checkpoint beats flags too.
        """
        word = self.section.get("ckpt_path")
        if not word or word in ("hpc", "registry"):
            return
        path = find(word, self._run_folders()) if word in WORDS else Path(word)
        class_path, before = self.section.model.class_path, flat(self.section.model.init_args)
        saved = self.saved = saved_model(path, class_path)
        self._check(saved, class_path)
        settings = {name: value for name, value in saved.settings.items() if name not in LINKED}
        config = {"model": {"class_path": class_path, "init_args": settings}}
        self.argv = arguments.insert_config(self.argv, inline(config, path))
        self.parse_arguments(self.parser, self.argv)
        after = flat(self.section.model.init_args)
        self.taken = {name: value for name, value in after.items() if name not in LINKED and before.get(name) != value}
        self.section.ckpt_path = str(path)
        if word == "last" and self.config.subcommand == "fit":
            self._continue_run(path.parents[1])

    @property
    def section(self) -> Namespace:
        """The configuration of the command."""
        chosen: Namespace = self.config[self.config.subcommand]
        return chosen

    def before_instantiate_classes(self) -> None:
        """Refuse what the parser would accept without a word.

        That is a value for a setting that the data module decides, and pictures of another size than the network's.
        """
        for name in LINKED:
            source = self.given.get(f"model.{name}")
            if source is not None:
                raise ConfigError(f"model.{name} (given in {source}) is decided by the data: remove it")
        model, data = (self.section[name].init_args.get("image_size") for name in ("model", "data"))
        if model is not None and data is not None and list(model) != list(data):
            where = f" (from {self.saved.path})" if self.saved is not None else ""
            raise ConfigError(
                f"model.image_size={list(model)}{where} but data.image_size={list(data)}: give both the same"
            )

    def instantiate_classes(self) -> None:
        """Build data, model and trainer; an error of our own inside a link comes out as it is."""
        try:
            super().instantiate_classes()
        except ValueError as error:
            if isinstance(error.__cause__, SuiteError) and not isinstance(error, SuiteError):
                raise error.__cause__ from None
            raise

    def after_instantiate_classes(self) -> None:
        """Say in one line what the checkpoint decided, or that there is none where one is expected."""
        if self.subcommand != "fit" and not self.section.get("ckpt_path"):
            warn(f"no --ckpt_path: {self.subcommand} runs with an untrained model")
        if self.saved is not None:
            values = ", ".join(f"{name}={value}" for name, value in self.taken.items())
            note = f"{values} (a flag overrides it)" if values else "no setting differs from the configuration"
            say(f"from checkpoint {self.saved.path}: {note}")

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        """Add the callbacks of every run, and a checkpoint at every epoch's end for ``--ckpt_path last``."""
        given = config["callbacks"] or []
        configured = given if isinstance(given, list) else [given]
        classes = {type(callback) for callback in configured}
        callbacks = [*callbacks, *(callback for callback in self.own_callbacks if type(callback) not in classes)]
        if self.subcommand == "fit" and config["enable_checkpointing"] is not False:
            callbacks.append(last_checkpoint())
        elif self.subcommand != "fit" and not any(isinstance(callback, Checkpoint) for callback in configured):
            config["enable_checkpointing"] = False  # else Lightning adds a checkpoint and warns of its folder
        try:
            return super()._instantiate_trainer(config, callbacks)
        except (ValueError, MisconfigurationException) as error:
            raise ConfigError(f"trainer: {error}") from error

    def _add_instantiators(self) -> None:
        """As Lightning's, but a link to an argument the model does not have leaves no trace in its checkpoints."""
        self.parser.add_instantiator(_OwnLinks(cli=self, key="model"), LitBase, subclasses=True)
        self.parser.add_instantiator(_OwnLinks(cli=self, key="data"), BaseData, subclasses=True)

    def _linked(self, name: str) -> Callable[[Value], Value]:
        """What computes a linked setting: the data module's value, or the trained model's when only evaluating."""

        def value_for(from_data: Value) -> Value:
            if self.saved is None or name not in self.saved.settings or self.saved.settings[name] == from_data:
                if name == "num_classes" and not from_data:
                    raise ConfigError(
                        "the data names no training classes: give --data.root, or the --ckpt_path of a trained model"
                    )
                return from_data
            kept: Value = self.saved.settings[name]
            if self.config.subcommand == "fit":
                raise CheckpointError(
                    f"{self.saved.path} was trained with {name}={kept}, but the data has {from_data}: "
                    "resume with the same data"
                )
            self.taken[name] = kept
            return kept

        return value_for

    def _check(self, saved: SavedModel, class_path: str) -> None:
        """Refuse a checkpoint of another class, or with settings that the class does not have."""
        if saved.class_path is not None and saved.class_path != class_path:
            raise CheckpointError(
                f"{saved.path} was saved by {saved.class_path}, but the model is {class_path}: "
                "choose the configuration of that run, or another checkpoint"
            )
        known = {name.split(".", 1)[0] for name in class_settings(class_path)}
        unknown = [name for name in saved.settings if name not in known and name not in LINKED]
        if unknown:
            raise CheckpointError(
                f"{saved.path} holds the setting '{unknown[0]}', which {class_path} of vision-suite {__version__} does "
                "not have: use the version named in the run.json of its run"
            )

    def _loggers(self) -> list[Namespace]:
        """The logger sections of the configuration."""
        chosen = self.section.trainer.logger
        found = chosen if isinstance(chosen, list) else [chosen]
        return [logger for logger in found if isinstance(logger, Namespace)]

    def _place_loggers(self) -> None:
        """Let loggers follow ``--trainer.default_root_dir`` unless their own folder was given."""
        root = self.section.trainer.default_root_dir
        for logger in self._loggers():
            if "save_dir" in logger.init_args and "trainer.logger.save_dir" not in self.given:
                logger.init_args.save_dir = root

    def _continue_run(self, folder: Path) -> None:
        """Resume in the run's own folder, so that its best checkpoints still count; earlier metrics are kept aside."""
        if folder.parent not in self._run_folders() or "trainer.logger.version" in self.given:
            return
        for logger in self._loggers():
            if "version" in logger.init_args:
                logger.init_args.version = folder.name
        keep_metrics(folder)

    def _run_folders(self) -> list[Path]:
        """Where earlier runs of this experiment lie."""
        trainer = self.section.trainer
        folders = [Path(trainer.default_root_dir) / "checkpoints"]
        for logger in self._loggers():
            init = logger.init_args
            name = init.get("project") or "lightning_logs" if "project" in init else init.get("name")
            folders.insert(0, Path(str(init.get("save_dir") or trainer.default_root_dir)) / str(name))
        return folders


class _OwnLinks(_InstantiatorFn):
    """Records as hyper-parameters only the linked values that the class takes."""

    def __call__(
        self, class_type: type[Value], *args: Any, applied_instantiation_links: dict[str, Any], **kwargs: Any
    ) -> Value:
        """Build the object."""
        taken = {key: value for key, value in applied_instantiation_links.items() if key.rsplit(".", 1)[-1] in kwargs}
        made: Value = super().__call__(class_type, *args, applied_instantiation_links=taken, **kwargs)
        return made


def last_checkpoint() -> ModelCheckpoint:
    """A checkpoint ``last.ckpt``, replaced at the end of every training epoch.

    ``save_last`` alone does not promise that: with a monitored metric it writes only when the metric improves.
    """
    return ModelCheckpoint(filename="last", save_on_train_epoch_end=True, enable_version_counter=False)


def flat(section: Namespace) -> dict[str, Any]:
    """The leaves of a section by dotted name."""
    return {name.replace(".init_args", ""): value for name, value in vars(section.as_flat()).items()}


def inline(config: dict[str, Any], path: Path) -> str:
    """A configuration as text for ``-c``.

    Raises:
        CheckpointError: The checkpoint holds a setting that is no plain value.
    """
    try:
        return yaml.safe_dump(config, default_flow_style=True, width=sys.maxsize).strip()
    except yaml.representer.RepresenterError as error:
        raise CheckpointError(f"{path} holds a setting that is not a plain value ({error}): save it again") from error


@rank_zero_only
def keep_metrics(folder: Path) -> None:
    """Rename ``metrics.csv`` to ``metrics-1.csv`` (``-2``, ...): the logger would delete it."""
    metrics = folder / "metrics.csv"
    if metrics.is_file():
        count = len(list(folder.glob("metrics-*.csv")))
        metrics.rename(folder / f"metrics-{count + 1}.csv")
    warnings.filterwarnings("ignore", message=".*Previous log files in this directory will be deleted.*")


@rank_zero_only
def say(line: str) -> None:
    """Print a line, once in a group of processes."""
    print(line, flush=True)


@rank_zero_only
def warn(line: str) -> None:
    """Print a warning on stderr, once in a group of processes."""
    print(f"vision-suite: warning: {line}", file=sys.stderr)
