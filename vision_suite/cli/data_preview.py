"""``vision-suite data preview``: conversations or pairs as the tokens of a language model, with what is supervised."""

from __future__ import annotations

import argparse
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vision_suite.cli.light_parser import count
from vision_suite.errors import ConfigError, DataError
from vision_suite.faults import DONE

if TYPE_CHECKING:
    from PIL import Image

    from vision_suite.cli.light_parser import LightParser
    from vision_suite.datasets.preference.data import PreferenceData
    from vision_suite.types.conversations import ImageRef

NAME = "preview"


def add_parser(actions: argparse._SubParsersAction[LightParser]) -> None:
    """Add the command to those of ``vision-suite data``."""
    about = "show conversations or preference pairs as tokens, with what is supervised in double brackets"
    parser = actions.add_parser(NAME, help=about)
    parser.add_argument("source", help="file of conversations or of pairs: .json, .jsonl, .parquet or .tar")
    parser.add_argument("--tokenizer", default="smollm2", help="as --data.tokenizer (default: smollm2)")
    parser.add_argument("--image_tokens", type=count, default=1, help="tokens of one picture (default: 1)")
    parser.add_argument("--max_length", type=count, default=2048, help="largest number of ids (default: 2048)")
    parser.add_argument("--system", help="text of the system's turn; empty for none (default: the template's)")
    parser.add_argument("--rows", type=count, default=3, help="number of rows (default: 3)")
    parser.add_argument("--image_root", help="folder of the pictures (default: that of the file)")
    parser.add_argument("--output", type=Path, help="PNG to draw pairs into: picture, question, context, both sides")


def run(arguments: argparse.Namespace) -> int:
    """Print some rows spread over the file, and what was left out or changed; pairs are drawn too if asked for."""
    from vision_suite.datasets.instruct.data import InstructData
    from vision_suite.datasets.preference.data import PreferenceData
    from vision_suite.datasets.preference.sources import holds_pairs
    from vision_suite.datasets.roots import resolve_root

    pairs = holds_pairs(resolve_root(arguments.source))
    output = arguments.output
    if output is not None and not pairs:
        raise ConfigError(f"--output draws pairs, and {arguments.source!r} holds conversations: leave it out")
    if output is not None and output.suffix != ".png":
        raise ConfigError(f"--output {str(output)!r} is no PNG: name it .png")
    source = {"path": arguments.source, "limit": arguments.rows, "image_root": arguments.image_root}
    settings: dict[str, Any] = {
        "sources": {Path(arguments.source).name: source},
        "tokenizer": arguments.tokenizer,
        "image_tokens": arguments.image_tokens,
        "max_length": arguments.max_length,
        "system": arguments.system,
        "on_bad_row": "skip",
        "on_missing": "blank",
        "num_workers": 0,
    }
    data = PreferenceData(**settings) if pairs else InstructData(**settings)
    data.setup("fit")
    for index, row in enumerate(data.rows("fit")):
        print(f"{row.id}: {data.preview('fit', index)}")
    for kind, number in data.protocol["problems"].get("fit", {}).items():
        print(f"{kind.replace('_', ' ')}: {number}")
    if output is not None and isinstance(data, PreferenceData):
        _draw(data, Path(arguments.source).name, output)
        print(f"written: {output}")
    return DONE


def _draw(data: PreferenceData, name: str, path: Path) -> None:
    """Write the picture of all pairs of a datamodule."""
    from vision_suite.drafts import write_whole
    from vision_suite.viz.pairs import DrawnPair, pair_sheet

    drawn = [
        DrawnPair(
            "".join(part for part in pair.messages[-1].parts if isinstance(part, str)).strip(),
            pair.chosen, pair.rejected, pair.context, [_picture(ref, data) for ref in pair.images], pair.id,
        )
        for pair in data.pairs()
    ]  # fmt: skip
    stream = BytesIO()
    pair_sheet(drawn, title=f"Preference pairs of {name}").save(stream, "PNG")
    write_whole(path, stream.getvalue())


def _picture(ref: ImageRef, data: PreferenceData) -> Image.Image:
    """A picture; one that cannot be read is shown in the mean colour, as it is to a network."""
    from PIL import Image

    from vision_suite.datasets.conversations.pictures import read_picture

    try:
        return read_picture(ref)
    except DataError:
        return Image.new("RGB", data.appearance.size, data.appearance.background)
