"""``vision-suite chat``: talk with a language model that reads pictures, in the terminal."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vision_suite.cli.light_parser import LightParser, count, positive
from vision_suite.errors import ConfigError, SuiteError
from vision_suite.faults import DONE

if TYPE_CHECKING:
    from torch import Tensor

    from vision_suite.models.mllm.dialogue import Dialogue

HELP = "/image PATH adds a picture to your next words, /reset begins anew, /exit ends (so does the end of the input)"


def main(argv: Sequence[str]) -> int:
    """Answer one prompt, or line after line of the input, and return 0."""
    options = _parser().parse_args(argv)
    if (options.ckpt_path is None) == (options.model is None):
        raise ConfigError("give either --ckpt_path FILE or --model NAME_OR_FOLDER")
    if options.image and options.prompt is None:
        raise ConfigError("--image belongs to --prompt: in a conversation say /image PATH")
    if options.top_p is not None and options.temperature is None:
        raise ConfigError("--top_p belongs to --temperature: without one the likeliest word is taken")
    if options.top_p is not None and options.top_p > 1:
        raise ConfigError(f"--top_p {options.top_p} must be at most 1")
    dialogue, read = _open(options)
    if options.prompt is not None:
        _answer(dialogue, options.prompt, [read(path) for path in options.image])
        return DONE
    _talk(dialogue, read)
    return DONE


def _parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    parser = LightParser(
        prog="vision-suite chat",
        description=f"Talk with a language model, with pictures if it reads them. {HELP}.",
    )
    parser.add_argument("--ckpt_path", type=Path, help="checkpoint of a run of LitWings")
    parser.add_argument("--model", help="folder of a whole model, a prepared set such as smollm2, or a language model")
    parser.add_argument("--prompt", help="ask this and end, instead of a conversation")
    parser.add_argument("--image", action="append", default=[], help="picture for --prompt; may be given several times")
    parser.add_argument("--system", help="text of the system's turn; by default the format's own")
    parser.add_argument("--max_new_tokens", type=count, help="longest answer in tokens (256, or half a row)")
    parser.add_argument("--temperature", type=positive, help="draw words at this temperature; by default the likeliest")
    parser.add_argument("--top_p", type=positive, help="share of the likeliest words to draw from")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws")
    parser.add_argument("--device", default="auto", help="device: auto, cpu, cuda ...")
    return parser


def _open(options: argparse.Namespace) -> tuple[Dialogue, Callable[[str], Tensor]]:
    """The conversation, and the function that reads a picture."""
    import torch

    from vision_suite.cli.trainer.language_model import model_of_checkpoint, model_of_folder
    from vision_suite.cli.trainer.lines import plain_warnings
    from vision_suite.models.mllm.dialogue import Dialogue
    from vision_suite.models.wings.folder import longest_row
    from vision_suite.video.backbones import pick_device

    plain_warnings()
    device = pick_device(options.device)
    net, chat, appearance = (
        model_of_checkpoint(options.ckpt_path) if options.ckpt_path else model_of_folder(options.model)
    )
    net.eval().to(device)
    settings: dict[str, Any] = {"do_sample": False}
    if options.temperature is not None:
        share = 1.0 if options.top_p is None else options.top_p
        settings = {"do_sample": True, "temperature": options.temperature, "top_p": share, "top_k": 0}
    torch.manual_seed(options.seed)
    longest = longest_row(net)
    new = options.max_new_tokens or min(256, longest // 2)
    dialogue = Dialogue(net, chat, max_length=longest, max_new_tokens=new, system=options.system, **settings)

    def read(path: str) -> Tensor:
        from vision_suite.datasets.conversations.pictures import read_picture
        from vision_suite.types.instruct import ImageRef

        if net.tower is None or appearance is None:
            raise ConfigError("this model reads no pictures: give one with a vision tower")
        picture = read_picture(ImageRef(Path(path).expanduser()))
        return appearance.normalise(appearance.pixels(picture)[None])[0].to(device)

    return dialogue, read


def _talk(dialogue: Dialogue, read: Callable[[str], Tensor]) -> None:
    """Answer line after line; a mistake is told and the conversation goes on."""
    asks = sys.stdin.isatty()
    if asks:
        print(HELP)
    images: list[Tensor] = []
    while True:
        try:
            line = input("> " if asks else "").strip()
        except EOFError:
            return
        word, _, rest = line.partition(" ")
        try:
            if word == "/exit":
                return
            if word == "/reset":
                dialogue.reset()
                images = []
            elif word == "/image":
                images.append(read(_path(rest)))
                if asks:
                    print(f"(pictures with your next words: {len(images)})")
            elif word.startswith("/"):
                print(f"{word} is no command: {HELP}")
            elif line:
                _answer(dialogue, line, images)
                images = []
        except SuiteError as error:
            print(f"error: {error}")


def _path(text: str) -> str:
    """The path behind /image, with or without quotation marks."""
    path = text.strip().strip("'\"")
    if not path:
        raise ConfigError("/image needs the path of a picture")
    return path


def _answer(dialogue: Dialogue, text: str, images: Sequence[Tensor]) -> None:
    """Print an answer while it is written."""

    def write(piece: str) -> None:
        print(piece, end="", flush=True)

    answer = dialogue.say(text, images, write)
    print("" if answer.strip() else "(the model says nothing)")
    if dialogue.left_out:
        print(f"(the oldest {dialogue.left_out} turns are left out: the model has no room for them)")
