"""Results pages: command and machine, the table, and a machine-readable twin."""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def git_commit() -> str:
    """Short name of the checked-out commit, and a note if the package's code differs from it."""
    changed = " with uncommitted changes" if _git("status", "--porcelain", "--", "vision_suite", "lit_modules") else ""
    return f"{_git('rev-parse', '--short=12', 'HEAD') or 'none'}{changed}"


def command_line() -> str:
    """The running script as a user would type it; of absolute paths only the last part is told."""
    arguments = [Path(each).name if Path(each).is_absolute() else each for each in sys.argv[1:]]
    return shlex.join(["python", str(Path(sys.argv[0]).resolve().relative_to(ROOT)), *arguments])


def describe_run() -> str:
    """Command, commit, hardware and versions, as a Markdown list."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
        cpu = f"{model}, {sum(line.startswith('processor') for line in lines)} logical cores"
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "pytorch-lightning", "timm"))
    return "\n".join(
        [
            f"- command: `{command_line()}`",
            f"- commit: {git_commit()}",
            f"- hardware: {cpu}",
            f"- Python {platform.python_version()}, {packages}",
        ]
    )


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def write_results(
    stem: Path, title: str, note: str, table: str, records: Sequence[dict[str, object]], run: str
) -> None:
    """Write ``stem.md`` for readers and ``stem.json``, a list of records, for programs."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".md").write_text(f"# {title}\n\n{run}\n\n{note}\n\n{table}\n", encoding="utf-8")
    lines = ",\n".join("  " + json.dumps(record) for record in records)
    stem.with_suffix(".json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
