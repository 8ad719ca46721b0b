"""Code blocks and tables of the project's Markdown files, for the tests that read them."""

import re
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

BLOCK = re.compile(r"(?P<marker><!--[^\n]*-->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block; ``marker`` is the text of an HTML comment on the line above it."""

    language: str
    code: str
    marker: str

    @property
    def skipped(self) -> bool:
        return self.marker.startswith("not run by the tests: ")

    @property
    def file(self) -> str | None:
        """The file that the block is the content of."""
        return self.marker.removeprefix("file: ") if self.marker.startswith("file: ") else None

    def commands(self) -> list[str]:
        """The command lines of a shell block, without comments."""
        lines = (re.sub(r"\s+#.*", "", line).strip() for line in self.code.splitlines())
        return [line for line in lines if line]


def blocks(path: Path) -> list[Block]:
    """Every fenced block of a Markdown file, in order."""
    found = []
    for match in BLOCK.finditer(path.read_text(encoding="utf-8")):
        marker = (match["marker"] or "").strip().removeprefix("<!--").removesuffix("-->").strip()
        found.append(Block(match["language"], match["code"], marker))
    return found


def tables(path: Path) -> dict[str, list[list[str]]]:
    """Rows of cells of every table of a Markdown file, by the first cell of its header."""
    found = {}
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines[1:], start=1):
        if set(line) == set("|-"):
            rows = takewhile(lambda row: row.startswith("|"), lines[number + 1 :])
            found[cells(lines[number - 1])[0]] = [cells(row) for row in rows]
    return found


def cells(row: str) -> list[str]:
    """The cells of a table's row."""
    return [cell.strip() for cell in row[1:-1].split("|")]
