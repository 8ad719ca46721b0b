"""LightningCLI with this suite's base classes, defaults, links and checkpoint precedence.

Precedence of a setting of the model or of the data's preprocessing, weakest first: default, configuration files,
checkpoint, flags. The private parts of Lightning that are replaced here stand in
`vision_suite.cli.trainer.lightning_parts`.
"""

from __future__ import annotations

from argparse import ArgumentError
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import yaml
from jsonargparse import Namespace, get_loader, set_loader
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint, ProgressBar
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI

from vision_suite import __version__
from vision_suite.callbacks.csv_log import kept
from vision_suite.callbacks.last_checkpoint import LastCheckpoint
from vision_suite.callbacks.progress import progress
from vision_suite.callbacks.run_dir import assign_run_dir
from vision_suite.callbacks.run_record import RunRecord
from vision_suite.callbacks.stop import SaveBeforeStop
from vision_suite.checkpoints.contents import check_resumable
from vision_suite.checkpoints.lightning import ResumedOptimizers, use_suite_files
from vision_suite.cli import TRAINER_COMMANDS
from vision_suite.cli.trainer import arguments, init_from
from vision_suite.cli.trainer.checkpoint import Saved, saved
from vision_suite.cli.trainer.classes import with_present_paths
from vision_suite.cli.trainer.lines import say, warn
from vision_suite.cli.trainer.links import CheckedData, Links, OwnLinks
from vision_suite.cli.trainer.memory import with_largest_settings
from vision_suite.cli.trainer.messages import explain, name_whole_keys, refused_by_class
from vision_suite.cli.trainer.monitors import BestCheckpoint, MonitorCheck
from vision_suite.cli.trainer.old_names import renamed_arguments
from vision_suite.cli.trainer.processes import with_own_parts
from vision_suite.cli.trainer.progress import NothingLeft, nothing_left
from vision_suite.cli.trainer.ranges import check_loggers, check_ranges, check_seed
from vision_suite.cli.trainer.repeated import check_states, drop_repeated
from vision_suite.cli.trainer.restore import check_fits, differences, inline, refuse_other_fact
from vision_suite.cli.trainer.resume import RUNS, Start
from vision_suite.cli.trainer.runs import CSV_LOGGER, place_loggers, run_folder
from vision_suite.cli.trainer.tasks import check_task
from vision_suite.cli.trainer.vocabulary import ParserNames, find_class
from vision_suite.datasets.base import BaseData
from vision_suite.datasets.facts import same
from vision_suite.datasets.saved import other_preprocessing
from vision_suite.errors import CheckpointError, ConfigError, MemoryShortError, SuiteError
from vision_suite.faults import explained, is_foreseen, write_log
from vision_suite.lit_modules.base import LitBase
from vision_suite.runs.folders import occupy, release

PARSER_MODE = "vision_suite"
Value = TypeVar("Value")


