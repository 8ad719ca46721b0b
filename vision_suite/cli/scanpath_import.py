"""``vision-suite data import-scanpaths``: recordings of eye trackers as a set for ``--data.dataset table``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vision_suite.errors import ConfigError
from vision_suite.faults import DONE

if TYPE_CHECKING:
    from vision_suite.cli.light_parser import LightParser

NAME = "import-scanpaths"
TRACKERS = ("eyelink", "eyelink-report", "tobii", "pymovements")


def add_parser(actions: argparse._SubParsersAction[LightParser]) -> None:
    """Add the command to those of ``vision-suite data``."""
    parser = actions.add_parser(NAME, help="turn recordings of an eye tracker into a set of scanpaths")
    parser.add_argument("recordings", nargs="+", type=Path, help="files, one a recording or one of several recordings")
    parser.add_argument(
        "--from", dest="tracker", required=True, choices=TRACKERS,
        help="eyelink: .asc of edf2asc; eyelink-report: Data Viewer's fixation report; tobii: export of Pro Lab; "
        "pymovements: events as CSV, TSV or Parquet",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, required=True, help="folder of the set, which must not be there yet")
    parser.add_argument("--images", type=Path, help="folder of the pictures, which are copied into the set")
    parser.add_argument("--boxes", type=Path, help="objects as for --data.boxes: x1,y1,x2,y2 in pixels of the picture")
    parser.add_argument("--grid", help="ROWSxCOLUMNS: objects are the cells of a grid (default: interest areas)")
    parser.add_argument("--screen", help="WIDTHxHEIGHT in pixels, where the recording does not tell it")
    parser.add_argument(
        "--place", help="where pictures were shown: fill, centre, or LEFT,TOP,WIDTH,HEIGHT (default: as recorded)"
    )
    parser.add_argument(
        "--origin", default="upper-left", choices=("upper-left", "lower-left", "centre"),
        help="origin of places of pymovements on the screen",
    )  # fmt: skip
    parser.add_argument("--eye", choices=("left", "right"), help="eye to take of both (default: right)")
    parser.add_argument(
        "--subject", help="column of the observer; its name for an .asc file (default: the file's name)"
    )
    parser.add_argument("--trial", help="column of the trial")
    parser.add_argument("--picture", help="column or trial variable that names the picture")
    parser.add_argument("--target", help="column or trial variable with the target's label (default: free viewing)")
    parser.add_argument("--trial-message", default="TRIALID", help="message with which an EyeLink trial begins")
    parser.add_argument(
        "--start-message", help="message with which its picture appears; earlier fixations are left out"
    )
    parser.add_argument("--duration-unit", choices=("s", "ms", "us"), help="unit of durations (default: the program's)")


def run(arguments: argparse.Namespace) -> int:
    """Import the recordings, and print what was found and left out."""
    from vision_suite.datasets.scanpath.importers.run import ImportSettings, import_scanpaths

    names = (
        "tracker", "images", "boxes", "place", "origin", "eye", "subject", "trial", "picture", "target",
        "trial_message", "start_message", "duration_unit",
    )  # fmt: skip
    settings = ImportSettings(
        **{name: getattr(arguments, name) for name in names},
        grid=_pair(arguments.grid, "--grid", "ROWSxCOLUMNS"),
        screen=_pair(arguments.screen, "--screen", "WIDTHxHEIGHT"),
    )
    about = import_scanpaths(arguments.recordings, arguments.output, settings)
    for subject in ("fixations", "trials", "subjects", "pictures", "objects", "screen", "place"):
        print(f"{subject}: {about[subject]}")
    for section in ("recording", "written", "left_out"):
        values = about[section]
        assert isinstance(values, dict)
        words = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())
        print(f"{section.replace('_', ' ')}: {words or 'nothing'}")
    if not about["objects"]:
        print("no objects: write boxes.csv (image,x1,y1,x2,y2,width,height), or import again with --boxes or --grid")
    print(f"{arguments.output} is ready: --data ScanpathData --data.dataset table --data.root {arguments.output}")
    return DONE


def _pair(text: str | None, flag: str, form: str) -> tuple[int, int] | None:
    if text is None:
        return None
    first, _, second = text.lower().partition("x")
    if not (first.isdecimal() and second.isdecimal()):
        raise ConfigError(f"{flag} {text!r}: give {form}, two whole numbers")
    return int(first), int(second)
