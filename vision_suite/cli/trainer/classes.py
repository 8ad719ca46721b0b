"""Index of the classes that the command line can name, read from the sources without importing them.

A run imports the modules of the classes it names and no others. A new file in one of the rooms needs no edit anywhere.

Class paths of earlier versions keep working: modules move, class names stay. A path below ``vision_suite`` whose module
does not exist any more means the class of that name in the rooms. This holds for flags, configuration files and
checkpoints; there is no list of former names.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any

import vision_suite
from vision_suite.errors import ConfigError, SuiteError

PACKAGE = vision_suite.__name__
ROOMS = ("lit_modules", "datasets", "callbacks")


@dataclass(frozen=True)
class IndexedClass:
    """A class statement at the top level of a module.

    Attributes:
        name: Name of the class.
        module: Dotted name of the module.
        bases: Names of the base classes, without their modules.
        defined: Names that the body of the class defines.
        abstract: Those of them that are abstract methods.
    """

    name: str
    module: str
    bases: tuple[str, ...]
    defined: frozenset[str]
    abstract: frozenset[str]

    @property
    def path(self) -> str:
        """Class path: module and name."""
        return f"{self.module}.{self.name}"


def statements() -> Iterator[IndexedClass]:
    """Every top-level class statement in the modules of the rooms.

    Raises:
        ConfigError: A module is not Python.
    """
    for root in vision_suite.__path__:
        for room in ROOMS:
            for path in sorted((Path(root) / room).rglob("*.py")):
                if not all(part.isidentifier() for part in path.relative_to(root).with_suffix("").parts):
                    continue  # an editor's or a notebook's copy, which cannot be imported
                parts = [PACKAGE, *path.relative_to(root).with_suffix("").parts]
                module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                try:
                    body = ast.parse(path.read_text(encoding="utf-8")).body
                except (SyntaxError, UnicodeDecodeError) as error:
                    raise ConfigError(f"{path} is not Python ({error})") from error
                yield from (_indexed(node, module) for node in body if isinstance(node, ast.ClassDef))


@cache
def index() -> dict[str, IndexedClass]:
    """The classes of the rooms by name; the first one where two share a name."""
    found: dict[str, IndexedClass] = {}
    for each in statements():
        found.setdefault(each.name, each)
    return found


def import_named(texts: Iterable[str]) -> None:
    """Import the modules of those texts that are names of indexed classes, so that the parser finds them."""
    for text in texts:
        if text in index():
            importlib.import_module(index()[text].module)


def imported(module: str) -> ModuleType | None:
    """The module of a class path, None if there is none of that name.

    Raises:
        ConfigError: The module exists and cannot be imported; the message names file and line.
    """
    try:
        return importlib.import_module(module)
    except SuiteError:
        raise
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            return None
        if isinstance(error, SyntaxError):
            where, reason = f" ({error.filename}:{error.lineno})", f"{type(error).__name__}: {error.msg}"
        else:
            frames = [each for each in extract_tb(error.__traceback__) if not each.filename.startswith("<frozen")]
            where, reason = f" ({frames[-1].filename}:{frames[-1].lineno})", f"{type(error).__name__}: {error}"
        raise ConfigError(f"the module {module} cannot be imported: {' '.join(reason.split())}{where}") from error


def check_modules(values: Iterable[object]) -> None:
    """Import the modules of the class paths among values, where they exist: the parser would hide why one fails.

    Raises:
        ConfigError: A module cannot be imported.
    """
    for value in values:
        if isinstance(value, list):
            check_modules(value)
        elif isinstance(value, dict):
            check_modules([value.get("class_path")])
        elif isinstance(value, str) and "." in value and all(part.isidentifier() for part in value.split(".")):
            imported(value.rpartition(".")[0])


def import_everything() -> None:
    """Import the modules of all indexed classes, for help texts that list them."""
    for module in sorted({each.module for each in index().values()}):
        importlib.import_module(module)


def names_below(bases: Collection[str]) -> list[str]:
    """Names of the concrete public classes whose chain of bases reaches one of the given names."""

    def reaches(each: IndexedClass) -> bool:
        return any(base in bases or (base in index() and reaches(index()[base])) for base in each.bases)

    return [
        name for name, each in index().items() if not name.startswith("_") and reaches(each) and not _abstract(each)
    ]


def present_path(path: str) -> str:
    """The class path that a class path of an earlier version stands for; any other text as it is."""
    module, _, name = path.rpartition(".")
    if not module.startswith(f"{PACKAGE}.") or name not in index() or _exists(module):
        return path
    return index()[name].path


def with_present_paths(value: object) -> Any:
    """A configuration in plain containers with `present_path` applied to every text in it."""
    if isinstance(value, dict):
        return {name: with_present_paths(below) for name, below in value.items()}
    if isinstance(value, list):
        return [with_present_paths(member) for member in value]
    return present_path(value) if isinstance(value, str) else value


def _indexed(node: ast.ClassDef, module: str) -> IndexedClass:
    functions = [line for line in node.body if isinstance(line, ast.FunctionDef | ast.AsyncFunctionDef)]
    abstract = {
        each.name for each in functions if any(_last_name(mark) == "abstractmethod" for mark in each.decorator_list)
    }
    assigned = {
        target.id
        for line in node.body
        if isinstance(line, ast.Assign | ast.AnnAssign)
        for target in (line.targets if isinstance(line, ast.Assign) else [line.target])
        if isinstance(target, ast.Name)
    }
    bases = tuple(_last_name(base) for base in node.bases)
    defined = frozenset({each.name for each in functions} | assigned)
    return IndexedClass(node.name, module, bases, defined, frozenset(abstract))


def _last_name(node: ast.expr) -> str:
    """The name that an expression such as ``pl.Callback`` or ``View[Report]`` ends in."""
    if isinstance(node, ast.Subscript):
        return _last_name(node.value)
    return node.attr if isinstance(node, ast.Attribute) else ast.unparse(node)


def _abstract(each: IndexedClass) -> frozenset[str]:
    """Methods that a class leaves abstract, as far as its bases are indexed."""
    inherited = [_abstract(index()[base]) for base in each.bases if base in index()]
    return frozenset().union(*inherited) - each.defined | each.abstract


def _exists(module: str) -> bool:
    """Tell by the files alone whether the package has a module."""
    parts = module.split(".")[1:]
    places = [Path(root, *parts) for root in vision_suite.__path__]
    return any(place.is_dir() or place.with_suffix(".py").is_file() for place in places)
