"""The root of a configuration file: a mapping of sections that the trainer commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vision_suite.errors import ConfigError
from vision_suite.hints import did_you_mean

ROOT = ("trainer", "model", "data", "seed_everything", "ckpt_path", "init_from", "weights_only", "verbose",
        "return_predictions", *("fit", "validate", "test", "predict"))  # fmt: skip
COMMANDS = ("fit", "validate", "test", "predict")


def check_root(contents: Any, path: Path) -> None:
    """Refuse a configuration whose root is no mapping of sections.

    Args:
        contents: Contents of a file.
        path: The file, for messages.

    Raises:
        ConfigError: It is none, or has a key that is no section.
    """
    if not isinstance(contents, dict):
        kind = "a list" if isinstance(contents, list) else f"only {str(contents)[:40]!r}"
        raise ConfigError(f"{path}:1: {kind}, but a configuration is a mapping of sections: trainer, model and data")
    for name in contents:
        section = str(name).partition(".")[0]
        # The parser passes over a section without a setting, whatever its name.
        if contents[name] in ({}, None) and section not in ROOT:
            raise ConfigError(
                f"{path}:{line_of(str(name), path)}: unknown section '{name}'{did_you_mean(section, ROOT)}"
            )
        if name in COMMANDS and (contents[name] is None or isinstance(contents[name], dict)):
            raise ConfigError(
                f"{path}:{line_of(f'{name}:', path)}: '{name}' is a command: write trainer, model and data at the "
                f"root of the file, without '{name}:'"
            )
        if not isinstance(name, str):
            raise ConfigError(f"{path}:{line_of(str(name), path)}: the key {name!r} is not a name")


def line_of(word: str, path: Path) -> int:
    """Number of the first line of a file that holds a word."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((number for number, line in enumerate(lines, start=1) if word in line), 1)
