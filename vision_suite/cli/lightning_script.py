"""Console script ``lightning``: ``lightning fit`` as in Lightning's tutorials, every other command by lightning-sdk.

The package lightning-sdk installs a script of the same name. The package that was installed last owns the file; this
script passes every command that is not a trainer command on to lightning-sdk.
"""

from __future__ import annotations

import importlib.metadata
import sys

from vision_suite import cli
from vision_suite.faults import USER_ERROR

EXPLANATION = (
    "lightning: this script belongs to vision-suite and serves fit, validate, test and predict "
    "('lightning fit' is 'vision-suite fit'); every other command is Lightning AI's, from the package lightning-sdk, "
    "which is not installed: pip install lightning-sdk"
)


def main() -> int:
    """Run a trainer command, or pass the whole command line on."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in cli.TRAINER_COMMANDS:
        return cli.main()
    point = sdk_entry_point()
    if point is None:
        print(EXPLANATION, file=sys.stderr)
        return USER_ERROR
    status: int | None = point.load()()
    return status or 0


def sdk_entry_point() -> importlib.metadata.EntryPoint | None:
    """The ``lightning`` script of the distribution lightning-sdk, if it is installed."""
    try:
        points = importlib.metadata.distribution("lightning-sdk").entry_points
    except importlib.metadata.PackageNotFoundError:
        return None
    return next(iter(points.select(group="console_scripts", name="lightning")), None)
