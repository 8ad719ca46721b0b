"""Finding the class of a folder that serves a kind of object: a view of a report, a writer of some data's predictions.

A class names what it serves in the line ``kind = ...``: a class, or several as ``A | B``. The files of the folder are
searched for that line without running them, so only the module that is needed is imported. Classes of other packages
are known because these packages were imported as plug-ins.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from functools import cache
from inspect import isabstract
from pathlib import Path
from types import UnionType
from typing import Any


def serving(value: object, base: type[Any], folder: str) -> type[Any] | None:
    """The subclass of a base whose ``kind`` is nearest to the class of a value; None if there is none.

    Args:
        value: Object to serve; its own class is nearest, then its bases in the order of inheritance.
        base: Base of the classes searched.
        folder: Dotted name of the folder whose modules hold them.
    """
    for cls in type(value).__mro__:
        for name in _modules(folder).get(cls.__name__, ()):
            importlib.import_module(name)
        found = [known for known in _subclasses(base) if not isabstract(known) and cls in _served(known)]
        if found:
            # A class that refines another one replaces it.
            return next(known for known in found if not any(issubclass(o, known) and o is not known for o in found))
    return None


@cache
def _modules(folder: str) -> dict[str, list[str]]:
    """The modules of a folder by the class names in their lines ``kind = ...``."""
    found: dict[str, list[str]] = {}
    for root in importlib.import_module(folder).__path__:
        for path in sorted(Path(root).glob("*.py")):
            for name in _kinds(ast.parse(path.read_text(encoding="utf-8"))):
                found.setdefault(name, []).append(f"{folder}.{path.stem}")
    return found


def _kinds(module: ast.Module) -> Iterator[str]:
    """The names on the right of ``kind = ...`` in the classes of a module."""
    for node in module.body:
        for line in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(line, ast.Assign) and [ast.unparse(target) for target in line.targets] == ["kind"]:
                yield from (part.id for part in ast.walk(line.value) if isinstance(part, ast.Name))


def _served(known: type[Any]) -> tuple[object, ...]:
    """The classes that a class serves."""
    kind = getattr(known, "kind", None)
    return kind.__args__ if isinstance(kind, UnionType) else (kind,)


def _subclasses(base: type[Any]) -> Iterator[type[Any]]:
    """All subclasses of a class that were defined so far, those of subclasses too."""
    for known in base.__subclasses__():
        yield known
        yield from _subclasses(known)
