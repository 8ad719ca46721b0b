"""``vision-suite report``: one HTML page on runs, to show or to send."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vision_suite.cli.light_parser import LightParser
from vision_suite.errors import ConfigError

ENDINGS = (".html", ".htm")


def main(argv: Sequence[str]) -> int:
    """Write the page and return 0."""
    given = _parser().parse_args(argv)
    output: Path = given.output
    if output.suffix.lower() not in ENDINGS:
        raise ConfigError(f"--output {output}: the page is HTML: give a name such as report.html")
    # Imported after the arguments were understood: --help must not wait for it.
    from vision_suite.drafts import write_whole
    from vision_suite.report.page import build_page
    from vision_suite.report.runs import collect

    runs = collect(given.runs)
    page = build_page(runs)
    write_whole(output, page.html)
    print(f"{output}: {_counted(len(runs), 'run')}, {_counted(page.curves, 'metric')} drawn, {_size(output)}")
    if page.notices:
        print(f"{_counted(len(page.notices), 'warning')}: see the head of the page")
    return 0


def _parser() -> LightParser:
    """The arguments of the command."""
    parser = LightParser(
        prog="vision-suite report",
        description="Write one HTML page on runs: commands, results with mean and standard deviation over seeds, "
        "settings that differ, curves, pictures, environment and warnings. The page needs nothing from outside, and is "
        "the same whenever the same runs are given.",
    )
    parser.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="folder of a run, or a folder that holds runs"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("report.html"), help="file to write (report.html)")
    return parser


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 2**20:.1f} MB"
