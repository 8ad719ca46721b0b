"""Former names of a model's settings in flags and configuration files, replaced by the present names.

`vision_suite.renamed` holds the table of names. The parser knows only the present names, so they are replaced before it
reads the arguments. A flag is renamed in the argument list. A file with a former name is replaced by its text, with the
present name in it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from vision_suite.cli.configs import is_inline
from vision_suite.cli.trainer.arguments import Option, options
from vision_suite.cli.trainer.classes import PACKAGE
from vision_suite.cli.trainer.vocabulary import find_class
from vision_suite.lit_modules.base import LitBase
from vision_suite.renamed import RENAMED, given_twice, new_name, renamed_class, with_new_names
from vision_suite.yaml_text import NotYaml, load_yaml, read_yaml

SPELLING = ("init_args", "dict_kwargs")
FILES = (".yaml", ".yml", ".json")


def renamed_arguments(argv: Sequence[str]) -> list[str]:
    """Argument list with the model's settings under their present names.

    Args:
        argv: Command and options, names of configurations already replaced by files.

    Raises:
        ConfigError: One file, or the flags, give a setting under its former and its present name.
    """
    words = list(argv)
    found = list(options(argv))
    flags = {_key(option.flag) for option in found}
    named = [_class_of(option) for option in found]
    # A flag before the first mention of a class belongs to it.
    model = next((name for name in named if name is not None), "")
    for option, name in zip(found, named, strict=True):
        model = model if name is None else name
        if option.value is None or not (option.is_config or option.flag.startswith("--model")):
            continue
        if option.is_config or _key(option.flag) == "model":
            flag, value = option.flag, _renamed_text(option, model)
        else:
            flag, value = _renamed_flag(option, model, flags)
        joined = option.stop - option.start == 1
        words[option.start : option.stop] = [f"{flag}={value}"] if joined else [flag, value]
    return words


def _key(flag: str) -> str:
    """Dotted key of a flag, without ``init_args`` and ``dict_kwargs``."""
    return ".".join(part for part in flag.lstrip("-").split(".") if part not in SPELLING)


def _renamed_flag(option: Option, model: str, flags: set[str]) -> tuple[str, str]:
    """Flag and value under the present name."""
    name, value = _key(option.flag).removeprefix("model."), str(option.value)
    dotted = new_name(model, name, _loaded(value))
    if dotted is None:
        return option.flag, value
    if f"model.{dotted}" in flags:
        raise given_twice(f"--model.{name}", f"--model.{dotted}")
    switched_off = _loaded(value) is None and dotted.startswith(f"{name}.")
    return option.flag.removesuffix(name) + dotted, "false" if switched_off else value


def _renamed_text(option: Option, model: str) -> str:
    """Value of ``-c`` or ``--model``, unchanged unless it holds a former name."""
    contents, folder = _read(option.value, Path(), whole=option.is_config)
    if not isinstance(contents, dict):
        return str(option.value)
    if option.is_config:
        renamed = _renamed_config(contents, folder, model)
    elif option.flag.endswith(SPELLING):
        renamed = with_new_names(model, contents)
    else:
        renamed = _renamed_model(contents, folder, model)
    if renamed == contents:
        return str(option.value)
    return yaml.dump(renamed, Dumper=_Quoting, default_flow_style=True, width=sys.maxsize).strip()


def _renamed_config(config: dict[str, Any], folder: Path, model: str) -> dict[str, Any]:
    """Configuration with present names; the same object if it holds no former name."""
    section, below = _read(config.get("model"), folder)
    renamed = _renamed_model(section, below, model) if isinstance(section, dict) else section
    keys = {}
    for key, value in config.items():
        dotted = new_name(model, _key(key).removeprefix("model."), value) if key.startswith("model.") else None
        keys[key] = key if dotted is None else f"model.{dotted}"
        if dotted is not None and f"model.{dotted}" in config:
            raise given_twice(key, f"model.{dotted}")
    if renamed is section and all(old == new for old, new in keys.items()):
        return config
    # Paths among the settings of the data are relative to the data's own folder, not to the file's.
    moved = {
        keys[key]: value if key == "data" and isinstance(value, dict) else _absolute(value, folder)
        for key, value in config.items()
    }
    return {**moved, "model": renamed} if "model" in config else moved


def _renamed_model(section: dict[str, Any], folder: Path, model: str) -> dict[str, Any]:
    """Section of a model with present names; the same object if it holds no former name."""
    given = {key: settings for key in SPELLING if isinstance(settings := section.get(key), dict)}
    named = table_name(section.get("class_path"))
    renamed = {key: with_new_names(model if named is None else named, settings) for key, settings in given.items()}
    return section if renamed == given else _absolute({**section, **renamed}, folder)


def _class_of(option: Option) -> str | None:
    """Name of the model's class that an option gives, else None."""
    if option.value is None:
        return None
    if option.is_config:
        contents, folder = _read(option.value, Path(), whole=True)
        contents = contents if isinstance(contents, dict) else {}
        section, _ = _read(contents.get("model", contents.get("model.class_path")), folder)
    elif _key(option.flag) == "model":
        section, _ = _read(option.value, Path())
    else:
        return table_name(option.value) if _key(option.flag) == "model.class_path" else None
    return table_name(section.get("class_path") if isinstance(section, Mapping) else section)


def table_name(class_path: object) -> str | None:
    """Name under which `vision_suite.renamed.RENAMED` has a class or its base; empty without one, None for no text."""
    if not isinstance(class_path, str):
        return None
    package, _, name = class_path.rpartition(".")
    if name in RENAMED and package.partition(".")[0] in ("", PACKAGE):
        return name
    found = find_class(class_path, LitBase)
    return "" if found is None else renamed_class(found)


class _Quoting(yaml.SafeDumper):
    """Writes text in quotes, so that it is read as text again."""


_Quoting.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'"))


def _read(value: object, folder: Path, *, whole: bool = False) -> tuple[Any, Path]:
    """Section, and the folder that its paths are relative to; a value that cannot be read is left to the parser.

    Args:
        value: Section, its text, or the path of its file.
        folder: Folder that this path is relative to.
        whole: Read a file of any name, since it is a whole configuration.
    """
    if not isinstance(value, str):
        return value, folder
    if is_inline(value):
        return _loaded(value), folder
    path = folder / value
    if not (whole or value.endswith(FILES)) or not path.is_file():
        return value, folder
    try:
        return read_yaml(path), path.parent
    except NotYaml:
        return value, folder


def _loaded(text: str) -> Any:
    try:
        return load_yaml(text, "value")
    except NotYaml:
        return text


def _absolute(value: Any, folder: Path) -> Any:
    """Section with absolute paths in place of those relative to the folder of its file."""
    if isinstance(value, dict):
        return {key: _absolute(item, folder) for key, item in value.items()}
    if isinstance(value, list):
        return [_absolute(item, folder) for item in value]
    is_file = isinstance(value, str) and value.endswith(FILES) and (folder / value).is_file()
    return str((folder / value).resolve()) if is_file else value
