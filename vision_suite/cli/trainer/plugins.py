"""Import everything whose classes may be named on the command line.

The parser finds short class names only among imported classes, so a new file in ``lit_modules``, ``datasets`` or
``callbacks`` works without an edit anywhere, and so does another package that declares the entry-point group
``vision_suite.plugins``.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil

from vision_suite.errors import ConfigError

ROOMS = ("vision_suite.lit_modules", "vision_suite.datasets", "vision_suite.callbacks")
GROUP = "vision_suite.plugins"


def import_rooms() -> list[str]:
    """Import every module of these rooms and return their names."""
    names = [
        module.name
        for room in ROOMS
        for module in pkgutil.walk_packages(importlib.import_module(room).__path__, f"{room}.")
    ]
    for name in names:
        importlib.import_module(name)
    return names


def import_plugins() -> list[str]:
    """Import the plugins of installed packages and return the modules' names.

    Raises:
        ConfigError: A plugin cannot be imported; the message names it and the reason.
    """
    points = sorted(importlib.metadata.entry_points(group=GROUP), key=lambda point: point.name)
    for point in points:
        try:
            point.load()
        except Exception as error:
            package = point.dist.name if point.dist is not None else "an unknown package"
            raise ConfigError(
                f"the plugin '{point.name}' ({point.value}) of {package} cannot be imported "
                f"({type(error).__name__}: {error}): mend or uninstall that package"
            ) from error
    return [point.value for point in points]
