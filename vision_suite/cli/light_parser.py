"""Argument parser of the commands that do not train: a mistake is one line, as in the trainer commands."""

from __future__ import annotations

import argparse
import math
from typing import NoReturn

from vision_suite.errors import ConfigError

MOST = 65_536  # of pixels, pictures of a batch, processes


class LightParser(argparse.ArgumentParser):
    """``argparse`` parser that raises an error instead of printing its usage and exiting."""

    def error(self, message: str) -> NoReturn:
        """Raise the complaint.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"{message} ('{self.prog} --help' explains)")


def count(text: str) -> int:
    """Type of an argument that is a whole number from 1.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 to {MOST}")
    return int(text)


def positive(text: str) -> float:
    """Type of an argument that is a number above 0.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value
