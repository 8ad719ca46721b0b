"""The methods that entries may be of: those of this package, found by scanning, and those of installed packages.

Another package brings one through the entry-point group ``vision_suite.hub_methods``, whose value is a `HubMethod` or a
module with ``METHODS``. An entry never brings one.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from vision_suite.errors import CheckpointError, ConfigError
from vision_suite.hub.method import HubMethod

FOLDER = "vision_suite.hub.methods"
GROUP = "vision_suite.hub_methods"


@cache
def methods() -> tuple[HubMethod, ...]:
    """Every method.

    Raises:
        ConfigError: One of another package cannot be imported; the line names it.
    """
    return (*_own(), *_installed())


def find(name: str, network: str) -> HubMethod:
    """The method of an entry.

    Args:
        name: Name of the method.
        network: Path of the network's class.

    Raises:
        CheckpointError: There is none; nothing is imported because an entry names it.
    """
    known = [method for method in methods() if method.name == name]
    found = next((method for method in known if method.network == network), None)
    if found is None:
        names = ", ".join(sorted({method.name for method in methods()}))
        classes = ", ".join(method.network for method in known)
        what = f"the method {name!r:.60}: known are {names}" if not known else f"{network!r:.120}: {name} has {classes}"
        raise CheckpointError(f"config.json names {what}; install the package that has it, or do not use this entry")
    return found


def of_module(module: str) -> HubMethod:
    """The method of a class of ``lit_modules``.

    Args:
        module: Name of the class.

    Raises:
        CheckpointError: The hub has no method of it.
    """
    found = next((method for method in methods() if module in method.modules), None)
    if found is None:
        known = ", ".join(sorted(name for method in methods() for name in method.modules))
        raise CheckpointError(f"{module} has no method in the hub: checkpoints of {known} have one")
    return found


def network_paths() -> frozenset[str]:
    """Paths of all networks."""
    return frozenset(method.network for method in methods())


def _own() -> Iterator[HubMethod]:
    for root in importlib.import_module(FOLDER).__path__:
        for path in sorted(Path(root).glob("*.py")):
            if path.stem != "__init__" and path.stem.isidentifier():
                yield from getattr(importlib.import_module(f"{FOLDER}.{path.stem}"), "METHODS", ())


def _installed() -> Iterator[HubMethod]:
    for point in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda point: point.name):
        package = point.dist.name if point.dist is not None else "an unknown package"
        try:
            loaded = point.load()
        except Exception as error:  # a package that is not ours may fail in any way
            raise ConfigError(
                f"the hub's method '{point.name}' ({point.value}) of {package} cannot be imported "
                f"({type(error).__name__}: {error}): fix or uninstall that package"
            ) from error
        found = (loaded,) if isinstance(loaded, HubMethod) else getattr(loaded, "METHODS", ())
        if not found or not all(isinstance(each, HubMethod) for each in found):
            raise ConfigError(
                f"the hub's method '{point.name}' ({point.value}) of {package} is no HubMethod: fix or uninstall it"
            )
        yield from found
