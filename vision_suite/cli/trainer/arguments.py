"""Argument list before Lightning's parser reads it: names become files, and the settings that were given are known.

Lightning's parser reads strictly from left to right, so a flag before ``-c`` loses to the file. Nothing is reordered
here; the caller warns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vision_suite.cli.configs import is_inline, resolve, resolve_part
from vision_suite.cli.trainer.classes import present_path
from vision_suite.errors import ConfigError

CONFIG_FLAGS = ("-c", "--config")
HELP_FLAGS = ("-h", "--help")
PRINT_FLAG = "--print_config"
FILE_ENDINGS = (".yaml", ".yml", ".json")
# Flags that take a packaged part by its bare name, and the folder of _base that holds the part.
PART_FLAGS = {"--trainer": "trainer", "--model": "model", "--data": "data", "--trainer.logger": "logger"}


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


def asks_for_help(argv: Sequence[str]) -> bool:
    """True if a flag asks for the help of the command, which lists all classes."""
    return any(option.flag in HELP_FLAGS for option in options(argv))


def only_prints(argv: Sequence[str]) -> bool:
    """True if a flag asks for the configuration or the help of the command, which then runs nothing."""
    return asks_for_help(argv) or any(option.flag == PRINT_FLAG for option in options(argv))


def settings(argv: Sequence[str]) -> Iterator[Setting]:
    """Every setting that flags and files give, in the order of the parser: a later one wins.

    Raises:
        ConfigError: A file is not YAML.
    """
    for option in options(argv):
        if option.is_config and option.value is not None:
            if is_inline(option.value):
                yield from _below("", _loaded(option.value), Path(), option.flag)
            else:
                yield from _in_file("", Path(option.value))
        elif option.flag.startswith("--"):
            key = _plain_key(option.flag[2:].removesuffix("+"))
            value = None if option.value is None else _loaded(option.value)
            yield Setting(key, value, option.flag)
            yield from _below(key, value, Path(), option.flag)


def files_of(configs: Sequence[str]) -> list[str]:
    """Every file that some configurations are made of, parts too."""
    found = (setting.source for config in configs if not is_inline(config) for setting in _in_file("", Path(config)))
    return list(dict.fromkeys([*(config for config in configs if not is_inline(config)), *found]))


def class_named(given: Sequence[Setting], section: str) -> str | None:
    """Name or path of the class that settings choose for a section, None if they choose none."""
    keys = (section, f"{section}.class_path", f"{section}.help")
    texts = [each.value for each in given if each.key in keys and isinstance(each.value, str)]
    return next((text for text in reversed(texts) if not text.endswith(FILE_ENDINGS)), None)


def _plain_key(key: str) -> str:
    """A dotted key without the segments that only say how a class is spelt."""
    return ".".join(part for part in key.split(".") if part not in ("init_args", "dict_kwargs"))


def _loaded(text: str) -> Any:
    """Text as YAML, or unchanged when it is none: the parser reports the mistake."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _in_file(prefix: str, path: Path) -> Iterator[Setting]:
    """The settings that a configuration file gives; a section that is no file is left to the parser."""
    if not path.is_file():
        return
    try:
        contents = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).replace('"<unicode string>"', str(path)).split())
        raise ConfigError(f"{path} is not YAML ({reason})") from error
    yield from _below(prefix, contents, path.parent, str(path))


def _below(prefix: str, value: object, folder: Path, source: str) -> Iterator[Setting]:
    """The settings under a value; a section may be the path of another file, relative to the one that names it."""
    if isinstance(value, dict):
        for name, inner in value.items():
            key = _plain_key(f"{prefix}.{name}" if prefix else str(name))
            if key != prefix:
                yield Setting(key, inner, source)
            yield from _below(key, inner, folder, source)
    elif isinstance(value, list):
        for member in value:
            yield Setting(prefix, member, source)
            if isinstance(member, dict):
                yield from _below(prefix, member, folder, source)
    elif isinstance(value, str) and value.endswith(FILE_ENDINGS):
        yield from _in_file(prefix, folder / value)
