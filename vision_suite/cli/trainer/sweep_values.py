"""The values of a sweep's parameters, given to the real parser before anything starts.

The command of one point is parsed as it would be for training. The other values, of which there may be hundreds, are
laid over its configuration and checked by a parser of the same classes, many at a time: a message names the setting.
"""

from __future__ import annotations

import json
import logging
import tempfile
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from pytorch_lightning import Trainer

from vision_suite.cli.trainer import arguments
from vision_suite.cli.trainer.classes import check_modules, import_named
from vision_suite.cli.trainer.messages import explain
from vision_suite.cli.trainer.plugins import import_plugins
from vision_suite.cli.trainer.ranges import check_ranges, check_seed
from vision_suite.cli.trainer.resume import prepare
from vision_suite.cli.trainer.suite_cli import SuiteCLI
from vision_suite.cli.trainer.vocabulary import BASES, ParserNames, find_class
from vision_suite.errors import ConfigError
from vision_suite.sweeps.command import expand, trainer_options
from vision_suite.sweeps.launch import ARGS
from vision_suite.sweeps.settings import SweepFile
from vision_suite.sweeps.space import SweepParameter
from vision_suite.yaml_text import NotYaml, load_yaml

SECTIONS = ("model", "data", "trainer")
JSON = ("${args_json_file}", "${args_json}")


class ParsedOnly(Exception):
    """End of `PointCLI` after its arguments were parsed.

    Args:
        cli: The command line.
    """

    def __init__(self, cli: PointCLI) -> None:
        super().__init__()
        self.cli = cli


class PointCLI(SuiteCLI):
    """The command line of one point, parsed and checked, and not run."""

    def before_instantiate_classes(self) -> None:
        """Check the numbers, and end.

        Raises:
            ParsedOnly: Always, if nothing is wrong.
        """
        check_ranges(self.section, self.config.subcommand, self.links.classes)
        for name in self.links.names:
            if f"model.{name}" in self.given:
                raise ConfigError(f"model.{name} (given in {self.given[f'model.{name}']}) is decided by the data")
        raise ParsedOnly(self)


