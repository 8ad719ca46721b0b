"""``vision-suite export``: a checkpoint as torch.export or ONNX, compared with the network before it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import vision_suite
from vision_suite.cli.light_parser import LightParser, count, positive
from vision_suite.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from vision_suite.export import Exportable


def main(argv: Sequence[str]) -> int:
    """Export a checkpoint and return 0."""
    parser = _parser()
    given = parser.parse_args(argv)
    # Imported after the arguments were understood: --help must not wait for torch.
    from vision_suite.export import SUFFIXES, export_network

    checkpoint: Path = given.ckpt_path
    suffix = SUFFIXES[given.format]
    output: Path = given.output or checkpoint.with_suffix(suffix)
    if output.suffix != suffix:
        raise ConfigError(f"--output {output}: a {given.format} file ends in {suffix}")
    network, metadata = load_network(checkpoint, given.model)
    stored = metadata["preprocessing"]
    metadata["preprocessing"] = whole = _preprocessing(stored, given, checkpoint)
    for name, value in stored.items():
        if whole[name] != value:
            print(f"{name}={whole[name]} from your flag, {value} in the checkpoint")
    parity = export_network(network, output, given.format, metadata, batches=given.batch, tolerance=given.tolerance)
    print(f"{given.format}: {output} ({output.stat().st_size / 2**20:.1f} MiB), any batch size")
    for name, distance in parity.worst.items():
        print(f"  {name:<12} largest relative difference {distance:.1e} (allowed {given.tolerance:.1e})")
    sizes = ", ".join(str(size) for size in given.batch)
    note = f", {parity.near_ties} of them left out: patches of equal weight" if parity.near_ties else ""
    print(f"  compared on {parity.pictures} generated pictures in batches of {sizes}{note}")
    return 0


def _parser() -> LightParser:
    """The arguments of the command."""
    parser = LightParser(
        prog="vision-suite export",
        description="Write a trained network as torch.export (.pt2) or ONNX, for any batch size, with its "
        "preprocessing in the metadata. The file is loaded again and compared with the network; it is kept only if "
        "they agree.",
    )
    parser.add_argument("--ckpt_path", type=Path, required=True, help="checkpoint of a run")
    parser.add_argument("--format", choices=["torch_export", "onnx"], required=True, help="format of the file")
    parser.add_argument("--output", type=Path, help="file to write; by default beside the checkpoint")
    parser.add_argument("--batch", type=count, nargs="+", default=[1, 2, 5], help="batch sizes to compare")
    parser.add_argument("--tolerance", type=positive, default=1e-4, help="largest relative difference allowed")
    parser.add_argument("--model", help="class of the model, if the checkpoint does not name it")
    instead = "instead of the checkpoint's, or where it has none"
    parser.add_argument("--mean", type=float, nargs=3, help=f"mean per channel, {instead}")
    parser.add_argument("--std", type=positive, nargs=3, help=f"standard deviation per channel, {instead}")
    parser.add_argument("--resize", type=count, nargs=2, help=f"height and width to resize to, {instead}")
    parser.add_argument("--interpolation", choices=["bicubic", "bilinear"], help=f"filter for resizing, {instead}")
    return parser


def load_network(path: Path, model: str | None = None) -> tuple[Exportable, dict[str, Any]]:
    """Load the network of a checkpoint with its weights, and the metadata to store with it.

    Nothing in the file is executed: weights and settings are read as plain data, and the class they name must be one
    of the suite or of an installed plug-in.

    Args:
        path: Checkpoint file.
        model: Name of the class, for checkpoints that do not hold it.

    Raises:
        CheckpointError: The file is broken, names an unknown class, or does not fit its class.
        ConfigError: The class has no network that can be exported.
    """
    from vision_suite.cli.trainer.modules import REPLACED, load_module, stored_data
    from vision_suite.datasets.pictures.preprocessing import picture_settings
    from vision_suite.datasets.saved import SavedPreprocessing
    from vision_suite.export import Exportable

    loaded = load_module(path, model)
    lit_class, settings, contents = type(loaded.module), loaded.settings, loaded.contents
    data = stored_data(contents, path)
    try:
        picture_settings(SavedPreprocessing(data.get("preprocessing", {})))  # what the file will be read by
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    metadata = {
        "vision_suite": vision_suite.__version__,
        "model": f"{lit_class.__module__}.{lit_class.__qualname__}",
        "settings": {name: value for name, value in settings.items() if name not in REPLACED},
        "checkpoint": path.name,
        "class_names": data.get("class_names", []),
        "preprocessing": data.get("preprocessing", {}),
    }
    network: object = dict(loaded.module.named_children()).get("model")
    if not isinstance(network, Exportable):
        raise ConfigError(f"{lit_class.__name__} has no network that can be exported: its model offers no inference()")
    return network, metadata


def _preprocessing(stored: dict[str, Any], given: Any, path: Path) -> dict[str, Any]:
    """The checkpoint's preprocessing, with the values of the flags where they are given.

    Raises:
        ConfigError: A value stands neither in the checkpoint nor in the flags, or a flag has a wrong one.
    """
    from vision_suite.datasets.pictures.preprocessing import picture_settings
    from vision_suite.datasets.saved import SavedPreprocessing

    flags = {name: getattr(given, name) for name in ("mean", "std", "resize", "interpolation")}
    typed = {name: value for name, value in flags.items() if value is not None}
    for name, value in typed.items():
        try:
            picture_settings(SavedPreprocessing({name: value}))
        except CheckpointError as error:
            words = value if isinstance(value, list) else [value]
            allowed = "finite numbers, those of --std above 0" if name in ("mean", "std") else "pixels above 0"
            raise ConfigError(f"--{name} {' '.join(map(str, words))}: must be {allowed}") from error
    whole = {"colour": "RGB", "scale": 1 / 255, **stored, **typed}
    missing = [f"--{name}" for name in flags if name not in whole]
    if missing:
        raise ConfigError(f"{path} does not hold the preprocessing of its pictures: give {', '.join(missing)}")
    return whole
