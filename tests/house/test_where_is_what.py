"""Paths and names on the project's pages exist, and docs/where-is-what.md has every task and every room."""

import re
from itertools import takewhile

import pytest
from documents import blocks, cells
from folders import ROOT
from house import FOLDERS_TO_COME, MODULES, ROOMS, ROOMS_TO_COME, SOURCES, TASKS, TASKS_TO_COME

PAGE = ROOT / "docs/where-is-what.md"
TOP = ("vision_suite", "datasets", "lit_modules", "configs", "tests", "docs", "benchmarks", "cuda_ext")
PAGES = sorted([*ROOT.glob("*.md"), *(path for top in TOP for path in (ROOT / top).rglob("*.md"))])
SOURCE = (".py", ".cu", ".cuh", ".cpp", ".h", ".inl")
FILES = [path for top in TOP for path in (ROOT / top).rglob("*") if path.suffix in SOURCE]
CODE = re.compile(r"`([\w./*-]+)`")
ENTRY_POINTS = {"vision_suite.plugins", "vision_suite.recipes", "vision_suite.hub_methods"}
# Files that add-a-method.md tells the reader to write.
WRITTEN = {block.file for block in blocks(ROOT / "docs/add-a-method.md") if block.file}
PATTERNS = {"..._recipe.py"}  # endings of names


def task_tables() -> list[tuple[str, str, str]]:
    """Task, folder of the column and cell of the page's tables headed ``task``."""
    found = []
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if line.startswith("| task |"):
            folders = [CODE.search(cell)[1] for cell in cells(line)[1:]]
            for row in takewhile(lambda text: text.startswith("|"), lines[number + 2 :]):
                task, *rest = cells(row)
                found += [(CODE.search(task)[1], folder, cell) for folder, cell in zip(folders, rest, strict=True)]
    return found


@pytest.mark.parametrize(("task", "folder", "cell"), task_tables())
def test_every_path_of_a_task_exists(task, folder, cell):
    paths = CODE.findall(cell)
    assert all((ROOT / folder / path).exists() for path in paths), paths
    # Where the room has the task's word as a folder or a file, the cell names it.
    own = [path for path in (f"{task}/", f"{task}.py") if (ROOT / folder / path).exists()]
    assert set(own) <= set(paths), f"{folder}{own} is not on the page"


def test_every_task_has_a_row_and_every_room_a_column():
    tables = task_tables()
    text = PAGE.read_text(encoding="utf-8")
    assert {task for task, _, _ in tables} == set(TASKS) - TASKS_TO_COME
    folders = {folder for _, folder, _ in tables}
    assert folders >= {"configs/", "tests/", "docs/"}
    assert len(tables) == len({row[:2] for row in tables}) == len(folders) * len(set(TASKS) - TASKS_TO_COME)
    without = set(re.findall(r"^\| `([\w/.]+)` \|", text.split("\n## ")[2], re.MULTILINE))
    named = {re.sub(r"^vision_suite/|\.py$", "", name).split("/")[0] for name in folders | without}
    assert named - {"configs", "tests", "docs"} == set(ROOMS) - ROOMS_TO_COME


def exists(name: str) -> bool:
    """True if a path from a top folder, or the end of a source file's path, leads to something.

    Folders of the reader's own are neither.
    """
    first, slash, _ = name.partition("/")
    if slash and first in TOP:
        return any(ROOT.glob(name.rstrip("/")))
    return (
        (slash and first not in ROOMS)
        or not name.endswith(SOURCE)
        or any(path.match(name) for path in [*FILES, ROOT / "setup.py"])
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_paths_on_a_page_exist(page):
    names = set(CODE.findall(page.read_text(encoding="utf-8"))) - WRITTEN - FOLDERS_TO_COME - PATTERNS
    assert not sorted(name for name in names if not name.startswith("/") and not exists(name))


def leads_into_a_module(name: str) -> bool:
    """True if a dotted name is a package, a module, or a name that a module's text has."""
    parts = tuple(name.split(".")[1:])
    packages = {module[:depth] for module in MODULES for depth in range(1, len(module) + 1)}
    if parts in packages:
        return True
    *module, attribute = parts
    text = [
        source.path.read_text(encoding="utf-8")
        for source in SOURCES
        if source.parts in (tuple(module), (*module, "__init__"))
    ]
    return any(re.search(rf"\b{attribute}\b", code) for code in text)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_on_a_page_exist(page):
    names = set(re.findall(r"\bvision_suite(?:\.\w+)+", page.read_text(encoding="utf-8"))) - ENTRY_POINTS
    written = {f"vision_suite/{name}".removesuffix(".py").replace("/", ".") for name in WRITTEN}
    written = {name.replace("vision_suite.vision_suite.", "vision_suite.") for name in written}
    # A class of such a file is one too.
    names -= {name for name in names if name.rpartition(".")[0] in written}
    assert not sorted(name for name in names - written if not leads_into_a_module(name))


@pytest.mark.parametrize("page", [ROOT / "CONTRIBUTING.md", PAGE], ids=lambda path: path.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_the_page_is_linked():
    for name in ("README.md", "CONTRIBUTING.md"):
        assert "(docs/where-is-what.md)" in (ROOT / name).read_text(encoding="utf-8"), name
