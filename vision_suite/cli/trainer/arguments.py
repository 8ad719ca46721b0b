"""The argument list before Lightning's parser sees it: names become files, and what was given explicitly is known.

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
from vision_suite.errors import ConfigError

CONFIG_FLAGS = ("-c", "--config")
# Flags that take a packaged part by its bare name, and the folder of _base in which it lies.
PART_FLAGS = {"--trainer": "trainer", "--model": "model", "--data": "data", "--trainer.logger": "logger"}


@dataclass(frozen=True)
class Option:
    """One option of an argument list.

    Attributes:
        flag: The flag with its dashes, without a value.
        value: Its value, None for a switch.
        start: Position of its first word.
        stop: Position after its last word.
    """

    flag: str
    value: str | None
    start: int
    stop: int

    @property
    def is_config(self) -> bool:
        """Whether this option names a configuration."""
        return self.flag in CONFIG_FLAGS


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
    """Replace the names of configurations and parts by their files.

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
            value = resolve_part(PART_FLAGS[option.flag], option.value)
        else:
            continue
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
    place = max((option.stop for option in options(argv) if option.is_config), default=1)
    return [*argv[:place], f"--config={config}", *argv[place:]]


def given_settings(argv: Sequence[str]) -> dict[str, str]:
    """Every setting that flags and files name, as dotted key without ``init_args``, and where it was named.

    Raises:
        ConfigError: A file is not YAML.
    """
    given: dict[str, str] = {}
    for option in options(argv):
        if option.is_config and option.value is not None:
            if is_inline(option.value):
                _collect("", _loaded(option.value), Path(), option.flag, given)
            else:
                _collect_file("", Path(option.value), given)
        elif option.flag.startswith("--"):
            key = _plain_key(option.flag[2:].removesuffix("+"))
            given[key] = option.flag
            if option.value is not None:
                _collect(key, _loaded(option.value), Path(), option.flag, given)
    return given


def _plain_key(key: str) -> str:
    """A dotted key without the segments that only say how a class is spelt."""
    return ".".join(part for part in key.split(".") if part not in ("init_args", "dict_kwargs"))


def _loaded(text: str) -> Any:
    """Text as YAML, or unchanged when it is none: the parser reports what is wrong with it."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _collect_file(prefix: str, path: Path, given: dict[str, str]) -> None:
    """Add the settings that a configuration file names; a section that is no file is left to the parser."""
    if not path.is_file():
        return
    try:
        contents = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).replace('"<unicode string>"', str(path)).split())
        raise ConfigError(f"{path} is not YAML ({reason})") from error
    _collect(prefix, contents, path.parent, str(path), given)


def _collect(prefix: str, value: Any, folder: Path, source: str, given: dict[str, str]) -> None:
    """Add the settings under a value; a section may be the path of another file, relative to the one that names it."""
    if isinstance(value, dict):
        for name, below in value.items():
            key = _plain_key(f"{prefix}.{name}" if prefix else str(name))
            if key != prefix:
                given[key] = source
            _collect(key, below, folder, source, given)
    elif isinstance(value, list):
        for member in value:
            if isinstance(member, dict):
                _collect(prefix, member, folder, source, given)
    elif isinstance(value, str) and value.endswith((".yaml", ".yml", ".json")):
        _collect_file(prefix, folder / value, given)
