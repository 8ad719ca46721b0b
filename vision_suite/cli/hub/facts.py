"""Facts of a run for an entry of the hub, without the paths of this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vision_suite.hub.places import CONTROL
from vision_suite.prepared import data_dir
from vision_suite.runs.record import Run
from vision_suite.yaml_text import read_yaml

# Addresses stay as they are. A path at the start of a value reaches over spaces up to the next thing that is a path, an
# option or an address; one that stands in a sentence ends at a space. `</s>` and `[/INST]` are no paths.
ADDRESS = r"\b(?!file:)[a-z][a-z0-9+.-]{0,15}://[^\s,;|\"'<>\[\]{}]*"
LETTER = r"(?:[^\s,;:|\"'<>\[\]{}]|:(?![/~])|'(?![\s,;:|)\]}]|$))"
STARTS = r"file://[^\s/]*/+|~[\w-]*/+(?=[^\s/])|/+(?=[^\s/*])"
VALUE = r"(?:(?<![^\n\t=:,;|\"'\[{(])|(?<=[=:,] ))"
SPACES = r"(?:[ ]+(?![ /~-]|[a-z][a-z0-9+.-]{0,15}://))"
PATH = re.compile(
    rf"(?P<address>{ADDRESS})"
    rf"|{VALUE}(?<!\[)(?:{STARTS}){LETTER}*(?:{SPACES}{LETTER}+)*"
    rf"|(?<=\[)(?:{STARTS})(?=[^\s,\[\]]*/){LETTER}*(?:{SPACES}{LETTER}+)*"
    rf"|(?<![^\s!&@>])(?:{STARTS}){LETTER}*"
    rf"|(?<=(?<!\S)-[a-z])/+(?=[^\s/]+/){LETTER}*(?:{SPACES}{LETTER}+)*",
    re.I,
)


@dataclass(frozen=True)
class RunFacts:
    """Facts of the run that wrote a checkpoint.

    Attributes:
        training: Section ``training`` of ``config.json``.
        config: Text of ``config.yaml``.
    """

    training: dict[str, Any]
    config: str


def facts_of(run: Run | None, settings: Mapping[str, Any]) -> RunFacts:
    """The facts that a run's record and configuration tell; empty ones for a checkpoint that lies in no run.

    Args:
        run: The run.
        settings: Settings of the module in plain containers, for a run without a configuration.
    """
    record: Mapping[str, Any] = {} if run is None else run.record
    data = record.get("data") or {}
    root = str(data.get("root") or "")
    name = data_name(root, str(data.get("dataset") or data.get("name") or ""))
    git, seed = record.get("git") or {}, record.get("seed")
    commit = git.get("commit")
    fingerprint = data.get("fingerprint")
    digest = fingerprint.get("sha256", "") if isinstance(fingerprint, Mapping) else str(fingerprint or "")
    training = {
        "command": [_plain(str(word), root, name) for word in record.get("command_line") or []],
        "commit": commit if isinstance(commit, str) and re.fullmatch(r"[0-9a-f]{40}", commit) else None,
        "dirty": git.get("dirty") if isinstance(git.get("dirty"), bool) else None,
        "seed": seed if type(seed) is int and seed >= 0 else None,
        "data": {"name": name, "fingerprint": str(digest)},
        "hardware": _hardware(record.get("hardware") or {}),
    }
    file = None if run is None else run.config
    config = read_yaml(file) if file is not None else {"model": {"init_args": dict(settings)}}
    text = yaml.safe_dump(plain_texts(config, root, name), sort_keys=False, allow_unicode=True)
    return RunFacts(training, text)


def data_name(root: str, dataset: str) -> str:
    """Name of a data set: of the prepared set that its root lies in, else of its layout or its folder."""
    path = Path(root).expanduser()
    if root and path.is_absolute() and path.is_relative_to(data_dir()) and path != data_dir():
        return path.relative_to(data_dir()).parts[0]
    return path.name if root else dataset


def without_paths(text: str, root: str, name: str) -> str:
    """A text in which the data's root is the data's name, and other paths of this machine are their last part.

    Args:
        text: The text, such as a word of a command line.
        root: Root of the data; a relative one stays.
        name: Name of the data.
    """
    own = root.rstrip("/") if root.startswith(("/", "~")) else ""
    if own in ("", "~"):
        return PATH.sub(_last_part, text)
    either = re.compile(rf"(?<![\w.-])(?P<root>{re.escape(own)})(?![\w.-])|{PATH.pattern}", PATH.flags)
    return either.sub(lambda match: name if match["root"] else _last_part(match), text)


def plain_texts(value: Any, root: str, name: str) -> Any:
    """Nested containers in which every text, a key too, is `without_paths`."""
    if isinstance(value, Mapping):
        return {without_paths(str(key), root, name): plain_texts(each, root, name) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain_texts(each, root, name) for each in value]
    return without_paths(value, root, name) if isinstance(value, str) else value


def _last_part(match: re.Match[str]) -> str:
    return match[0] if match["address"] else match[0].rstrip("/").rpartition("/")[2]


def _plain(word: str, root: str, name: str) -> str:
    """A word of a command line without paths and without what an entry may not hold."""
    return CONTROL.sub(" ", without_paths(word, root, name))


def _hardware(hardware: Mapping[str, Any]) -> str:
    """Processor or GPUs in words."""
    gpus = hardware.get("gpus") or []
    if gpus:
        return ", ".join(str(gpu.get("name", gpu)) if isinstance(gpu, Mapping) else str(gpu) for gpu in gpus)
    cores = hardware.get("cores")
    return f"{hardware.get('processor') or 'unknown'}{f', {cores} cores' if cores else ''}"
