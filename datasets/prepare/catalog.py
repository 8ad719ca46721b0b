"""The sets that a command can prepare: the list of them, and preparing and checking one by its name.

Light: neither torch nor a picture library is loaded by importing this module or by listing the entries.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from vision_suite.datasets.prepare.base import MANIFEST, Options, Recipe, VerifyReport, progress_bars
from vision_suite.datasets.prepare.fetch import data_dir
from vision_suite.datasets.prepare.recipes import recipes
from vision_suite.errors import ConfigError, DataError


@dataclass(frozen=True)
class CatalogEntry:
    """A set that can be prepared.

    Attributes:
        name: Name that ``data prepare`` takes.
        description: Contents in one line.
        task: Tasks that it can train.
        licence: Licence in one line.
        path: Folder in the cache.
        prepared: True if that folder is there.
    """

    name: str
    description: str
    task: str
    licence: str
    path: Path
    prepared: bool


def entries() -> list[CatalogEntry]:
    """All sets: each at its default size, and at every other size already prepared.

    Raises:
        ConfigError: As `recipes`.
    """
    known = recipes()
    folders = [path.name for path in data_dir().iterdir()] if data_dir().is_dir() else []
    there = [found for name in folders if (found := _parsed(name, known))]
    listed = []
    for recipe in known.values():
        sizes = {size for other, size in there if other is recipe} - {recipe.default_size, None}
        for size in (recipe.default_size, *sorted(sizes, key=lambda size: size or 0)):
            path = recipe.folder_of(size)
            listed.append(
                CatalogEntry(
                    name=recipe.name if size == recipe.default_size else path.name,
                    description=recipe.description.replace("{size}", str(size)),
                    task=recipe.task,
                    licence=recipe.licence,
                    path=path,
                    prepared=(path / MANIFEST).is_file(),
                )
            )
    return listed


def prepare(
    name: str,
    *,
    source: Path | None = None,
    image_size: int | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> Path:
    """Make a set ready in the cache and return its folder; at once if it is there.

    Args:
        name: Name of the set, such as emoji-reid (or emoji-reid-128 for pictures of 128 pixels).
        source: Archive, folder of archives or unpacked package to use instead of the registry.
        image_size: Side of the pictures in pixels, the set's default if not given.
        workers: Number of processes that draw the pictures, one per core (16 at most) if not given.
        quiet: Show no progress bar.

    Returns:
        Prepared folder.

    Raises:
        ConfigError: There is no such set, or the size or number of workers is out of range.
        DataError: The set cannot be had (no client, no answer, a wrong checksum) or written (disk full, no rights).
    """
    recipe, size = _find(name, image_size)
    if workers is not None and workers < 1:
        raise ConfigError(f"workers={workers}: give 1 or more")
    try:
        with progress_bars(quiet) as progress:
            return recipe.prepare(progress, Options(source, size, workers or _cores()))
    except OSError as error:
        raise DataError(
            f"the data cache {data_dir()} cannot be used ({error.strerror or error}: {error.filename}): "
            f"make room or allow writing, or set VISION_SUITE_DATA to another folder"
        ) from error


def verify(name: str, *, image_size: int | None = None, quiet: bool = False) -> VerifyReport:
    """Recount and recheck every file of a prepared set; the report's ``problems`` are empty if all is well.

    Args:
        name: Name of the set, as for `prepare`.
        image_size: Side of the pictures in pixels, the set's default if not given.
        quiet: Show no progress bar.

    Raises:
        ConfigError: There is no such set.
        DataError: It is not prepared, or its manifest cannot be read.
    """
    recipe, size = _find(name, image_size)
    folder = recipe.folder_of(size)
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist: run `{_command(recipe, size)}`")
    with progress_bars(quiet) as progress:
        return recipe.verify(folder, progress)


def prepare_command(root: str) -> str | None:
    """The command that prepares a data root such as ``emoji-reid-64/a``; None if no recipe makes it.

    Raises:
        ConfigError: As `recipes`.
    """
    known = recipes()
    found = [made for part in Path(root).parts if (made := _parsed(part, known))]
    return _command(*found[0]) if found else None


def _find(name: str, image_size: int | None) -> tuple[Recipe, int | None]:
    """The recipe and the picture size meant by a name and an option that may both hold a size."""
    known = recipes()
    found = _parsed(name, known)
    if found is None:
        names = [word for recipe in known.values() for word in _names(recipe)]
        raise ConfigError(f"no set is called {name!r}: choose {', '.join(names[:-1])} or {names[-1]}")
    recipe, size = found
    if image_size is not None and recipe.default_size is None:
        raise ConfigError(f"{name} has {recipe.one_size}: leave image_size={image_size} out")
    if size is not None and image_size not in (None, size):
        raise ConfigError(f"{name} and image_size={image_size} disagree: give one of them")
    return recipe, image_size if size is None else size


def _parsed(name: str, known: dict[str, Recipe]) -> tuple[Recipe, int | None] | None:
    """The recipe that a name means and the picture size in it, None if there is none; None for another name."""
    if name in known:
        return known[name], None
    stem, _, size = name.rpartition("-")
    recipe = known.get(stem)
    return (recipe, int(size)) if recipe is not None and recipe.default_size is not None and size.isdecimal() else None


def _names(recipe: Recipe) -> tuple[str, ...]:
    """The names by which a set can be asked for."""
    return (recipe.name,) if recipe.default_size is None else (recipe.name, f"{recipe.name}-<size>")


def _cores() -> int:
    # More would spend their time on starting: the whole set is ten seconds of one core.
    return min(os.cpu_count() or 1, 16)


def _command(recipe: Recipe, size: int | None) -> str:
    default = size in (None, recipe.default_size)
    return f"vision-suite data prepare {recipe.name if default else recipe.folder_of(size).name}"
