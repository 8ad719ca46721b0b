"""YAML of users, read within bounds: the one reader of configuration files, sections and flags.

A text is walked as a stream of events before anything is built of it, so that neither its size, its depth nor its
aliases cost time or memory. The walk also refuses what a loader takes without a word: a key that is given twice, and
``None``, which YAML reads as text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vision_suite.errors import ConfigError

LARGEST = 2**20  # bytes of a text
DEEPEST = 64  # levels
MOST = 100_000  # values, those behind aliases counted each time
SPELLING = ("init_args", "dict_kwargs")  # keys that only say how a class is spelt
_CORE = "tag:yaml.org,2002:"
TAGS = {"!", *(f"{_CORE}{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq"))}
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class NotYaml(ConfigError):
    """A text that is not YAML at all."""


class _Loader(_Base):  # type: ignore[misc]
    """Safe loader that reads 1e-3 as a number, as YAML 1.2 does, and a date as text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if tag not in (f"{_CORE}timestamp", f"{_CORE}float")]
    for first, pairs in _Base.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    f"{_CORE}float",
    re.compile(
        r"""^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
        |\.[0-9_]+(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$""",
        re.VERBOSE,
    ),
    list("-+0123456789."),
)


def read_yaml(path: Path, section: str = "") -> Any:
    """Contents of a YAML file in plain containers.

    Args:
        path: File.
        section: Dotted key of the section that the file stands for, for messages.

    Raises:
        ConfigError: The file is no text, no YAML, too large, or gives a setting twice; the message names the line.
    """
    with path.open("rb") as stream:
        raw = stream.read(LARGEST + 1)
    try:
        text = raw[:LARGEST].decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(raw) <= LARGEST:
            line = raw.count(b"\n", 0, error.start) + 1
            raise NotYaml(f"{path}:{line}: not UTF-8 text ({error.reason}): name a YAML file") from None
        text = ""
    if len(raw) > LARGEST:
        raise ConfigError(f"{path}: larger than {LARGEST:,} bytes: a file of settings is a few lines")
    return load_yaml(text, str(path), section)


def load_yaml(text: str, name: str, section: str = "") -> Any:
    """Contents of a YAML text in plain containers.

    Args:
        text: Text.
        name: File or flag that it comes from, for messages.
        section: Dotted key of the section that the text stands for, for messages.

    Raises:
        NotYaml: The text is not YAML.
        ConfigError: The text is too large, too deep, holds a forbidden tag, ``None``, or gives a setting twice.
    """
    if len(text) > LARGEST:
        raise ConfigError(f"{name}: larger than {LARGEST:,} bytes: settings are a few lines")
    try:
        _Walk(name, section).through(text)
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: such as a number of too many digits
        if isinstance(error, ConfigError):
            raise
        raise _explained(error, text, name) from None


