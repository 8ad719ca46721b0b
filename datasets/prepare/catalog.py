"""The sets that a command can prepare: the list of them, and preparing and checking one by its name.

Light: neither torch nor a picture library is loaded by importing this module or by listing the entries.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

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


class Choice(NamedTuple):
    """A recipe with a picture size and a variant, None for the usual ones."""

    recipe: Recipe
    size: int | None = None
    variant: str | None = None

    @property
    def folder(self) -> Path:
        """Its folder, prepared or not."""
        return self.recipe.folder_of(self.size, self.variant)


def entries() -> list[CatalogEntry]:
    """All sets: each at its default size, at every other size already prepared, and in each of its variants.

    Raises:
        ConfigError: As `recipes`.
    """
    known = recipes()
    folders = [path.name for path in data_dir().iterdir()] if data_dir().is_dir() else []
    there = [found for name in folders if (found := _parsed(name, known))]
    listed = []
    for recipe in known.values():
        usual = Choice(recipe)
        sizes = {found.size for found in there if found.recipe is recipe} - {recipe.default_size, None}
        others = [usual._replace(size=size) for size in sorted(sizes, key=lambda size: size or 0)]
        for choice in (usual, *others, *(usual._replace(variant=variant) for variant in recipe.variants[1:])):
            path = choice.folder
            size = recipe.default_size if choice.size is None else choice.size
            variant = choice.variant or next(iter(recipe.variants), "")
            listed.append(
                CatalogEntry(
                    name=recipe.name if choice == usual else path.name,
                    description=recipe.description.replace("{size}", str(size)).replace("{variant}", variant),
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
    variant: str | None = None,
    quiet: bool = False,
) -> Path:
    """Make a set ready in the cache and return its folder; at once if it is there.

    Args:
        name: Name of the set, such as emoji-reid (or emoji-reid-128 for pictures of 128 pixels).
        source: Archive, folder of archives or unpacked package to use instead of the registry.
        image_size: Side of the pictures in pixels, the set's default if not given.
        workers: Number of processes that draw the pictures, one per core (16 at most) if not given.
        variant: One of the set's variants, its first if not given.
        quiet: Show no progress bar.

    Returns:
        Prepared folder.

    Raises:
        ConfigError: There is no such set or variant, or the size or number of workers is out of range.
        DataError: The set cannot be had (no client, no answer, a wrong checksum) or written (disk full, no rights).
    """
    recipe, size, variant = _find(name, image_size, variant)
    if workers is not None and workers < 1:
        raise ConfigError(f"workers={workers}: give 1 or more")
    try:
        with progress_bars(quiet) as progress:
            return recipe.prepare(progress, Options(source, size, workers or _cores(), variant))
    except OSError as error:
        raise DataError(
            f"the data cache {data_dir()} cannot be used ({error.strerror or error}: {error.filename}): "
            f"make room or allow writing, or set VISION_SUITE_DATA to another folder"
        ) from error


def verify(
    name: str, *, image_size: int | None = None, variant: str | None = None, quiet: bool = False
) -> VerifyReport:
    """Recount and recheck every file of a prepared set; the report's ``problems`` are empty if all is well.

    Args:
        name: Name of the set, as for `prepare`.
        image_size: Side of the pictures in pixels, the set's default if not given.
        variant: One of the set's variants, its first if not given.
        quiet: Show no progress bar.

    Raises:
        ConfigError: There is no such set or variant.
        DataError: It is not prepared, or its manifest cannot be read.
    """
    choice = _find(name, image_size, variant)
    folder = choice.folder
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist: run `{_command(choice)}`")
    with progress_bars(quiet) as progress:
        return choice.recipe.verify(folder, progress)


def prepare_command(root: str) -> str | None:
    """The command that prepares a data root such as ``emoji-reid-64/a``; None if no recipe makes it.

    Raises:
        ConfigError: As `recipes`.
    """
    known = recipes()
    found = [made for part in Path(root).parts if (made := _parsed(part, known))]
    return _command(found[0]) if found else None


def _find(name: str, image_size: int | None, variant: str | None) -> Choice:
    """The recipe, picture size and variant meant by a name and by options that may say the same."""
    known = recipes()
    found = _parsed(name, known)
    if found is None:
        names = [word for recipe in known.values() for word in _names(recipe)]
        raise ConfigError(f"no set is called {name!r}: choose {', '.join(names[:-1])} or {names[-1]}")
    recipe, size, named = found
    if image_size is not None and recipe.default_size is None:
        raise ConfigError(f"{name} has {recipe.one_size}: leave image_size={image_size} out")
    if size is not None and image_size not in (None, size):
        raise ConfigError(f"{name} and image_size={image_size} disagree: give one of them")
    if variant is not None and variant not in recipe.variants:
        kinds = f"choose {' or '.join(recipe.variants)}" if recipe.variants else "it has none"
        raise ConfigError(f"{recipe.name} has no variant {variant!r}: {kinds}")
    if named is not None and variant not in (None, named):
        raise ConfigError(f"{name} and variant={variant} disagree: give one of them")
    return Choice(recipe, image_size if size is None else size, variant if named is None else named)


def _parsed(name: str, known: dict[str, Recipe]) -> Choice | None:
    """Meaning of a name: a set, a variant of it, or a size of its pictures; None for another name."""
    if name in known:
        return Choice(known[name])
    for recipe in known.values():
        for variant in recipe.variants[1:]:
            if name == f"{recipe.name}-{variant}":
                return Choice(recipe, variant=variant)
    stem, _, size = name.rpartition("-")
    recipe_or_none = known.get(stem)
    if recipe_or_none is not None and recipe_or_none.default_size is not None and size.isdecimal():
        return Choice(recipe_or_none, int(size))
    return None


def _names(recipe: Recipe) -> tuple[str, ...]:
    """The names by which a set can be asked for."""
    sized = () if recipe.default_size is None else (f"{recipe.name}-<size>",)
    return (recipe.name, *sized, *(f"{recipe.name}-{variant}" for variant in recipe.variants[1:]))


def _cores() -> int:
    # More would spend their time on starting: the whole set is ten seconds of one core.
    return min(os.cpu_count() or 1, 16)


def _command(choice: Choice) -> str:
    recipe = choice.recipe
    usual = choice.size in (None, recipe.default_size) and choice.variant in (None, *recipe.variants[:1])
    return f"vision-suite data prepare {recipe.name if usual else choice.folder.name}"
