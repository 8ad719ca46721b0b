"""A parser for the commands that do not train: a mistake is one line, like every other."""

from __future__ import annotations

import argparse
from typing import NoReturn

from vision_suite.errors import ConfigError


class LightParser(argparse.ArgumentParser):
    """An ``argparse`` parser that raises instead of printing its usage and leaving."""

    def error(self, message: str) -> NoReturn:
        """Raise the complaint.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"{message} ('{self.prog} --help' explains)")
