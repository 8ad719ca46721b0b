"""``vision-suite data``: real sets that need no account and no download page, and recordings of eye trackers."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from vision_suite.cli import data_preview, scanpath_import
from vision_suite.cli.light_parser import LightParser, count
from vision_suite.datasets.prepare import catalog
from vision_suite.datasets.prepare.fetch import data_dir
from vision_suite.faults import CHECK_FAILED, DONE


def main(argv: Sequence[str]) -> int:
    """Run one of the actions; 1 if ``verify`` finds a problem."""
    arguments = _parser().parse_args(argv)
    if arguments.action == "list":
        return _list()
    if arguments.action == "prepare":
        return _prepare(arguments)
    if arguments.action == scanpath_import.NAME:
        return scanpath_import.run(arguments)
    if arguments.action == data_preview.NAME:
        from vision_suite.cli.trainer.lines import plain_warnings  # loads Lightning, which the others do without

        plain_warnings()
        return data_preview.run(arguments)
    return _verify(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = LightParser(prog="vision-suite data", description="Real data sets, prepared by a command.")
    names = "list|prepare|verify|import-scanpaths|preview"
    actions = parser.add_subparsers(dest="action", required=True, metavar=names)
    actions.add_parser("list", help="what can be prepared, and what is")
    prepare = actions.add_parser("prepare", help="fetch, check and convert a set; at once if it is there")
    prepare.add_argument("name", help="a name of 'vision-suite data list'")
    prepare.add_argument(
        "--source", type=Path, help="archive, folder of archives or unpacked package, instead of a fetch"
    )
    prepare.add_argument("--image_size", type=count, help="side of the pictures in pixels (default: the set's own)")
    prepare.add_argument("--variant", help="variant of the set (default: its first)")
    prepare.add_argument("--workers", type=count, help="processes that draw pictures (default: one a core)")
    prepare.add_argument("--quiet", action="store_true", help="no progress bars")
    verify = actions.add_parser("verify", help="recount and recheck every file of a prepared set")
    verify.add_argument("name", help="a name of 'vision-suite data list'")
    verify.add_argument("--quiet", action="store_true", help="no progress bars")
    scanpath_import.add_parser(actions)
    data_preview.add_parser(actions)
    return parser


def _list() -> int:
    """One set a paragraph: name, state, what it is."""
    print(f"data cache: {data_dir()} (set VISION_SUITE_DATA to change it)")
    for entry in catalog.entries():
        state = f"prepared in {entry.path}" if entry.prepared else f"prepare it: vision-suite data prepare {entry.name}"
        print(f"{entry.name}: {entry.description}")
        print(f"  for      {entry.task}")
        print(f"  licence  {entry.licence}")
        print(f"  state    {state}")
    return 0


def _prepare(arguments: argparse.Namespace) -> int:
    folder = catalog.prepare(
        arguments.name,
        source=arguments.source,
        image_size=arguments.image_size,
        workers=arguments.workers,
        variant=arguments.variant,
        quiet=arguments.quiet,
    )
    print(f"{arguments.name} is ready: {folder}")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    report = catalog.verify(arguments.name, quiet=arguments.quiet)
    for problem in report.problems:
        print(f"problem: {problem}")
    found = f"{len(report.problems)} problems: delete its folder and prepare it again"
    print(f"{arguments.name}: {found if report.problems else 'all files are right'}")
    return CHECK_FAILED if report.problems else DONE
