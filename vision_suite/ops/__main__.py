"""``python -m vision_suite.ops``: what serves attention here. ``... ops build``: compile it."""

from __future__ import annotations

import argparse
import os
import runpy
import sys

from filelock import FileLock

from vision_suite.ops import _load


def main(argv: list[str] | None = None) -> int:
    """Print the status, or build; 1 if building failed."""
    parser = argparse.ArgumentParser(prog="python -m vision_suite.ops", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["status", "build"], default="status")
    if parser.parse_args(argv).command == "build":
        return build()
    show()
    return 0


def show() -> None:
    """A line for each library."""
    for name, library in _load.libraries().items():
        if library.path is None:
            print(f"{name}: not used, {library.reason}")
            continue
        built = ", ".join(f"{key} {library.stamp[key]}" for key in ("torch", "compiler", "cuda", "archs")
                          if library.stamp.get(key))  # fmt: skip
        print(f"{name}: {library.path}{f', running on {library.isa}' if library.isa else ''} ({built})")


def build() -> int:
    """Compile into the package, or into the user's cache where the package cannot be written."""
    script = _load.SOURCES / "build.py"
    if not script.is_file():
        print(f"there are no sources beside this installation ({script}): clone the repository and build there")
        return 1
    folder = _load.PACKAGE if os.access(_load.PACKAGE, os.W_OK) else _load.cache_folder(_load.source_hash())
    folder.mkdir(parents=True, exist_ok=True)
    module = runpy.run_path(str(script))
    print(f"compiling the attention operators into {folder}", flush=True)
    with FileLock(str(folder / ".build.lock")):
        try:
            for path in module["build_in_place"](folder):
                print(path)
        except module["BuildError"] as error:
            print(f"attention operators were not built: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
