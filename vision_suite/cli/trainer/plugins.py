"""Plug-ins of other packages, whose classes can be named on the command line like those of the suite.

A package declares its modules under the entry-point group ``vision_suite.plugins``. They are imported before the
arguments are parsed: the parser finds short class names only among imported classes.
"""

from __future__ import annotations

import importlib.metadata

from vision_suite.errors import ConfigError

GROUP = "vision_suite.plugins"


def import_plugins() -> list[str]:
    """Import the plug-ins of installed packages and return the modules' names.

    Raises:
        ConfigError: A plug-in cannot be imported; the message names it and the reason.
    """
    points = sorted(importlib.metadata.entry_points(group=GROUP), key=lambda point: point.name)
    for point in points:
        try:
            point.load()
        except Exception as error:
            package = point.dist.name if point.dist is not None else "an unknown package"
            raise ConfigError(
                f"the plugin '{point.name}' ({point.value}) of {package} cannot be imported "
                f"({type(error).__name__}: {error}): fix or uninstall that package"
            ) from error
    return [point.value for point in points]