def _explained(error: Exception, text: str, name: str) -> NotYaml:
    """The error of the parser in one line, with file and line."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error).splitlines()[0]
    rest = "" if mark is None else (text.split("\n")[mark.line :] or [""])[0][mark.column :]
    if "cannot start any token" in reason and rest.startswith("\t"):
        reason = "a tab indents the line, and YAML takes spaces only"
    elif "special characters" in reason or "control characters" in reason:
        reason = "control characters"
    where = name if mark is None else f"{name}:{mark.line + 1}"
    return NotYaml(f"{where}: not YAML ({' '.join(str(reason).split())})")


@dataclass
class _Level:
    """A mapping or a list that has begun.

    Attributes:
        path: Its dotted key.
        is_map: It is a mapping.
        anchor: Its anchor.
        keys: Lines of its keys.
        key: Key whose value comes next, None where a key comes next.
        size: Number of values in it so far.
    """

    path: str
    is_map: bool
    anchor: str | None
    keys: dict[str, int] = field(default_factory=dict)
    key: str | None = None
    size: int = 1


class _Walk:
    """A walk through the events of one text.

    Args:
        name: File or flag that the text comes from.
        section: Dotted key of the section that the text stands for.
    """

    def __init__(self, name: str, section: str) -> None:
        self.name, self.section = name, section
        self.levels: list[_Level] = []
        self.sizes: dict[str, int] = {}
        self.open: set[str] = set()
        self.leaves: dict[str, int] = {}
        self.total = 0

    def through(self, text: str) -> None:
        """Look at every event.

        Raises:
            ConfigError: See `load_yaml`.
        """
        documents = 0
        for event in yaml.parse(text, Loader=_Loader):
            line = 1 if event.start_mark is None else event.start_mark.line + 1
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise ConfigError(f"{self._at(line)}: a second document begins (---): keep one in a file")
            elif isinstance(event, yaml.CollectionEndEvent):
                self._leave()
            elif isinstance(event, yaml.NodeEvent):
                self._enter(event, line)

    def _at(self, line: int) -> str:
        """Place of a fault: file and line, or the flag."""
        return self.name if self.name.startswith("-") else f"{self.name}:{line}"

    def _enter(self, event: yaml.NodeEvent, line: int) -> None:
        self._count(event, line)
        tag, implicit = getattr(event, "tag", None), getattr(event, "implicit", True)
        if tag is not None and implicit in (False, (False, False)) and tag not in TAGS:
            word = tag.replace(_CORE, "!!")
            raise NotYaml(f"{self._at(line)}: the tag {word} is not allowed: settings are plain values")
        above = self.levels[-1] if self.levels else None
        if above is not None and above.is_map and above.key is None:
            self._key(above, event, line)
            return
        path = self._path(above)
        if above is not None:
            above.key = None
        if isinstance(event, yaml.CollectionStartEvent):
            if len(self.levels) >= DEEPEST:
                raise ConfigError(f"{self._at(line)}: more than {DEEPEST} levels deep")
            self.levels.append(_Level(path, isinstance(event, yaml.MappingStartEvent), event.anchor))
            if event.anchor is not None:
                self.open.add(event.anchor)
        elif isinstance(event, yaml.ScalarEvent):
            if event.value == "None" and not event.style and event.implicit[0]:
                named = f"{path}=None" if path else "None"
                own = self.name == f"--{self.section}"  # the flag of this very setting
                raise ConfigError(f"{f'--{named}' if own else f'{self._at(line)}: {named}'}: write null for no value")
            self._leaf(path, line)

    def _count(self, event: yaml.NodeEvent, line: int) -> None:
        """Count the values, those behind an alias too."""
        size = 1
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in self.open:
                raise ConfigError(f"{self._at(line)}: *{event.anchor} holds itself")
            size = self.sizes.get(str(event.anchor), 1)
        elif isinstance(event, yaml.ScalarEvent) and event.anchor is not None:
            self.sizes[event.anchor] = 1
        self.total += size
        if self.total > MOST:
            raise ConfigError(f"{self._at(line)}: more than {MOST:,} values, those behind aliases (*) included")
        if self.levels:
            self.levels[-1].size += size

    def _key(self, level: _Level, event: yaml.NodeEvent, line: int) -> None:
        """Take a key, and refuse one that the mapping has."""
        if isinstance(event, yaml.CollectionStartEvent):
            raise NotYaml(f"{self._at(line)}: a key is a list or a mapping: write a name")
        key = event.value if isinstance(event, yaml.ScalarEvent) else f"*{event.anchor}"
        if key in level.keys:
            whole = _joined(level.path, key)
            raise ConfigError(
                f"{self._at(line)}: {whole} is given twice{self._first(level.keys[key])}: keep one of them"
            )
        level.keys[key] = line
        level.key = key

    def _leaf(self, path: str, line: int) -> None:
        """Refuse a setting that is spelt in two ways, such as ``trainer.max_epochs`` in and outside a section."""
        if "<<" in path or not path:
            return
        if path in self.leaves:
            raise ConfigError(
                f"{self._at(line)}: {path} is given twice{self._first(self.leaves[path])}: keep one of them"
            )
        self.leaves[path] = line

    def _first(self, line: int) -> str:
        return "" if self.name.startswith("-") else f" (first in line {line})"

    def _path(self, above: _Level | None) -> str:
        """Dotted key of the value that comes next."""
        if above is None:
            return self.section
        if above.is_map:
            return _joined(above.path, above.key or "")
        above.keys[""] = above.keys.get("", -1) + 1
        return f"{above.path}[{above.keys['']}]"

    def _leave(self) -> None:
        level = self.levels.pop()
        if level.anchor is not None:
            self.sizes[level.anchor] = level.size
            self.open.discard(level.anchor)
        if self.levels:
            self.levels[-1].size += level.size - 1


def _joined(path: str, key: str) -> str:
    """A dotted key, without the words that only spell a class."""
    parts = [*([path] if path else []), *(part for part in key.split(".") if part not in SPELLING)]
    return ".".join(parts)
