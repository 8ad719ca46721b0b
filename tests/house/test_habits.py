"""Habits of the source, read without running it: nothing heavy, printed, swallowed, unsafe or left for later."""

import ast

from house import SOURCES, Source, offenders, parsed, roots

PURE = ("types", "errors", "text", "ops", "layers", "mixers", "models", "match", "losses", "metrics", "optim", "viz")
KNOWS_LIGHTNING = {"pytorch_lightning", "lightning", "lightning_fabric", "wandb", "jsonargparse"}
HEAVY = {"transformers", "open_clip", "wandb", "matplotlib"}
UNSAFE = {("weights_only", "False"), ("allow_pickle", "True")}


def test_the_source_is_found():
    assert len(SOURCES) > 50
    rooms = {"types", "errors", "ops", "layers", "models", "losses", "metrics", "optim", "viz"}
    assert {source.room for source in SOURCES} >= {*rooms, "datasets", "lit_modules", "callbacks", "cli"}


def test_the_pure_part_does_not_know_lightning():
    def rule(source: Source) -> set[str] | None:
        return roots(source.path, everywhere=True) & KNOWS_LIGHTNING if source.room in PURE else None

    assert not offenders(rule)


def test_no_heavy_package_is_imported_at_the_top():
    assert not offenders(lambda source: roots(source.path, everywhere=False) & HEAVY)


def test_files_are_short():
    assert not offenders(lambda source: len(source.path.read_text(encoding="utf-8").splitlines()) > 500)


def test_only_the_command_line_prints():
    def rule(source: Source) -> list[int]:
        calls = [node for node in ast.walk(parsed(source.path)) if isinstance(node, ast.Call)]
        return (
            [call.lineno for call in calls if ast.unparse(call.func) == "print"]
            if source.room != "cli" and source.path.name != "__main__.py"
            else []
        )

    assert not offenders(rule)


def test_nothing_is_swallowed_and_nothing_is_left_for_later():
    def rule(source: Source) -> list[str]:
        path = source.path
        handlers = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.ExceptHandler)]
        found = [f"line {node.lineno} catches everything" for node in handlers if node.type is None]
        for node in handlers:
            if all(isinstance(line, ast.Pass) for line in node.body):
                found.append(f"line {node.lineno} drops an error")
        return found + ["a note on work to do"] * ("TODO" in path.read_text(encoding="utf-8"))

    assert not offenders(rule)


def test_files_from_elsewhere_never_run_code():
    def rule(source: Source) -> list[str]:
        path = source.path
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
