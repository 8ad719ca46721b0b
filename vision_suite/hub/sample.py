"""Sample of an entry: one small input, and the output that it gave, rounded to four digits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes

from vision_suite.errors import CheckpointError
from vision_suite.hub.text import one_line, read_json, write_json

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vision_suite.hub.loading import Loaded, Opened
    from vision_suite.hub.method import HubMethod

INPUT, PICTURE, EXPECTED = "sample/input.safetensors", "sample/input.png", "sample/expected.json"
VALUES = 64  # of each output
DIGITS, TOLERANCE = 4, 2e-3  # processors round differently
SIDE = 96  # pixels of the picture


def make_sample(method: HubMethod, network: nn.Module, preprocess: Mapping[str, Any], task: str) -> dict[str, bytes]:
    """Files of a sample by their paths in the entry.

    Networks of pictures get a picture, so that the preprocessing is checked too; others get their tensors.

    Args:
        method: Method of the network.
        network: Network in evaluation mode.
        preprocess: Section ``preprocess`` of ``config.json``.
        task: Task of the entry.
    """
    if _takes_picture(preprocess, task):
        given = {PICTURE: _picture()}
        batch = {"image": _prepared(preprocess, given[PICTURE])}
    else:
        batch = method.example(network, preprocess)
        given = {INPUT: save_bytes({name: value.contiguous() for name, value in batch.items()})}
    return {**given, EXPECTED: write_json(_rounded(_outputs(method, network, batch))).encode()}


def sample_faults(opened: Opened, loaded: Loaded) -> list[str]:
    """Differences between the outputs for an entry's sample and the expected ones, one line each.

    Raises:
        CheckpointError: The sample cannot be read.
    """
    files, config = opened.files.contents, loaded.config
    try:
        expected = read_json(files[EXPECTED])
        if PICTURE in files:
            batch = {"image": _prepared(config["preprocess"], files[PICTURE])}
        else:
            batch = load_bytes(files[INPUT])
        found = _rounded(_outputs(opened.method, loaded.network, batch))
        faults = [] if set(found) == set(expected) else [f"{EXPECTED}: it has {', '.join(sorted(expected))}"]
        for name in sorted(found.keys() & expected.keys()):
            faults += _compared(name, found[name], expected[name])
    except Exception as error:  # inputs of an unknown origin make a network fail in any way
        raise CheckpointError(
            f"its sample cannot be computed ({type(error).__name__}: {one_line(error)}): use another entry"
        ) from error
    return faults


def _compared(name: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    if found["shape"] != expected["shape"] or len(found["values"]) != len(expected["values"]):
        return [f"{EXPECTED}: {name} has the shape {expected['shape']}, the network gives {found['shape']}"]
    pairs = list(zip(found["values"], expected["values"], strict=True))
    if any((one is None) != (other is None) for one, other in pairs):
        return [f"{EXPECTED}: {name} is finite in other places than what the network gives"]
    known = [(one, other) for one, other in pairs if one is not None]
    worst = max((abs(one - other) / max(1.0, abs(other)) for one, other in known), default=0.0)
    return [] if worst <= TOLERANCE else [f"{EXPECTED}: {name} differs by {worst:.2g} from what the network gives"]


def _outputs(method: HubMethod, network: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    import torch

    with torch.no_grad():
        return method.outputs(network, batch)


def _rounded(outputs: Mapping[str, Tensor]) -> dict[str, Any]:
    """The first values of each output, None for those that are not finite, and its shape."""
    found = {}
    for name, value in outputs.items():
        numbers = value.detach().cpu().double().reshape(-1)[:VALUES]
        values = [round(number, DIGITS) + 0.0 if abs(number) < 1e300 else None for number in numbers.tolist()]
        found[name] = {"shape": list(value.shape), "values": values}
    return found


def _takes_picture(preprocess: Mapping[str, Any], task: str) -> bool:
    return "resize" in preprocess and task in ("reid", "fgvc", "preference") and "tokenizer" not in preprocess


def _prepared(preprocess: Mapping[str, Any], contents: bytes) -> Tensor:
    from vision_suite.datasets.pictures.images import decode_picture
    from vision_suite.hub.preprocess import Preprocess

    return Preprocess(preprocess)(decode_picture(contents, PICTURE))


def _picture() -> bytes:
    """A picture of stripes and a disc, drawn without a library's random numbers."""
    import io

    import numpy as np
    from PIL import Image

    row, column = np.mgrid[:SIDE, :SIDE]
    disc = (row - 40) ** 2 + (column - 56) ** 2 < 24**2
    pixels = np.stack([row * 2 + 20, (column * 5) % 230, np.where(disc, 230, 40)], axis=2).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", optimize=False)
    return stream.getvalue()
