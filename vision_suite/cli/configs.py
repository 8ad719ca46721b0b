"""Named configurations: ``-c dcal/emoji_reid`` works from any folder and from an installed wheel."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import vision_suite
from vision_suite.errors import ConfigError
from vision_suite.hints import did_you_mean, nearest
from vision_suite.runs.search import Experiment

PARTS = "_base"
SWEEPS = "sweeps"
UNNAMED = "unnamed"


def configs_folder() -> Path:
    """The packaged ``configs`` folder, in a checkout, an editable install or a wheel."""
    for root in vision_suite.__path__:
        folder = Path(root) / "configs"
        if folder.is_dir():
            return folder
    raise ConfigError("the folder vision_suite/configs is missing: reinstall vision-suite")


def named_configs() -> dict[str, Path]:
    """File of every named configuration by name (path without the ending), without parts and sweeps."""
    folder = configs_folder()
    files = {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.yaml"))}
    return {name: path for name, path in files.items() if name.partition("/")[0] not in (PARTS, SWEEPS)}


def description(path: Path) -> str:
    """The first comment line of a configuration file, without the hash sign."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            return line.lstrip("# ").strip()
    return ""


def is_inline(value: str) -> bool:
    """True if a ``-c`` value is the configuration itself, in braces, and not a name or a path."""
    return value.lstrip().startswith("{")


def resolve(value: str) -> str:
    """Find the file for a ``-c`` value: an existing path as it is, else the packaged configuration of that name.

    Raises:
        ConfigError: Neither exists; the message holds the nearest names.
    """
    if is_inline(value) or Path(value).is_file():
        return value
    name = value.removesuffix(".yaml").removeprefix("configs/")
    packaged = configs_folder() / f"{name}.yaml"
    if packaged.is_file():
        return str(packaged)
    known = named_configs()
    hint = did_you_mean(name, nearest(name, known) or list(known))
    raise ConfigError(f"no file and no named configuration '{value}'{hint} ('vision-suite configs' lists them)")


def resolve_part(section: str, value: str) -> str:
    """The packaged part ``_base/<section>/<value>.yaml`` if there is one, else the value as it is.

    Raises:
        ConfigError: The section takes only a file, and the value is not one.
    """
    folder = configs_folder() / PARTS / section
    part = folder / f"{value}.yaml"
    if value.replace("_", "").isalnum() and part.is_file():
        return str(part)
    if section == "trainer" and not is_inline(value) and not Path(value).is_file():
        names = part_names(section)
        hint = did_you_mean(value, names) or f": choose one of {', '.join(names)}"
        raise ConfigError(f"--trainer {value}: no such file and no part of that name{hint}")
    return value


def part_names(section: str) -> list[str]:
    """Names of the packaged parts of a section, such as ``cpu`` of the trainer."""
    return sorted(path.stem for path in (configs_folder() / PARTS / section).glob("*.yaml"))


def experiment_of(files: Sequence[str], read: Sequence[str]) -> Experiment:
    """The experiment that the first configuration names.

    Args:
        files: The values of ``-c``; the first gives the experiment its name.
        read: The first file and the parts it names, whose contents are compared between runs.
    """
    contents = [Path(file).read_bytes() for file in read] + [file.encode() for file in files[:1] if is_inline(file)]
    digest = hashlib.sha256(b"".join(hashlib.sha256(each).digest() for each in contents)).hexdigest()
    if not files:
        return Experiment(UNNAMED, digest, UNNAMED)
    if is_inline(files[0]):
        return Experiment(f"{UNNAMED}-{digest[:8]}", digest, UNNAMED)
    path, folder = Path(files[0]).resolve(), configs_folder().resolve()
    if path.is_relative_to(folder):
        name = path.relative_to(folder).with_suffix("").as_posix()
        return Experiment(name, digest, name)
    return Experiment(str(path), digest, path.stem)