def check_values(sweep: SweepFile) -> dict[str, Any] | None:
    """Parse every name and value of a sweep whose command is ``vision-suite fit``; others are passed over.

    Values are the listed ones, and of a distribution its ends and three quantiles.

    Args:
        sweep: The sweep.

    Returns:
        Configuration of the middle point in plain containers, None for another program.

    Raises:
        ConfigError: A name is unknown, a value is of a wrong type or out of range, or cannot be given by the command.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / ARGS
        middle = [each.at(places[len(places) // 2]) for each in sweep.parameters for places in [each.places()]]
        args = sweep.args(middle)
        file.write_text(json.dumps(args), encoding="utf-8")
        options = trainer_options(expand(sweep.command, args, program=sweep.program, json_file=file))
        if options is None:
            return None
        _check_order(sweep, options)
        cli = _parsed(sweep, ["fit", *options])
    _check_rest(sweep, cli, plain=any(macro in sweep.command for macro in JSON))
    point: dict[str, Any] = cli.section.as_dict()
    return point


def _parsed(sweep: SweepFile, words: Sequence[str]) -> PointCLI:
    """The command line of one point."""
    import_plugins()
    logging.getLogger("lightning_fabric.utilities.seed").setLevel(logging.WARNING)
    try:
        start = prepare(arguments.resolve_names(words))
        given = list(arguments.settings(start.argv))
        import_named(each.value for each in given if isinstance(each.value, str))
        check_modules(each.value for each in given if each.key in BASES or each.key.endswith(".class_path"))
        PointCLI(start, words, [])
    except ParsedOnly as end:
        return end.cli
    except ConfigError as error:
        raise _told(error, sweep) from error
    raise AssertionError("the command line was run")


def _check_order(sweep: SweepFile, options: Sequence[str]) -> None:
    """Refuse arguments that a file behind them overrides, and settings that the command gives a second time."""
    swept = {each.name for each in sweep.parameters}
    flags = [each.name for each in sweep.parameters for x in each.places() if isinstance(each.at(x), bool)]
    if "${args_no_boolean_flags}" in sweep.command and flags:
        raise ConfigError(f"command: ${{args_no_boolean_flags}} gives {flags[0]} no value: use ${{args}}")
    argv = ["fit", *options]
    for flag in arguments.flags_before_config(argv):
        if flag.removeprefix("--") in swept:
            raise ConfigError(f"command: the configuration behind ${{args}} beats {flag}: put ${{args}} at the end")
    for word in sweep.command:
        name = word.removeprefix("--").partition("=")[0]
        if word.startswith("--") and name in swept:
            raise ConfigError(f"{name} is given twice, in parameters and as {word} in command: keep one")


def _check_rest(sweep: SweepFile, cli: PointCLI, *, plain: bool) -> None:
    """Check every further value on top of the parsed point.

    Args:
        sweep: The sweep.
        cli: Its middle point.
        plain: The command hands values on as JSON, and not as the text of flags.
    """
    parser = _parser(cli)
    names = ParserNames(parser)
    columns = [(each, each.places()) for each in sweep.parameters]
    for turn in range(max(len(places) for _, places in columns)):
        tree = cli.section.as_dict()
        for parameter, places in columns:
            value = parameter.at(places[turn % len(places)])
            _lay(tree, parameter, value if plain else _as_flag(parameter, value))
        check_seed(tree.get("seed_everything"))
        try:
            given = {name: dict(_plain(tree[name])) for name in SECTIONS}
            for name in cli.links.names:
                given["model"].pop(name, None)
            section = parser.parse_object(given)
            whole = Namespace({name: section[name] for name in SECTIONS})  # type: ignore[no-untyped-call]
            for name in ("model", "data"):
                whole[name] = Namespace(class_path="", init_args=section[name])  # type: ignore[no-untyped-call]
            check_ranges(whole, "fit", cli.links.classes)
        except ArgumentError as error:
            raise _told(ConfigError(explain(str(error), names)), sweep) from error
        except ConfigError as error:
            raise _told(error, sweep) from error


def _parser(cli: PointCLI) -> ArgumentParser:
    """A parser of the classes of the point, without anything else of a command line."""
    parser = ArgumentParser(exit_on_error=False)
    for name in ("model", "data"):
        owner: type | None = find_class(cli.section[name].class_path, BASES[name])
        if owner is None:
            raise ConfigError(f"{name}: {cli.section[name].class_path} is no class of the suite")
        linked: set[str | int] = set(cli.links.names) if name == "model" else set()  # the data decide them
        parser.add_class_arguments(owner, name, fail_untyped=False, skip=linked)
    parser.add_class_arguments(Trainer, "trainer", fail_untyped=False)
    return parser


def _plain(section: Any) -> Any:
    """The settings of a section, without the words that spell its class."""
    return section["init_args"] if "class_path" in section else section


def _lay(tree: dict[str, Any], parameter: SweepParameter, value: Any) -> None:
    """Set a value in a parsed configuration; a name that is not in it is spelt in another way, and was parsed whole."""
    names = [name for name in parameter.name.split(".") if name not in ("init_args", "dict_kwargs")]
    level: Any = tree
    for name in names[:-1]:
        level = level.get(name) if isinstance(level, Mapping) else None
        if isinstance(level, Mapping) and "init_args" in level:
            level = level["init_args"]
    if not isinstance(level, dict) or names[-1] not in level:
        return
    if isinstance(value, Mapping) and isinstance(level[names[-1]], Mapping):
        value = {**level[names[-1]], **value}
    level[names[-1]] = value


def _as_flag(parameter: SweepParameter, value: Any) -> Any:
    """A value as the parser gets it from the text of a flag.

    Raises:
        ConfigError: The text is another value, as that of ``None``.
    """
    try:
        if value is None:
            raise ConfigError("None")
        return load_yaml(str(value), f"--{parameter.name}")
    except NotYaml:
        return str(value)
    except ConfigError as error:
        raise ConfigError(
            f"parameters.{parameter.name}: ${{args}} writes {value!r} as text, which no setting takes: write "
            "[--config, '${args_json_file}'] in command instead of ${args}"
        ) from error


def _told(error: ConfigError, sweep: SweepFile) -> ConfigError:
    """The message of the parser, with a hint where a distribution cannot give what the setting takes."""
    text = str(error).removeprefix("--")
    for parameter in sweep.parameters:
        is_named = text.startswith((f"{parameter.name} ", f"{parameter.name}=", f"{parameter.name}:"))
        if not is_named:
            continue
        floating = isinstance(parameter.at(0.5), float)
        if "expected int" in text and floating:
            text += f": {parameter.distribution} draws floats, so choose int_uniform, or a q_ form with a whole q"
        elif "write null for no value" in text:
            text = text.partition(":")[0] + ": write [--config, '${args_json_file}'] in command instead of ${args}"
        return type(error)(f"parameters.{text}")
    return type(error)(text)
