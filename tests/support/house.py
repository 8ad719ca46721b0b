"""The package's rooms, folders and task words: as CONTRIBUTING.md lists them, and as the source has them."""

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from documents import tables
from folders import ROOT

LINKED = ("datasets", "lit_modules")
LISTED = tables(ROOT / "CONTRIBUTING.md")


class Source(NamedTuple):
    """One source file of the package.

    Attributes:
        name: Path from the repository root.
        parts: Path below the package without the ending: ``("datasets", "reid", "data")``.
        path: The file.
    """

    name: str
    parts: tuple[str, ...]
    path: Path

    @property
    def room(self) -> str:
        return self.parts[0]

    @property
    def folder(self) -> str:
        """The folder of the room that holds the file; the room itself for files at its top."""
        return "/".join(self.parts[:2]) if len(self.parts) > 2 else self.room


def sources() -> list[Source]:
    """Every source file of the package, each once."""
    found = []
    for path in sorted((ROOT / "vision_suite").rglob("*.py")):
        parts = path.relative_to(ROOT / "vision_suite").with_suffix("").parts
        if parts[0] not in LINKED:
            found.append(Source(str(path.relative_to(ROOT)), parts, path))
    for room in LINKED:
        for path in sorted((ROOT / room).rglob("*.py")):
            name = path.relative_to(ROOT)
            found.append(Source(str(name), name.with_suffix("").parts, path))
    return found


SOURCES = sources()
FILES = {source.parts for source in SOURCES}
MODULES = {parts[:-1] if parts[-1] == "__init__" else parts for parts in FILES} - {()}


def imports(body: list[ast.stmt], *, everywhere: bool) -> Iterator[str]:
    """Dotted names imported at import time, or anywhere; names under ``TYPE_CHECKING`` never count."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the room"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if everywhere:
                yield from imports(node.body, everywhere=True)
        else:
            for field in ("body", "orelse", "finalbody"):
                yield from imports(getattr(node, field, None) or [], everywhere=everywhere)
            for handler in getattr(node, "handlers", []):
                yield from imports(handler.body, everywhere=everywhere)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def roots(path: Path, *, everywhere: bool) -> set[str]:
    """The packages that a file imports."""
    return {name.split(".")[0] for name in imports(parsed(path).body, everywhere=everywhere)}


def imported(source: Source) -> list[tuple[str, ...]]:
    """Modules of the package that a file imports, each as its parts below the package."""
    found = []
    for name in imports(parsed(source.path).body, everywhere=True):
        package, *parts = name.split(".")
        if package == "vision_suite":
            # The last part is a module, or a name inside of one.
            found.append(tuple(parts) if tuple(parts) in MODULES else tuple(parts[:-1]))
    return [parts for parts in found if parts]


def folder_of(module: tuple[str, ...]) -> str:
    """The folder of its room that a module lies in; the room itself for a file at its top."""
    return "/".join(module[:2]) if len(module) > 2 or (*module[:2], "__init__") in FILES else module[0]


def offenders(rule: Callable[[Source], object]) -> dict[str, object]:
    """Findings of a rule by file; a rule returns something empty for a good one."""
    found = {source.name: rule(source) for source in SOURCES}
    return {name: finding for name, finding in found.items() if finding}


def names(cell: str) -> set[str]:
    """The names in code marks of a table's cell."""
    return set(re.findall(r"`([\w/]+)`", cell))


def to_come(heading: str) -> set[str]:
    """The names that a table of CONTRIBUTING.md marks as to come."""
    return {name for row in LISTED[heading] if row[0].endswith("(to come)") for name in names(row[0])}


def allowed(heading: str) -> dict[str, set[str]]:
    """Names in the last column of a table of CONTRIBUTING.md, by the name in its first."""
    return {name: names(row[-1]) for row in LISTED[heading] for name in names(row[0])}


ROOMS, ROOMS_TO_COME = allowed("room"), to_come("room")
FOLDERS, FOLDERS_TO_COME = allowed("folder"), to_come("folder")
TASKS, TASKS_TO_COME = list(allowed("task word")), to_come("task word")
