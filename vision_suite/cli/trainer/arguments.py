"""Argument list before Lightning's parser reads it: names become files, and the settings that were given are known.

Lightning's parser reads strictly from left to right, so a flag before ``-c`` loses to the file. Nothing is reordered
here; the caller warns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vision_suite.cli.configs import is_inline, resolve, resolve_part
from vision_suite.cli.trainer.classes import import_named, present_path
from vision_suite.cli.trainer.roots import check_root, line_of
from vision_suite.cli.trainer.vocabulary import BASES, class_settings, find_class
from vision_suite.errors import ConfigError
from vision_suite.yaml_text import NotYaml, load_yaml, read_yaml

CONFIG_FLAGS = ("-c", "--config")
HELP_FLAGS = ("-h", "--help")
PRINT_FLAG = "--print_config"
FILE_ENDINGS = (".yaml", ".yml", ".json")
# Flags that take a packaged part by its bare name, and the folder of _base that holds the part.
PART_FLAGS = {"--trainer": "trainer", "--model": "model", "--data": "data", "--trainer.logger": "logger"}
# Settings that may be the path of a file that holds them; records of a model or a datamodule may be too.
SECTIONS = (
    "",
    "model",
    "data",
    "trainer",
    "trainer.logger",
    "trainer.callbacks",
    "trainer.strategy",
    "trainer.profiler",
)
IsSection = Callable[[str], bool]


@dataclass(frozen=True)
class Option:
    """One option of an argument list.

    Attributes:
        flag: Flag with its dashes, without a value.
        value: Value of the flag, None for a switch.
        start: Index of its first word.
        stop: Index after its last word.
    """

    flag: str
    value: str | None
    start: int
    stop: int

    @property
    def is_config(self) -> bool:
        """True for an option that names a configuration."""
        return self.flag in CONFIG_FLAGS


@dataclass(frozen=True)
class Setting:
    """One value that a flag or a file gives.

    Attributes:
        key: Dotted key without ``init_args``, such as ``model.width``.
        value: Value as YAML reads it; for a section, the section.
        source: Flag or file that gives it.
    """

    key: str
    value: Any
    source: str


def options(argv: Sequence[str]) -> Iterator[Option]:
    """Every option of an argument list, in order; words that belong to no flag are passed over."""
    position = 0
    while position < len(argv):
        word = argv[position]
        if not word.startswith("-") or word == "-":
            position += 1
            continue
        start = position
        position += 1
        value: str | None = None
        if word.startswith("--") and "=" in word:
            word, value = word.split("=", 1)
        elif position < len(argv) and not (argv[position].startswith("--") or argv[position] in CONFIG_FLAGS):
            value = argv[position]
            position += 1
        yield Option(word, value, start, position)


def resolve_names(argv: Sequence[str]) -> list[str]:
    """Replace the names of configurations and parts by their files, and former class paths by present ones.

    Raises:
        ConfigError: A ``-c`` value is neither a file nor a named configuration.
    """
    resolved = list(argv)
    for option in options(argv):
        if option.value is None:
            continue
        if option.is_config:
            value = resolve(option.value)
        elif option.flag in PART_FLAGS:
            value = present_path(resolve_part(PART_FLAGS[option.flag], option.value))
        else:
            value = present_path(option.value)
        joined = option.stop - option.start == 1
        resolved[option.stop - 1] = f"{option.flag}={value}" if joined else value
    return resolved


def config_files(argv: Sequence[str]) -> list[str]:
    """The values of ``-c``, in order."""
    return [option.value for option in options(argv) if option.is_config and option.value is not None]


def flags_before_config(argv: Sequence[str]) -> list[str]:
    """The flags that stand before the last ``-c`` and so lose to that file where both set a value."""
    found = list(options(argv))
    last = max((option.start for option in found if option.is_config), default=-1)
    return [option.flag for option in found if option.start < last and not option.is_config]


def insert_config(argv: Sequence[str], config: str) -> list[str]:
    """Add a configuration behind the last ``-c`` (or behind the command): it beats files, flags after it beat it."""
    index = max((option.stop for option in options(argv) if option.is_config), default=1)
    return [*argv[:index], f"--config={config}", *argv[index:]]


def without_value(argv: Sequence[str]) -> str | None:
    """The first flag without a value among those that need one, None if there is none."""
    switches = (*HELP_FLAGS, PRINT_FLAG)
    bare = [option.flag for option in options(argv) if option.value is None and option.flag not in switches]
    return next((flag for flag in bare if not flag.endswith(".help")), None)


def asks_for_help(argv: Sequence[str]) -> bool:
    """True if a flag asks for the help of the command, which lists all classes."""
    return any(option.flag in HELP_FLAGS for option in options(argv))


def only_prints(argv: Sequence[str]) -> bool:
    """True if a flag asks for the configuration or the help of the command, which then runs nothing."""
    return asks_for_help(argv) or any(option.flag == PRINT_FLAG for option in options(argv))


def settings(argv: Sequence[str]) -> Iterator[Setting]:
    """Every setting that flags and files give, in the order of the parser: a later one wins.

    Raises:
        ConfigError: A file is not YAML or gives a setting twice, a section names itself, or a value is ``None``.
    """
    return _settings(argv, _Records(argv))


def _settings(argv: Sequence[str], is_section: IsSection) -> Iterator[Setting]:
    for option in options(argv):
        if option.is_config and option.value is not None:
            if is_inline(option.value):
                yield from _below("", _loaded(option.value, option.flag), (), option.flag, is_section)
            else:
                yield from _in_file("", Path(option.value), (), is_section)
        elif option.flag.startswith("--"):
            key = _plain_key(option.flag[2:].removesuffix("+"))
            if option.value is not None and option.value.strip() == "None":
                raise ConfigError(f"--{key}={option.value.strip()}: write null for no value")
            value = None if option.value is None else _loaded(option.value, option.flag)
            yield Setting(key, value, option.flag)
            yield from _below(key, value, (), option.flag, is_section)


class _Records:
    """Tells which settings may be the path of a file: sections, and the records of the chosen classes.

    A file name is the plain value of every other setting, as in ``--data.annotations mine.json``.

    Args:
        argv: Argument list.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = argv
        self._records: dict[str, set[str]] = {}

    def __call__(self, key: str) -> bool:
        """Tell it of a dotted key."""
        section, _, name = key.partition(".")
        if key in SECTIONS or section not in ("model", "data"):
            return key in SECTIONS
        if section not in self._records:
            self._records[section] = self._of(section)
        return name in self._records[section]

    def _of(self, section: str) -> set[str]:
        """Names of the settings of the section's class that have settings of their own."""
        named = class_named(list(_settings(self._argv, SECTIONS.__contains__)), section)
        import_named([named] if named is not None else [])
        owner: type | None = None if named is None else find_class(named, BASES[section])
        dotted = [] if owner is None else class_settings(owner)
        return {key.rpartition(".")[0] for key in dotted}


