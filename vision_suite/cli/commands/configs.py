"""``vision-suite configs``: list of the named configurations."""

from __future__ import annotations

from collections.abc import Sequence

from vision_suite.cli.configs import description, named_configs
from vision_suite.cli.light_parser import LightParser


def main(argv: Sequence[str]) -> int:
    """Print the named configurations, one a line."""
    parser = LightParser(prog="vision-suite configs", description="List the named configurations.")
    parser.parse_args(argv)
    known = named_configs()
    width = max((len(name) for name in known), default=0)
    for name, path in known.items():
        print(f"{name:<{width}}  {description(path)}".rstrip())
    return 0
