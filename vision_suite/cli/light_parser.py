"""Argument parser of the commands that do not train: a mistake is one line, as in the trainer commands."""

from __future__ import annotations

import argparse
from typing import NoReturn

from vision_suite.errors import ConfigError


class LightParser(argparse.ArgumentParser):
    """``argparse`` parser that raises an error instead of printing its usage and exiting."""

    def error(self, message: str) -> NoReturn:
        """Raise the complaint.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"{message} ('{self.prog} --help' explains)")
