"""Who may import whom, and a few habits, read from the source without running it."""

import ast
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = {"datasets": ROOT / "datasets", "lit_modules": ROOT / "lit_modules"}
PURE = ("types", "errors", "ops", "layers", "models", "losses", "metrics", "optim", "viz")
KNOWS_LIGHTNING = {"pytorch_lightning", "lightning", "lightning_fabric", "wandb", "jsonargparse"}
HEAVY = {"transformers", "open_clip", "wandb", "matplotlib"}
UNSAFE = {("weights_only", "False"), ("allow_pickle", "True")}
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
    "video": {"models", "losses", "metrics", "optim", "viz", "lit_modules", "datasets", "callbacks", "cli"},
    "extract": {"losses", "metrics", "optim", "viz", "lit_modules", "callbacks", "cli"},
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


def offenders(rule: Callable[[str, Path], object]) -> dict[str, object]:
    """What a rule finds, by module; a rule returns something empty for a good one."""
    found = {name: rule(room, path) for room, name, path in SOURCES}
    return {name: finding for name, finding in found.items() if finding}


def roots(path: Path, *, everywhere: bool) -> set[str]:
    """The packages that a file imports."""
    return {name.split(".")[0] for name in imports(parsed(path).body, everywhere=everywhere)}


def test_the_source_is_found():
    assert len(SOURCES) > 50
    assert {room for room, _, _ in SOURCES} >= {*PURE, "datasets", "lit_modules", "callbacks", "cli"}


def test_the_pure_part_does_not_know_lightning():
    assert not offenders(lambda room, path: roots(path, everywhere=True) & KNOWS_LIGHTNING if room in PURE else None)


def test_rooms_import_only_what_they_may():
    def rule(room: str, path: Path) -> set[str]:
        names = [name for name in imports(parsed(path).body, everywhere=True) if name.startswith("vision_suite.")]
        found = {name.split(".")[1] for name in names}
        forbidden = FORBIDDEN.get(room, set())
        return found - {room} if "*" in forbidden else found & forbidden

    assert not offenders(rule)


def test_no_heavy_package_is_imported_at_the_top():
    assert not offenders(lambda room, path: roots(path, everywhere=False) & HEAVY)


def test_linked_rooms_have_one_name():
    def rule(room: str, path: Path) -> list[str]:
        names = list(imports(parsed(path).body, everywhere=True))
        ours = {f"datasets.{module.stem}" for module in ROOMS["datasets"].glob("*.py")}
        return [
            name
            for name in names
            if name.split(".")[0] in ("lit_modules", "configs") or ".".join(name.split(".")[:2]) in ours
        ]

    assert not offenders(rule)


def test_files_are_short():
    assert not offenders(lambda room, path: len(path.read_text(encoding="utf-8").splitlines()) > 500)


def test_only_the_command_line_prints():
    def rule(room: str, path: Path) -> list[int]:
        calls = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
        return (
            [call.lineno for call in calls if ast.unparse(call.func) == "print"]
            if room != "cli" and path.name != "__main__.py"
            else []
        )

    assert not offenders(rule)


def test_nothing_is_swallowed_and_nothing_is_left_for_later():
    def rule(room: str, path: Path) -> list[str]:
        handlers = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.ExceptHandler)]
        found = [f"line {node.lineno} catches everything" for node in handlers if node.type is None]
        for node in handlers:
            if all(isinstance(line, ast.Pass) for line in node.body):
                found.append(f"line {node.lineno} drops an error")
        return found + ["a note on work to do"] * ("TODO" in path.read_text(encoding="utf-8"))

    assert not offenders(rule)


def test_files_from_elsewhere_never_run_code():
    def rule(room: str, path: Path) -> list[str]:
        classes = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.ClassDef)]
        bases = {ast.unparse(base): node for node in classes for base in node.bases}
        limited = (
            any(getattr(line, "name", "") == "find_class" for line in bases["pickle.Unpickler"].body)
            if ("pickle.Unpickler" in bases)
            else False
        )
        found = ["imports pickle"] * ("pickle" in roots(path, everywhere=True) and not limited)
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.keyword) and (node.arg, ast.unparse(node.value)) in UNSAFE:
                found.append(f"line {node.value.lineno}: {node.arg}={ast.unparse(node.value)}")
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("pickle."):
                found.append(f"line {node.lineno}: {ast.unparse(node.func)}")
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                if not any(keyword.arg == "weights_only" for keyword in node.keywords):
                    found.append(f"line {node.lineno}: torch.load without weights_only")
        return found

    assert not offenders(rule)