def files_of(configs: Sequence[str]) -> list[str]:
    """Every file that some configurations are made of, parts too."""
    named = [config for config in configs if not is_inline(config)]
    is_section = _Records([f"--config={config}" for config in named])
    found = (setting.source for config in named for setting in _in_file("", Path(config), (), is_section))
    return list(dict.fromkeys([*named, *found]))


def class_named(given: Sequence[Setting], section: str) -> str | None:
    """Name or path of the class that settings choose for a section, None if they choose none."""
    keys = (section, f"{section}.class_path", f"{section}.help")
    texts = [each.value for each in given if each.key in keys and isinstance(each.value, str)]
    return next((text for text in reversed(texts) if not text.endswith(FILE_ENDINGS)), None)


def _plain_key(key: str) -> str:
    """A dotted key without the segments that only say how a class is spelt."""
    return ".".join(part for part in key.split(".") if part not in ("init_args", "dict_kwargs"))


def _loaded(text: str, flag: str) -> Any:
    """Text of a flag as YAML, or unchanged when it is none: the parser reports the mistake.

    Raises:
        ConfigError: It is YAML that gives a setting twice, is too large, or holds ``None``.
    """
    try:
        return load_yaml(text, flag, _plain_key(flag.lstrip("-")) if flag not in CONFIG_FLAGS else "")
    except NotYaml:
        return text


def _in_file(prefix: str, path: Path, above: tuple[Path, ...], is_section: IsSection) -> Iterator[Setting]:
    """The settings that a configuration file gives; a section that is no file is left to the parser.

    Args:
        prefix: Dotted key of the section that the file stands for.
        path: File.
        above: Files that name it, outermost first.
        is_section: Tells whether a dotted key may be the path of a file.
    """
    if not path.is_file():
        return
    if any(path.samefile(each) for each in above):
        last, circle = above[-1], " -> ".join(str(each) for each in [*above, path])
        raise ConfigError(f"{last}:{line_of(path.name, last)}: the file names itself ({circle}): write {prefix} out")
    contents = read_yaml(path, prefix)
    if contents is None:
        raise ConfigError(f"{path}:1: empty: write settings into it, or leave it out")
    if not prefix:
        check_root(contents, path)
    elif isinstance(contents, list) and prefix in ("model", "data", "trainer"):
        raise ConfigError(f"{path}:1: a list, but {prefix} is a mapping of settings, 'name: value'")
    yield from _below(prefix, contents, (*above, path), str(path), is_section)


def _below(
    prefix: str, value: object, above: tuple[Path, ...], source: str, is_section: IsSection
) -> Iterator[Setting]:
    """The settings under a value; a section may be the path of another file, relative to the one that names it."""
    if isinstance(value, dict):
        for name, inner in value.items():
            key = _plain_key(f"{prefix}.{name}" if prefix else str(name))
            if key != prefix:
                yield Setting(key, inner, source)
            yield from _below(key, inner, above, source, is_section)
    elif isinstance(value, list):
        for member in value:
            yield Setting(prefix, member, source)
            if isinstance(member, dict):
                yield from _below(prefix, member, above, source, is_section)
    elif isinstance(value, str) and value.endswith(FILE_ENDINGS):
        file = (above[-1].parent if above else Path()) / value
        if file.is_file() and is_section(prefix):
            yield from _in_file(prefix, file, above, is_section)