class SuiteCLI(LightningCLI):
    """The trainer commands.

    Args:
        start: Options for the parser, and the run that the command goes on from.
        typed: Command and options as typed, for the record.
        callbacks: Callbacks that every run has, unless the configuration names one of the same class.

    Attributes:
        folder: Folder of the run, None before it is chosen and in all processes but the first.
    """

    def __init__(self, start: Start, typed: Sequence[str], callbacks: Sequence[Callback]) -> None:
        self.start = start
        self.argv = renamed_arguments(start.argv)
        self.given = start.typed
        settings = list(arguments.settings(start.argv))
        self.links = Links(settings)
        chosen = [each.value for each in settings if each.key == "model.task"]
        check_task(self.links.classes["model"], self.links.classes["data"], chosen[-1] if chosen else None)
        self.own_callbacks = list(callbacks)
        self.saved: Saved | None = None
        self.told: list[str] = []
        self.flagged: set[str] = set()  # settings of the data in which a flag beats the checkpoint
        self.folder: Path | None = None
        self.lock: BinaryIO | None = None
        set_loader(PARSER_MODE, read_config, (yaml.YAMLError,))
        common = {"exit_on_error": False, "allow_abbrev": False, "parser_mode": PARSER_MODE}
        try:
            super().__init__(
                LitBase,
                BaseData,
                subclass_mode_model=True,
                subclass_mode_data=True,
                auto_configure_optimizers=False,
                seed_everything_default=1,
                save_config_callback=RunRecord,
                save_config_kwargs={
                    "save_to_log_dir": False,
                    "identity": start.identity(typed),
                    "continues": start.continued is not None,
                },
                trainer_defaults={
                    "default_root_dir": RUNS,
                    "use_distributed_sampler": False,  # identity batches come from a sampler that knows its rank
                    "enable_model_summary": False,  # a line of our own tells the size
                    "logger": {"class_path": CSV_LOGGER, "init_args": {"save_dir": RUNS, "name": None}},
                },
                parser_kwargs={
                    "version": __version__,
                    "prog": "vision-suite",
                    **common,
                    **{command: common for command in TRAINER_COMMANDS},
                },
                args=self.argv,
            )
        except BaseException as error:
            self._leave_folder(error)
            self._complete(error)
            raise
        finally:
            self._unlock()

    def _unlock(self) -> None:
        """Let other processes train in the run's folder."""
        if self.lock is not None:
            self.lock.close()

    def _complete(self, error: BaseException) -> None:
        """Let an error name whole dotted keys, and one of memory the largest settings."""
        if not isinstance(error, Exception) or "config" not in vars(self):
            return
        settings = {name: self._settings(name) for name in ("model", "data")}
        if isinstance(error, ConfigError):
            name_whole_keys(error, settings)
        elif isinstance(explained(error), MemoryShortError):
            with_largest_settings(error, settings)

    def _settings(self, name: str) -> dict[str, Any]:
        """Arguments of the constructor of the model or the data, in plain containers."""
        init_args = self.section[name].get("init_args") if self.section.get(name) else None
        return init_args.as_dict() if init_args is not None else {}

    def _leave_folder(self, error: BaseException) -> None:
        """Remove the run's folder if the run never began; leave the traceback of an unforeseen error in it."""
        if self.folder is None:
            return
        if isinstance(error, Exception) and not isinstance(error, NothingLeft) and not is_foreseen(error):
            write_log(error, self.folder)
        elif self.start.continued is None:
            release(self.folder)

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
        init_from.add_argument(parser, subcommand)
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
            bare = arguments.without_value(self.argv) if "expected one argument" in str(error) else None
            raise ConfigError(explain(str(error), names) if bare is None else f"{bare}: no value is given") from error
        check_seed(self.section.get("seed_everything"))

    def _parse_ckpt_path(self) -> None:
        """Let the checkpoint's settings beat files and defaults, and flags beat the checkpoint.

        Replaces Lightning's method of the same name, in which the checkpoint beats flags too.
        """
        owner = find_class(self.section.model.class_path, LitBase)
        init_from.check(self.section, self.config.subcommand, self.given, owner)
        word = self.section.get("ckpt_path")
        if not word or word in ("hpc", "registry"):
            return
        class_path, data_path = self.section.model.class_path, self.section.data.class_path
        before = self._comparable()
        self.saved = found = saved(Path(word), class_path)
        if self.config.subcommand == "fit":
            check_resumable(found.contents, found.path)
        check_fits(found, class_path)
        model = {name: value for name, value in found.settings.items() if name not in self.links.names}
        stored = {"model": model, "data": found.preprocessing(data_path)}
        config = {name: {"class_path": self.section[name].class_path, "init_args": stored[name]} for name in stored}
        self.argv = arguments.insert_config(self.argv, inline(config, found.path))
        try:
            self.parse_arguments(self.parser, self.argv)
        except ConfigError as error:  # the options alone were right
            reason = str(error).removeprefix("--")
            raise CheckpointError(f"{found.path} holds a setting of a wrong type: {reason}") from error
        after = self._comparable()
        self.told = differences(stored, before, after, self.given)
        self.flagged = {name for name, value in stored["data"].items() if not same(value, after["data"].get(name))}
        if self.config.subcommand == "fit":
            flags = [key for key, source in self.given.items() if source.startswith("--")]
            nothing_left(found, self.section.trainer, self.start.continued, flags)

    def _comparable(self) -> dict[str, dict[str, Any]]:
        """The settings of model and data, without those of the model that the data decide."""
        model, data = (self.section[name].init_args.as_dict() for name in ("model", "data"))
        return {"model": {name: model[name] for name in model if name not in self.links.names}, "data": data}

    @property
    def section(self) -> Namespace:
        """The configuration of the command."""
        chosen: Namespace = self.config[self.config.subcommand]
        return chosen

    def before_instantiate_classes(self) -> None:
        """Refuse mistakes that the parser accepts silently, then take the run's folder.

        The mistakes are a value for a setting that the data decides, and pictures of another size than the network's.
        """
        for line in drop_repeated(self.section.trainer):
            warn(line)
        check_ranges(self.section, self.config.subcommand, self.links.classes)
        check_loggers(self.section.trainer)
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
        trainer, start = self.section.trainer, self.start
        # As it was given: folder, number and checkpoint of this run would bind a repetition to them.
        self.save_config_kwargs["identity"]["started_from"] = self.section.get("ckpt_path")
        stored = self.section.clone()
        if start.continued is not None:
            stored.ckpt_path = None
        self.save_config_kwargs["text"] = self._parser(self.config.subcommand).dump(stored, skip_none=False)
        training = self.config.subcommand == "fit"
        self.folder = run_folder(trainer, self.given, start.experiment, start.continued, training=training)
        if self.folder is not None and training:
            self.lock = occupy(self.folder)
        place_loggers(trainer, self.folder, start.experiment, self.given)

    def instantiate_classes(self) -> None:
        """Build data, model and trainer; an error of the suite inside a link comes out as it is."""
        try:
            super().instantiate_classes()
        except ValueError as error:
            if isinstance(error.__cause__, SuiteError) and not isinstance(error, SuiteError):
                raise error.__cause__ from None
            if not isinstance(error, SuiteError) and (line := refused_by_class(str(error))) is not None:
                raise ConfigError(line) from error
            raise

    def after_instantiate_classes(self) -> None:
        """Give the run its folder; print what the checkpoint decided, or that there is none where one is expected."""
        self.datamodule.adopts = False  # its settings are the checkpoint's already
        self.datamodule.warn = warn
        if self.folder is not None:
            assign_run_dir(self.trainer, self.folder)
        for note in self.start.notes:
            warn(note)
        if self.subcommand != "fit" and not (self.section.get("ckpt_path") or self._told_to_start):
            warn(f"no --ckpt_path: {self.subcommand} runs with an untrained model")
        if self.saved is not None:
            known = {*self.flagged, *self.links.names}
            self.told += other_preprocessing(self.datamodule, self.saved.stored_preprocessing, known)
            note = "; ".join(self.told) or "no setting differs from the configuration"
            say(f"from checkpoint {self.saved.path}: {note}")

    def before_fit(self) -> None:
        """Start from the weights of ``--init_from``, in every process."""
        line = init_from.start(self.model, self.section, self.given)
        if line is not None:
            say(line)

    def before_test(self) -> None:
        """Start from the weights of ``--init_from``, where the model may be evaluated as it starts."""
        if self._told_to_start:
            self.before_fit()

    before_validate = before_predict = before_test

    @property
    def _told_to_start(self) -> bool:
        """Whether the command line itself has ``--init_from``, and not only the configuration that ``fit`` saved."""
        return self.given.get(init_from.KEY) == init_from.FLAG and self.section.get(init_from.KEY) is not None

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        """Add the callbacks of every run, and a checkpoint at every epoch's end for ``--ckpt_path last``."""
        given = config["callbacks"] or []
        configured = given if isinstance(given, list) else [given]
        config["logger"] = kept(config["logger"])
        check_states(configured)
        classes = {type(callback) for callback in configured}
        # The record comes first: no other callback can keep it from telling how a run ended.
        config["callbacks"] = [*(each for each in callbacks if isinstance(each, RunRecord)), *configured]
        callbacks = [each for each in callbacks if not isinstance(each, RunRecord)]
        callbacks += [callback for callback in self.own_callbacks if type(callback) not in classes]
        if config["enable_progress_bar"] is not False and not any(issubclass(each, ProgressBar) for each in classes):
            callbacks.append(progress())
        if self.subcommand == "fit":
            config["callbacks"].insert(1, MonitorCheck())
            callbacks.append(ResumedOptimizers())
            score = self.model.main_score
            monitored = any(isinstance(each, ModelCheckpoint) and each.monitor for each in configured)
            if score is not None and not monitored and config["enable_checkpointing"] is not False:
                callbacks.append(BestCheckpoint(*score))
        if self.subcommand == "fit" and config["enable_checkpointing"] is not False:
            callbacks += [LastCheckpoint(), SaveBeforeStop()]
        elif self.subcommand != "fit" and not any(isinstance(callback, Checkpoint) for callback in configured):
            config["enable_checkpointing"] = False  # else Lightning adds a checkpoint and warns of its folder
        try:
            trainer = with_own_parts(super()._instantiate_trainer(config, callbacks))
        except (TypeError, ValueError, MisconfigurationException) as error:
            raise ConfigError(f"trainer: {error}") from error
        use_suite_files(trainer)
        return trainer

    def _add_instantiators(self) -> None:
        """Record hyper-parameters as Lightning does, but only those linked values that the class takes."""
        self.parser.add_instantiator(OwnLinks(cli=self, key="model"), LitBase, subclasses=True)
        self.parser.add_instantiator(CheckedData(cli=self, key="data"), BaseData, subclasses=True)

    def _linked(self, name: str) -> Callable[[Value], Value]:
        """The function that computes a linked setting from the datamodule's fact."""

        def value_for(from_data: Value) -> Value:
            if self.saved is not None and name in self.section.data.init_args:
                refuse_other_fact(name, from_data, self.saved, self.given)
            value = self.links.value(name, from_data, self.saved, training=self.config.subcommand == "fit")
            if value != from_data and from_data not in (None, 0):  # else the data do not tell it
                self.told.append(f"{name}={value}, the data have {from_data}")
            return value

        return value_for


def read_config(text: str) -> Any:
    """Text read as YAML, with class paths of earlier versions replaced by present ones.

    jsonargparse hands the null of a flag that reaches into a record, as in ``--model.optim.name=null``, on as "None".
    """
    return None if text == "None" else with_present_paths(get_loader("yaml")(text))
