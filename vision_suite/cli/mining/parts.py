"""Model, extractor and detectors that a configuration of mining names."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from vision_suite.cli.mining.config import MiningConfig
from vision_suite.cli.mining.sampler import CheckpointSampler
from vision_suite.datasets.pictures.images import decode_picture
from vision_suite.datasets.prepare.archives import sha256_of
from vision_suite.datasets.roots import resolve_root
from vision_suite.errors import CheckpointError, ConfigError, DataError
from vision_suite.mining.images import read_images
from vision_suite.mining.step import Extractor, MiningImage, MiningStep, Scorer


class MiningParts(NamedTuple):
    """What a run of mining consists of.

    Attributes:
        step: The step.
        items: Pictures.
        settings: Settings of sampler and extractor as JSON values, with checksums of files.
        detectors: Settings of each detector as JSON values, with checksums of files.
    """

    step: MiningStep
    items: list[MiningImage]
    settings: dict[str, Any]
    detectors: dict[str, dict[str, Any]]


def mining_parts(config: MiningConfig, checkpoint: Path, device: str) -> MiningParts:
    """Build everything that a configuration names.

    Args:
        config: Configuration.
        checkpoint: Checkpoint of the model.
        device: Device of model and detectors.

    Raises:
        ConfigError: A kind or a setting is unknown.
        DataError: A file is missing.
        CheckpointError: The checkpoint is missing.
    """
    if not checkpoint.is_file():
        raise CheckpointError(f"{checkpoint}: no such checkpoint: give --ckpt_path of a trained model")
    source, sampling = resolve_root(config.images.path), config.sampling
    root = resolve_root(config.images.root) if config.images.root else None
    items = read_images(source, config.images.question, root=root, limit=config.images.limit)
    sampler = CheckpointSampler(
        checkpoint, temperature=sampling.temperature, max_new_tokens=sampling.max_new_tokens, device=device
    )
    detectors: dict[str, Scorer] = {}
    settings: dict[str, dict[str, Any]] = {}
    for name, each in config.detectors.items():
        detectors[name], settings[name] = _detector(dict(each), name, device)
    extractor, objects = _extractor(dict(config.objects))
    step = MiningStep(sampler, extractor, detectors, config.thresholds, config.rules, sampling.count, sampling.seed)
    own = {"temperature": sampling.temperature, "max_new_tokens": sampling.max_new_tokens}
    return MiningParts(step, items, {"checkpoint": sha256_of(checkpoint), **own, "objects": objects}, settings)


def read_picture(path: str) -> tuple[Image.Image, str]:
    """RGB pixels of a picture, and the checksum (SHA-256) of its file.

    Raises:
        DataError: It is missing, or no picture.
    """
    try:
        contents = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"picture {path!r} cannot be read: {error.strerror or error}") from None
    return decode_picture(contents, path), hashlib.sha256(contents).hexdigest()
