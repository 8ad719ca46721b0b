"""Code blocks of the project's Markdown files, for the tests that run them."""

import re
from dataclasses import dataclass
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
