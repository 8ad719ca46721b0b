"""``vision-suite data preview``: conversations as the tokens of a language model, with what is supervised."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vision_suite.cli.light_parser import count
from vision_suite.faults import DONE

if TYPE_CHECKING:
    from vision_suite.cli.light_parser import LightParser

NAME = "preview"


def add_parser(actions: argparse._SubParsersAction[LightParser]) -> None:
    """Add the command to those of ``vision-suite data``."""
    parser = actions.add_parser(NAME, help="show conversations as tokens, with what is supervised in double brackets")
    parser.add_argument("source", help="file of conversations: .json, .jsonl, .parquet or .tar")
    parser.add_argument("--tokenizer", default="smollm2", help="as --data.tokenizer (default: smollm2)")
    parser.add_argument("--image_tokens", type=count, default=1, help="tokens of one picture (default: 1)")
    parser.add_argument("--max_length", type=count, default=2048, help="largest number of ids (default: 2048)")
    parser.add_argument("--system", help="text of the system's turn; empty for none (default: the template's)")
    parser.add_argument("--rows", type=count, default=3, help="number of rows (default: 3)")


def run(arguments: argparse.Namespace) -> int:
    """Print some rows spread over the file, and what was left out or changed."""
    from vision_suite.datasets.conversations.sources import SourceSettings
    from vision_suite.datasets.instruct.data import InstructData

    data = InstructData(
        sources={Path(arguments.source).name: SourceSettings(arguments.source, limit=arguments.rows)},
        tokenizer=arguments.tokenizer,
        image_tokens=arguments.image_tokens,
        max_length=arguments.max_length,
        system=arguments.system,
        on_bad_row="skip",
        on_missing="blank",
        num_workers=0,
    )
    data.setup("fit")
    for index, row in enumerate(data.rows("fit")):
        print(f"{row.id}: {data.preview('fit', index)}")
    for kind, number in data.protocol["problems"].get("fit", {}).items():
        print(f"{kind.replace('_', ' ')}: {number}")
    return DONE
