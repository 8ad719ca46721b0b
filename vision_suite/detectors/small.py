"""A small detector of a closed list of names, trained by this suite (`vision_suite.lit_modules.presence`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from PIL import Image

from vision_suite.checkpoints.files import read
from vision_suite.detectors.protocol import ABSTAIN, Scores, plain_name, score_once
from vision_suite.errors import CheckpointError
from vision_suite.models.presence import PresenceNet

Filter = Literal["bicubic", "bilinear"]
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
PREFIX = "model."
STATE = "PresenceData"  # name under which a checkpoint keeps what belongs to the data


class _Appearance(NamedTuple):
    """Steps from a picture to the network's input, as a checkpoint stores them."""

    resize: tuple[int, int]
    crop: tuple[int, int]
    bottom: int
    interpolation: Filter
    mean: tuple[float, ...]
    std: tuple[float, ...]


class SmallDetector:
    """An `OpenVocabDetector` of the names that it was trained on; it does not judge others.

    Args:
        checkpoint: Checkpoint of a run of `vision_suite.lit_modules.presence.LitPresence`.
        name: Name in tables and stored scores; by default that of the run's folder.
        batch_size: Pictures in one pass.

    Attributes:
        name: As given.
        vocabulary: Names that it knows.
        threshold: Score from which a name counted as present in its validation; None if it had none.

    Raises:
        CheckpointError: The file is missing, damaged, or of another network.
    """

    def __init__(self, checkpoint: str | Path, name: str = "", batch_size: int = 64) -> None:
        path = Path(checkpoint).expanduser()
        contents = read(path)
        state = contents.get(STATE)
        settings = contents.get("hyper_parameters") or {}
        if not isinstance(state, Mapping):
            raise CheckpointError(
                f"{path}: no checkpoint of LitPresence, with names and the form of its pictures: train one with "
                "`vision-suite fit -c sentinel/detector_a`"
            )
        try:
            self._names = [str(each) for each in state["class_names"]]
            self._appearance = _appearance(state["preprocessing"])
            network = PresenceNet(int(settings["num_classes"]), int(settings["width"]))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path}: no checkpoint of LitPresence with its data ({error!r}): train one with "
                "`vision-suite fit -c sentinel/detector_a`"
            ) from None
        weights = {
            key.removeprefix(PREFIX): value for key, value in contents["state_dict"].items() if key.startswith(PREFIX)
        }
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:160]
            raise CheckpointError(f"{path}: its weights do not fit its settings ({reason}): use another file") from None
        if len(self._names) != settings["num_classes"]:
            raise CheckpointError(
                f"{path}: {len(self._names)} names for {settings['num_classes']} scores: train it again"
            )
        self.network = network.eval()
        self.name = name or _run_name(path)
        self.vocabulary: frozenset[str] | None = frozenset(self._names)
        point = (contents.get("operating_point") or {}).get("threshold")
        self.threshold: float | None = float(point) if isinstance(point, float) else None
        self._batch_size = batch_size
        self._column = {plain_name(each): number for number, each in enumerate(self._names)}

    def score(self, images: Sequence[Image.Image], queries: Sequence[Sequence[str]]) -> Scores:
        """Probability of each picture's names; `ABSTAIN` for names that it was not trained on.

        Args:
            images: B RGB pictures.
            queries: Names asked about each of them.

        Raises:
            DataError: The numbers of pictures and lists of names differ.
        """
        return score_once(images, queries, self._ask)

    def _ask(self, images: Sequence[Image.Image], queries: Sequence[Sequence[str]]) -> Scores:
        scores: Scores = []
        for start in range(0, len(images), self._batch_size):
            pixels = np.stack([_input(image, self._appearance) for image in images[start : start + self._batch_size]])
            with torch.inference_mode():
                rows = self.network(torch.from_numpy(pixels)).sigmoid().tolist()
            for row, names in zip(rows, queries[start : start + self._batch_size], strict=True):
                columns = {name: self._column.get(plain_name(name)) for name in names}
                scores.append({name: ABSTAIN if at is None else row[at] for name, at in columns.items()})
        return scores


def _input(image: Image.Image, appearance: _Appearance) -> np.ndarray:
    """The network's input (3, H, W) float32 of a picture, as the datamodule makes it in evaluation."""
    rgb = image.convert("RGB")
    if appearance.bottom:
        rgb = rgb.crop((0, 0, rgb.width, max(1, rgb.height - appearance.bottom)))
    height, width = appearance.resize
    if rgb.size != (width, height):
        rgb = rgb.resize((width, height), FILTERS[appearance.interpolation])
    top, left = (height - appearance.crop[0]) // 2, (width - appearance.crop[1]) // 2
    pixels = np.asarray(rgb, np.float32)[top : top + appearance.crop[0], left : left + appearance.crop[1]] / 255
    normal = (pixels - np.array(appearance.mean, np.float32)) / np.array(appearance.std, np.float32)
    return np.ascontiguousarray(normal.transpose(2, 0, 1), dtype=np.float32)


def _appearance(stored: Mapping[str, Any]) -> _Appearance:
    """Preprocessing of a checkpoint, checked.

    Raises:
        ValueError: It is another one than this module knows.
    """
    if stored["colour"] != "RGB" or stored["interpolation"] not in get_args(Filter):
        raise ValueError(f"colour {stored['colour']!r}, interpolation {stored['interpolation']!r}")
    resize, crop = ((int(stored[key][0]), int(stored[key][1])) for key in ("resize", "center_crop"))
    mean, std = (tuple(float(value) for value in stored[key]) for key in ("mean", "std"))
    if not (len(mean) == len(std) == 3 and min(std) > 0 and 0 < crop[0] <= resize[0] and 0 < crop[1] <= resize[1]):
        raise ValueError(f"resize {resize}, center_crop {crop}, mean {mean}, std {std}")
    return _Appearance(resize, crop, int(stored["crop_bottom"]), stored["interpolation"], mean, std)


def _run_name(path: Path) -> str:
    """The run of a checkpoint: ``detector_a`` of runs/sentinel/detector_a/version_0/checkpoints/last.ckpt."""
    folders = [
        each for each in path.absolute().parent.parts if each != "checkpoints" and not each.startswith("version_")
    ]
    return folders[-1] if folders else path.stem
