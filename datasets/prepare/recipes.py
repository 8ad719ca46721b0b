"""Finding recipes: by scanning the folder ``datasets``, and in installed packages by their entry points."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

from vision_suite.datasets.prepare.base import Recipe
from vision_suite.errors import ConfigError

ROOM = "vision_suite.datasets"
GROUP = "vision_suite.recipes"


def recipes() -> dict[str, Recipe]:
    """Every recipe by its name: those of this package in the order of their names, then those of other packages.

    Raises:
        ConfigError: A recipe of another package cannot be imported, or two have one name; the line names them.
    """
    found: dict[str, Recipe] = {}
    origins: dict[str, str] = {}
    for origin, recipe in (*sorted(_own(), key=lambda pair: pair[1].name), *_installed()):
        if recipe.name in found:
            raise ConfigError(
                f"two recipes are called '{recipe.name}', those of {origins[recipe.name]} and of {origin}: "
                "rename one, or uninstall its package"
            )
        found[recipe.name], origins[recipe.name] = recipe, origin
    return found


def _own() -> Iterator[tuple[str, Recipe]]:
    """Module and recipe for each file of ``datasets`` whose name is ``recipe.py`` or ends in ``_recipe.py``."""
    for root in importlib.import_module(ROOM).__path__:
        for path in Path(root).rglob("*recipe.py"):
            if path.stem == "recipe" or path.stem.endswith("_recipe"):
                parts = path.relative_to(root).with_suffix("").parts
                module = importlib.import_module(".".join((ROOM, *parts)))
                yield module.__name__, module.RECIPE


def _installed() -> Iterator[tuple[str, Recipe]]:
    """Package and recipe for each entry point, in the order of their names."""
    for point in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda point: point.name):
        package = point.dist.name if point.dist is not None else "an unknown package"
        origin = f"the recipe '{point.name}' ({point.value}) of {package}"
        try:
            loaded = point.load()
        except Exception as error:  # a package that is not ours may fail in any way
            raise ConfigError(
                f"{origin} cannot be imported ({type(error).__name__}: {error}): fix or uninstall that package"
            ) from error
        recipe = loaded if isinstance(loaded, Recipe) else getattr(loaded, "RECIPE", None)
        if not isinstance(recipe, Recipe):
            raise ConfigError(f"{origin} cannot be used (its module has no RECIPE): fix or uninstall that package")
        missing = [name for name in Recipe.__annotations__ if not hasattr(recipe, name)]
        if missing:
            raise ConfigError(f"{origin} cannot be used (it has no {missing[0]}): fix or uninstall that package")
        if recipe.default_size is not None and recipe.default_size not in recipe.sizes:
            raise ConfigError(
                f"{origin} cannot be used (its default_size {recipe.default_size} is not in its sizes): "
                "fix or uninstall that package"
            )
        yield f"the package {package}", recipe
