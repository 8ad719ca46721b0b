"""``vision-suite features``: features of video files, or of sequences by a trained recogniser."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from vision_suite.cli.light_parser import LightParser
from vision_suite.datasets.prepare.base import progress_bars
from vision_suite.errors import ConfigError
from vision_suite.faults import CHECK_FAILED, DONE

Done = tuple[int, int, dict[str, str], str]  # numbers written and present, reasons of failures, what is passed over


def main(argv: Sequence[str]) -> int:
    """Extract features and return 0, or 1 if a file failed."""
    options = _parser().parse_args(argv)
    if (options.videos is None) == (options.sequences is None):
        raise ConfigError("give either --videos FILE_OR_FOLDER or --sequences FOLDER")
    with progress_bars(options.quiet) as progress:
        done = _videos(options, progress) if options.videos is not None else _sequences(options, progress)
    written, present, failed, passed_over = done
    for name, reason in sorted(failed.items()):
        print(f"failed: {name}: {reason}")
    print(f"{written} written, {present} there already, {len(failed)} failed: {options.output}")
    if passed_over:
        print(f"passed over: {passed_over}")
    return CHECK_FAILED if failed else DONE


def _parser() -> argparse.ArgumentParser:
    parser = LightParser(
        prog="vision-suite features",
        description="Features of videos by any video model of torchvision or image model of timm, with their times; or "
        "features of sequences by a checkpoint of LitRecognizer. A killed extraction continues where it stopped.",
    )
    parser.add_argument("--videos", help="a video file, or a folder searched to the bottom")
    parser.add_argument("--sequences", type=Path, help="a folder of features for a recogniser, with features.json")
    parser.add_argument("--output", type=Path, required=True, help="folder of <name>.npy and features.json")
    parser.add_argument(
        "--backbone", default="torchvision:r3d_18", help="torchvision:<video model> or timm:<image model>"
    )
    parser.add_argument("--weights", default="default", help="default (the package's own), a file, or random:<seed>")
    parser.add_argument("--outputs", default="both", choices=["both", "features", "logits"], help="columns to store")
    parser.add_argument("--fps", type=float, default=15.0, help="frames a second at which videos are read")
    parser.add_argument("--clip", type=int, default=16, help="frames of a clip")
    parser.add_argument("--stride", type=int, default=16, help="frames (or rows of sequences) from one to the next")
    parser.add_argument("--checkpoint", type=Path, help="checkpoint of LitRecognizer, for --sequences")
    parser.add_argument("--batch_size", type=int, default=8, help="clips at a time")
    parser.add_argument("--workers", type=int, default=1, help="processes, each with its share of the cores")
    parser.add_argument("--device", default="auto", help="device: auto, cpu, cuda ...")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def _videos(options: argparse.Namespace, progress: Callable[[str, int, int], None]) -> Done:
    from vision_suite.video.backbones import Extractor, pick_device
    from vision_suite.video.features import extract_videos
    from vision_suite.video.files import list_videos

    if options.batch_size < 1 or options.workers < 1:
        raise ConfigError(f"batch_size={options.batch_size} and workers={options.workers} must be at least 1")
    extractor = Extractor(options.backbone, options.weights, options.outputs, options.fps, options.clip, options.stride)
    found = list_videos(options.videos)
    done = extract_videos(
        found.files, options.output, extractor, progress, batch_size=options.batch_size,
        workers=options.workers, device=str(pick_device(options.device)),
    )  # fmt: skip
    return done.written, done.present, done.failed, found.note()


def _sequences(options: argparse.Namespace, progress: Callable[[str, int, int], None]) -> Done:
    from vision_suite.checkpoints.files import read
    from vision_suite.datasets.roots import resolve_root
    from vision_suite.datasets.tad.features import feature_files
    from vision_suite.extract.sequences import ENDINGS, SequenceInput, extract_sequences, recognizer_from

    if options.checkpoint is None:
        raise ConfigError("--sequences needs --checkpoint, a checkpoint of LitRecognizer")
    if options.stride < 1:
        raise ConfigError(f"stride={options.stride} must be at least 1")
    contents = read(options.checkpoint)
    network, prepare = recognizer_from(contents, options.checkpoint), SequenceInput.of(contents)
    source, origin = resolve_root(str(options.sequences)), str(options.checkpoint)
    done = extract_sequences(network, source, options.output, options.stride, origin, progress, prepare)
    return done.written, done.present, done.failed, feature_files(source, ENDINGS).note()
