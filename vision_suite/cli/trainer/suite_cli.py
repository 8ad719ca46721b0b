"""LightningCLI with this suite's base classes, defaults, links and checkpoint precedence.

Precedence of a model setting, weakest first: default, configuration files, checkpoint, flags. The private parts of
Lightning that are replaced here stand in `vision_suite.cli.trainer.lightning_parts`.
"""

from __future__ import annotations

import sys
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from jsonargparse import Namespace, get_loader, set_loader
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities import rank_zero_only

from vision_suite import __version__
from vision_suite.callbacks.csv_log import kept
from vision_suite.callbacks.run_record import RunRecord
from vision_suite.cli import TRAINER_COMMANDS
from vision_suite.cli.configs import experiment_name
from vision_suite.cli.trainer import arguments
from vision_suite.cli.trainer.checkpoint import WORDS, SavedModel, find, saved_model
from vision_suite.cli.trainer.classes import with_present_paths
from vision_suite.cli.trainer.links import Links, OwnLinks
from vision_suite.cli.trainer.messages import explain
from vision_suite.cli.trainer.old_names import renamed_arguments
from vision_suite.cli.trainer.restore import check_fits, inline
from vision_suite.cli.trainer.runs import RUNS, continue_run, place_loggers, run_folders
from vision_suite.cli.trainer.vocabulary import ParserNames
from vision_suite.datasets.base import BaseData
from vision_suite.errors import ConfigError, SuiteError
from vision_suite.lit_modules.base import LitBase

PARSER_MODE = "vision_suite"
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
        self.links = Links(list(arguments.settings(argv)))
        self.own_callbacks = list(callbacks)
        self.saved: SavedModel | None = None
        self.taken: dict[str, Any] = {}
        files = arguments.config_files(argv)
        set_loader(PARSER_MODE, read_config, (yaml.YAMLError,))
        common = {"exit_on_error": False, "allow_abbrev": False, "parser_mode": PARSER_MODE}
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
                **common,
                **{command: common for command in TRAINER_COMMANDS},
            },
            args=self.argv,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link the facts of the data to the model's arguments of the same names."""
        for name in self.links.names:
            parser.link_arguments(
                f"data.{name}", f"model.init_args.{name}", compute_fn=self._linked(name), apply_on="instantiate"
            )

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        """Build a command's parser with the suite's defaults of the command's own arguments."""
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        parser.set_defaults({"weights_only": True})  # a checkpoint never runs code
        if subcommand == "predict":
            parser.set_defaults({"return_predictions": False})  # they are written as they come, not held in memory
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse the prepared list; unlike the base class, never read the process's own arguments.

        Raises:
            ConfigError: The parser's complaint, in one line with the nearest names.
        """
        try:
            self.config = parser.parse_args(self.argv)
        except ArgumentError as error:
            names = ParserNames(self._subcommand_parsers[self.argv[0]])
            raise ConfigError(explain(str(error), names)) from error
        place_loggers(self.section.trainer, self.given)

    def _parse_ckpt_path(self) -> None:
        """Let the checkpoint's settings beat files and defaults, and flags beat the checkpoint.

        Replaces Lightning's method of the same name, in which the checkpoint beats flags too.
        """
        word = self.section.get("ckpt_path")
        if not word or word in ("hpc", "registry"):
            return
        path = find(word, run_folders(self.section.trainer)) if word in WORDS else Path(word)
        class_path, before = self.section.model.class_path, flat(self.section.model.init_args)
        saved = self.saved = saved_model(path, class_path)
        check_fits(saved, class_path)
        settings = {name: value for name, value in saved.settings.items() if name not in self.links.names}
        config = {"model": {"class_path": class_path, "init_args": settings}}
        self.argv = arguments.insert_config(self.argv, inline(config, path))
        self.parse_arguments(self.parser, self.argv)
        after = flat(self.section.model.init_args)
        self.taken = {
            name: value for name, value in after.items() if name not in self.links.names and before.get(name) != value
        }
        self.section.ckpt_path = str(path)
        if word == "last" and self.config.subcommand == "fit":
            continue_run(self.section.trainer, path.parents[1], self.given)

    @property
    def section(self) -> Namespace:
        """The configuration of the command."""
        chosen: Namespace = self.config[self.config.subcommand]
        return chosen

    def before_instantiate_classes(self) -> None:
        """Refuse mistakes that the parser accepts silently.

        These are a value for a setting that the data decides, and pictures of another size than the network's.
        """
        for name in self.links.names:
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
        """Build data, model and trainer; an error of the suite inside a link comes out as it is."""
        try:
            super().instantiate_classes()
        except ValueError as error:
            if isinstance(error.__cause__, SuiteError) and not isinstance(error, SuiteError):
                raise error.__cause__ from None
            raise

    def after_instantiate_classes(self) -> None:
        """Print in one line what the checkpoint decided, or that there is none where one is expected."""
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
        config["logger"] = kept(config["logger"])
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
        """Record hyper-parameters as Lightning does, but only those linked values that the class takes."""
        self.parser.add_instantiator(OwnLinks(cli=self, key="model"), LitBase, subclasses=True)
        self.parser.add_instantiator(OwnLinks(cli=self, key="data"), BaseData, subclasses=True)

    def _linked(self, name: str) -> Callable[[Value], Value]:
        """The function that computes a linked setting from the datamodule's fact."""

        def value_for(from_data: Value) -> Value:
            value = self.links.value(name, from_data, self.saved, training=self.config.subcommand == "fit")
            if value != from_data:
                self.taken[name] = value
            return value

        return value_for


def read_config(text: str) -> Any:
    """Text read as YAML, with class paths of earlier versions replaced by present ones."""
    return with_present_paths(get_loader("yaml")(text))


def last_checkpoint() -> ModelCheckpoint:
    """A checkpoint ``last.ckpt``, replaced at the end of every training epoch.

    ``save_last`` alone does not promise that: with a monitored metric it writes only when the metric improves.
    """
    return ModelCheckpoint(filename="last", save_on_train_epoch_end=True, enable_version_counter=False)


def flat(section: Namespace) -> dict[str, Any]:
    """The leaves of a section by dotted name."""
    return {name.replace(".init_args", ""): value for name, value in vars(section.as_flat()).items()}


@rank_zero_only
def say(line: str) -> None:
    """Print a line, once in a group of processes."""
    print(line, flush=True)


@rank_zero_only
def warn(line: str) -> None:
    """Print a warning on stderr, once in a group of processes."""
    print(f"vision-suite: warning: {line}", file=sys.stderr)
