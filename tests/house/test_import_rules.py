"""Who may import whom, read from the source without running it.

CONTRIBUTING.md holds the one list of what a room, or a folder of a room, may import.
"""

import ast
from pathlib import Path

from folders import ROOT
from house import (
    FOLDERS,
    FOLDERS_TO_COME,
    MODULES,
    ROOMS,
    ROOMS_TO_COME,
    SOURCES,
    TASKS,
    Source,
    folder_of,
    imported,
    imports,
    offenders,
    parsed,
)

VOCABULARY = {"errors", "types"}
DISPATCH = {"__init__", "__main__"}


def words(module: tuple[str, ...]) -> set[str]:
    """The task words in a module's path."""
    return set(module) & set(TASKS)


def test_every_room_is_listed():
    rooms = {source.room for source in SOURCES} - DISPATCH
    assert rooms <= set(ROOMS), "a room needs a row in CONTRIBUTING.md"
    assert set(ROOMS) - rooms <= ROOMS_TO_COME, "a row in CONTRIBUTING.md has no room"


def test_the_list_is_a_ladder():
    """Each room imports rooms above it only, so there is no circle."""
    order = list(ROOMS)
    wrong = {room: {name for name in may if order.index(name) >= order.index(room)} for room, may in ROOMS.items()}
    assert not any(wrong.values()), wrong


def test_rooms_import_only_what_they_may():
    def rule(source: Source) -> set[str]:
        may = ROOMS[source.room] | (set() if source.room in VOCABULARY else VOCABULARY)
        rooms = {module[0] for module in imported(source)}
        return rooms - may - {source.room}

    assert not offenders(lambda source: rule(source) if source.room not in DISPATCH else None)


def test_folders_of_a_room_import_only_what_they_may():
    """A folder sees the files at the top of its room; another folder of the room only where the list says so."""

    def rule(source: Source) -> set[str]:
        folders = {folder_of(module) for module in imported(source) if module[0] == source.room}
        may = FOLDERS.get(source.folder, set()) | {source.room, source.folder}
        return folders - may

    assert not offenders(rule)


def test_a_task_imports_no_other_task():
    """In any room, whether the task has a folder there or a file."""

    def rule(source: Source) -> list[tuple[str, ...]]:
        own = words(source.parts)
        return [module for module in imported(source) if own and words(module) - own]

    assert not offenders(rule)


def test_every_folder_bears_a_task_word_or_is_listed():
    folders = {source.folder for source in SOURCES if "/" in source.folder}
    unlisted = folders - set(FOLDERS) - {source.folder for source in SOURCES if source.room == "models"}
    assert {folder.split("/")[1] for folder in unlisted} <= set(TASKS), unlisted
    assert {folder for folder in FOLDERS if "/" in folder} - folders == FOLDERS_TO_COME


def test_no_file_bears_a_name_that_its_folder_hands_on():
    """Once a submodule ``evaluate`` is loaded, ``folder.evaluate`` is the module and no longer the function."""
    assert handed_on(ROOT / "datasets/reid/__init__.py") == {"ReIDData"}
    assert "evaluate" in handed_on(ROOT / "vision_suite/metrics/reid/__init__.py")

    def rule(source: Source) -> set[str]:
        folder = source.parts[:-1]
        inside = {module[-1] for module in MODULES if module[:-1] == folder}
        return inside & handed_on(source.path) if source.parts[-1] == "__init__" else set()

    assert not offenders(rule)


def handed_on(path: Path) -> set[str]:
    """Public names of a folder's ``__init__.py``, those that it loads on first use too."""
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom | ast.Import):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.keyword) and node.arg == "submod_attrs":
            found |= {name for attributes in ast.literal_eval(node.value).values() for name in attributes}
    return found - {"TYPE_CHECKING", "lazy_loader"}


def test_linked_rooms_have_one_name():
    """``datasets`` and ``lit_modules`` are imported through the package, never as folders at the root."""
    ours = {f"datasets.{module[1]}" for module in MODULES if module[0] == "datasets" and len(module) > 1}

    def rule(source: Source) -> list[str]:
        found = list(imports(parsed(source.path).body, everywhere=True))
        return [
            name
            for name in found
            if name.split(".")[0] in ("lit_modules", "configs") or ".".join(name.split(".")[:2]) in ours
        ]

    assert not offenders(rule)


def test_names_of_test_files_are_unique():
    files = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert not {name for name in files if files.count(name) > 1}
