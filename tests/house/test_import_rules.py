"""Who may import whom, and a few habits, read from the source without running it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = {"datasets": ROOT / "datasets", "lit_modules": ROOT / "lit_modules"}
PURE = ("types", "errors", "ops", "layers", "models", "losses", "metrics", "optim", "viz")
KNOWS_LIGHTNING = {"pytorch_lightning", "lightning", "lightning_fabric", "wandb", "jsonargparse"}
HEAVY = {"transformers", "open_clip", "wandb", "matplotlib"}
# A room and the rooms of ours that it must not import.
FORBIDDEN = {
    "types": {"*"},
    "errors": {"*"},
    "ops": {"layers", "models", "losses", "metrics", "optim", "viz", "lit_modules", "datasets", "callbacks", "cli"},
    "layers": {"models", "losses", "metrics", "optim", "viz", "lit_modules", "datasets", "callbacks", "cli"},
    "models": {"losses", "metrics", "optim", "viz", "lit_modules", "datasets", "callbacks", "cli"},
    "losses": {"models", "lit_modules", "datasets", "callbacks", "cli"},
    "metrics": {"models", "lit_modules", "datasets", "callbacks", "cli"},
    "optim": {"models", "lit_modules", "datasets", "callbacks", "cli"},
    "viz": {"models", "lit_modules", "datasets", "callbacks", "cli"},
    "datasets": {"models", "lit_modules", "callbacks", "cli"},
    "lit_modules": {"datasets", "cli"},
    "callbacks": {"cli"},
}


def sources() -> list[tuple[str, str, Path]]:
    """Room, module name and file of every source file of the package."""
    found = []
    for path in sorted((ROOT / "vision_suite").rglob("*.py")):
        relative = path.relative_to(ROOT / "vision_suite")
        if relative.parts[0] not in ROOMS:
            found.append((relative.parts[0].removesuffix(".py"), f"vision_suite/{relative}", path))
    for room, folder in ROOMS.items():
        found += [(room, f"{room}/{path.relative_to(folder)}", path) for path in sorted(folder.rglob("*.py"))]
    return found


SOURCES = sources()
every_source = pytest.mark.parametrize(("room", "path"), [pytest.param(r, p, id=name) for r, name, p in SOURCES])


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


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def rooms(names: Iterator[str]) -> set[str]:
    """The rooms of ours among dotted names."""
    return {name.split(".")[1] for name in names if name.startswith("vision_suite.")}


def test_the_source_is_found():
    assert len(SOURCES) > 50
    assert {room for room, _, _ in SOURCES} >= {*PURE, "datasets", "lit_modules", "callbacks", "cli"}


@every_source
def test_the_pure_part_does_not_know_lightning(room, path):
    if room in PURE:
        roots = {name.split(".")[0] for name in imports(parsed(path).body, everywhere=True)}
        assert not roots & KNOWS_LIGHTNING


@every_source
def test_rooms_import_only_what_they_may(room, path):
    found = rooms(imports(parsed(path).body, everywhere=True))
    forbidden = FORBIDDEN.get(room, set())
    assert not (found - {room} if "*" in forbidden else found & forbidden)


@every_source
def test_no_heavy_package_is_imported_at_the_top(room, path):
    roots = {name.split(".")[0] for name in imports(parsed(path).body, everywhere=False)}
    assert not roots & HEAVY


@every_source
def test_linked_rooms_have_one_name(room, path):
    names = list(imports(parsed(path).body, everywhere=True))
    assert not [name for name in names if name.split(".")[0] in ("lit_modules", "configs")]
    assert not [name for name in names if name.startswith("datasets.") and (ROOT / f"{name.split('.')[1]}.py").exists()]


@every_source
def test_files_are_short(room, path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500


@every_source
def test_only_the_command_line_prints(room, path):
    calls = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    assert room == "cli" or not [call.lineno for call in calls if call.func.id == "print"]


@every_source
def test_nothing_is_swallowed_and_nothing_is_left_for_later(room, path):
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ExceptHandler):
            assert not all(isinstance(line, ast.Pass) for line in node.body), f"line {node.lineno} drops an error"
            assert node.type is not None, f"line {node.lineno} catches everything"
    assert "TODO" not in path.read_text(encoding="utf-8")


@every_source
def test_files_from_elsewhere_never_run_code(room, path):
    tree = parsed(path)
    assert "pickle" not in {name.split(".")[0] for name in imports(tree.body, everywhere=True)}
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant):
            assert not (node.arg == "weights_only" and node.value.value is False), f"line {node.value.lineno}"
            assert not (node.arg == "allow_pickle" and node.value.value is True), f"line {node.value.lineno}"
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            assert any(keyword.arg == "weights_only" for keyword in node.keywords), f"line {node.lineno}"
