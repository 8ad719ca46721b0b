"""Model, extractor and detectors that a configuration of mining names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from vision_suite.cli.mining.config import MiningConfig
from vision_suite.cli.mining.sampler import CheckpointSampler
from vision_suite.datasets.pictures.images import decode_picture
from vision_suite.datasets.prepare.archives import sha256_of
from vision_suite.datasets.roots import resolve_root
from vision_suite.errors import CheckpointError, ConfigError, DataError, check_choice
from vision_suite.mining.decide import Threshold
from vision_suite.mining.images import read_images
from vision_suite.mining.objects import load_extractor
from vision_suite.mining.step import MiningImage, MiningStep, Scorer
from vision_suite.prepared import find_folder
from vision_suite.records import as_record

if TYPE_CHECKING:
    from vision_suite.detectors.small import SmallDetector
    from vision_suite.detectors.truth import TruthDetector


@dataclass(frozen=True)
class Truth:
    """Settings of the ground truth.

    Attributes:
        path: COCO's instances of the pictures.
        root: Folder of the pictures; by default that of the file.
    """

    path: str = ""
    root: str = ""

    def load(self, name: str, device: str) -> TruthDetector:
        """The detector."""
        from vision_suite.detectors.truth import TruthDetector

        root = resolve_root(self.root) if self.root else None
        return TruthDetector.from_instances(_file(self.path), root, lambda path: read_picture(str(path))[0], name)


@dataclass(frozen=True)
class Small:
    """Settings of a detector that this suite has trained.

    Attributes:
        checkpoint: Checkpoint of its run.
    """

    checkpoint: str = ""

    def load(self, name: str, device: str) -> SmallDetector:
        """The detector."""
        from vision_suite.detectors.small import SmallDetector

        return SmallDetector(_file(self.checkpoint), name)


@dataclass(frozen=True)
class Hub:
    """Settings of a zero-shot detector of transformers.

    Attributes:
        model: Name on the hub, or a folder.
        batch_size: Prompts in one pass.
    """

    model: str = ""
    batch_size: int = 4

    def load(self, name: str, device: str) -> Scorer:
        """The detector."""
        from vision_suite.detectors.open_vocab import HubDetector

        return HubDetector(self.model, device, self.batch_size)


@dataclass(frozen=True)
class CenterNet:
    """Settings of CenterNet, which knows the 80 names of COCO.

    Attributes:
        source: Name of the prepared set, or a folder with its files.
    """

    source: str = "centernet"

    def load(self, name: str, device: str) -> Scorer:
        """The detector."""
        from vision_suite.detectors.centernet import CenterNetDetector

        return CenterNetDetector(self.source)


KINDS: dict[str, type[Truth | Small | Hub | CenterNet]] = {
    "truth": Truth, "small": Small, "hub": Hub, "centernet": CenterNet
}  # fmt: skip


class MiningParts(NamedTuple):
    """Parts of a run of mining.

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
    source, sampling = resolve_root(config.images.path), config.sampling
    root = resolve_root(config.images.root) if config.images.root else None
    items = read_images(source, config.images.question, root=root, limit=config.images.limit)
    step, objects = _step(config, checkpoint, device)
    settings = {
        "checkpoint": sha256_of(checkpoint),
        "temperature": sampling.temperature,
        "max_new_tokens": sampling.max_new_tokens,
        "objects": objects,
    }
    return MiningParts(step, items, settings, recorded_detectors(config))


def recorded_detectors(config: MiningConfig) -> dict[str, dict[str, Any]]:
    """Settings of each detector as JSON values, with checksums of files."""
    return {name: _recorded(each) for name, each in config.detectors.items()}


def load_detectors(config: MiningConfig, names: Iterable[str], device: str) -> dict[str, Scorer]:
    """Detectors of a configuration.

    Args:
        config: Configuration.
        names: Names of those to load.
        device: Their device.

    Raises:
        ConfigError: A kind or a setting is unknown.
        DataError: A file is missing.
    """
    return {name: _detector(config.detectors[name], name, device) for name in names}


def step_of(config: MiningConfig, checkpoint: Path, device: str) -> MiningStep:
    """Build the step that a configuration names; the model is loaded when it is first asked.

    Args:
        config: Configuration.
        checkpoint: Checkpoint of the model.
        device: Device of model and detectors.
    """
    return _step(config, checkpoint, device)[0]


def _step(config: MiningConfig, checkpoint: Path, device: str) -> tuple[MiningStep, dict[str, str]]:
    """The step, and what the names of objects depend on."""
    if not checkpoint.is_file():
        raise CheckpointError(f"{checkpoint}: no such checkpoint: give --ckpt_path of a trained model")
    sampling = config.sampling
    sampler = CheckpointSampler(
        checkpoint, temperature=sampling.temperature, max_new_tokens=sampling.max_new_tokens, device=device
    )
    detectors = load_detectors(config, config.detectors, device)
    thresholds = {name: each or _validated(detectors[name], name) for name, each in config.thresholds.items()}
    chosen = config.objects
    extractor, objects = load_extractor(
        chosen.kind, vocabulary=chosen.vocabulary, tagger=chosen.tagger, nouns=chosen.nouns
    )
    step = MiningStep(sampler, extractor, detectors, thresholds, config.rules, sampling.count, sampling.seed)
    return step, objects


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


def _detector(settings: Mapping[str, Any], name: str, device: str) -> Scorer:
    given = dict(settings)
    kind = given.pop("kind", None)
    check_choice(f"detectors.{name}.kind", kind, KINDS)
    load: Callable[[str, str], Scorer] = as_record(KINDS[kind], given, f"detectors.{name}").load
    return load(name, device)


def _validated(detector: Scorer, name: str) -> Threshold:
    """The threshold that a detector chose in its own validation."""
    found = getattr(detector, "threshold", None)
    if found is None:
        raise ConfigError(f"detectors.{name} has no threshold of its own validation: give one as a number")
    return Threshold(found, found)


def _recorded(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the checksums of files that they name, so that another file is seen as another setting."""
    files = {}
    for key, value in settings.items():
        found = find_folder(value) if isinstance(value, str) and value else None
        if found is not None and found.is_file():
            files[f"{key}_sha256"] = sha256_of(found)
    # A file is known by its checksum, wherever it lies.
    return {key: value for key, value in settings.items() if f"{key}_sha256" not in files} | files


def _file(value: str) -> Path:
    """An existing file, as given, in the working folder, or in the data cache."""
    path = find_folder(value) if value else None
    if path is None or not path.is_file():
        raise DataError(f"detector's file {value!r} does not exist: name one in its settings")
    return path
