"""Configuration of mining: pictures, sampling, rules, objects and detectors, read and checked before anything loads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vision_suite.cli.configs import is_inline, resolve
from vision_suite.errors import ConfigError, check_literals, check_number
from vision_suite.mining.decide import Rules, Threshold, rules_of
from vision_suite.records import as_record
from vision_suite.yaml_text import load_yaml, read_yaml

VALIDATED = "validated"  # threshold of a detector that chose it in its own validation


@dataclass(frozen=True)
class Images:
    """Pictures to mine.

    Attributes:
        path: List of pictures: JSON lines with ``image_id``, ``image_path`` and ``question``, or COCO's instances.
        question: What is asked about pictures whose list has no questions.
        root: Folder of the pictures; by default that of the list.
        limit: Number of pictures from the beginning of the list; unset for all.
    """

    path: str = ""
    question: str = "Describe this image in detail."
    root: str = ""
    limit: int | None = None

    def __post_init__(self) -> None:
        if not self.path:
            raise ConfigError("images.path is missing: give a list of pictures")
        if self.limit is not None:
            check_number("images.limit", self.limit, low=1, whole=True)


@dataclass(frozen=True)
class Sampling:
    """Draws of sentences.

    Attributes:
        count: Sentences of a step (paper: 10).
        temperature: Temperature (paper: 0.7).
        max_new_tokens: Longest sentence in tokens (paper: 512).
        seed: Seed of the run.
    """

    count: int = 10
    temperature: float = 0.7
    max_new_tokens: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        check_number("sampling.count", self.count, low=2, whole=True)
        check_number("sampling.temperature", self.temperature, above=0)
        check_number("sampling.max_new_tokens", self.max_new_tokens, low=1, whole=True)
        check_number("sampling.seed", self.seed, whole=True)


@dataclass(frozen=True)
class Objects:
    """Objects that a sentence names; see `vision_suite.mining.objects.load_extractor`.

    Attributes:
        kind: Nouns of a tagger and words of a vocabulary (``nouns``), those words alone (``vocabulary``), or what is
            installed (``auto``).
        vocabulary: Words of things: coco, coco_refined, or a file, folder or prepared set with synonyms.
        tagger: Prepared set or folder of the tagger.
        nouns: Prepared set or folder of the table of nouns.
    """

    kind: Literal["auto", "vocabulary", "nouns"] = "auto"
    vocabulary: str = "coco"
    tagger: str = "tagger"
    nouns: str = "wordnet"

    def __post_init__(self) -> None:
        check_literals(self, "objects")


@dataclass(frozen=True)
class MiningConfig:
    """Configuration of one run of mining.

    Attributes:
        run: Name of the run in its file.
        output: The file.
        images: Pictures.
        sampling: Draws.
        rules: Rules.
        objects: Objects of sentences.
        detectors: Settings of each detector by its name, with its ``kind``.
        thresholds: Limits of the detectors that decide; None for those of a detector's own validation.
    """

    run: str
    output: Path
    images: Images
    sampling: Sampling
    rules: Rules
    objects: Objects
    detectors: Mapping[str, Mapping[str, Any]]
    thresholds: Mapping[str, Threshold | None]


def read_config(value: str) -> MiningConfig:
    """Read a configuration by its name, path or text in braces.

    Raises:
        ConfigError: It does not exist, or a setting is unknown, missing or out of range.
    """
    found = resolve(value)
    inline = is_inline(value)
    name = "run" if inline else Path(found).stem
    contents = load_yaml(found, "-c") if inline else read_yaml(Path(found))
    try:
        return _config(_mapping(contents, "the file"), name)
    except ConfigError as error:
        raise ConfigError(f"{'-c' if inline else found}: {error}") from None


def _config(contents: dict[str, Any], name: str) -> MiningConfig:
    known = ("run", "output", "images", "sampling", "rules", "objects", "detectors")
    if unknown := [key for key in contents if key not in known]:
        raise ConfigError(f"no setting {unknown[0]!r}: a configuration of mining has {', '.join(known)}")
    detectors = {
        str(key): _mapping(each, f"detectors.{key}")
        for key, each in _mapping(contents.get("detectors"), "detectors").items()
    }
    thresholds = {
        key: None if each["threshold"] == VALIDATED else threshold_of(each["threshold"], f"detectors.{key}.threshold")
        for key, each in detectors.items()
        if each.get("threshold") is not None
    }
    if not thresholds:
        raise ConfigError("no detector decides: give at least one of detectors a threshold (paper: two of them)")
    for each in detectors.values():
        each.pop("threshold", None)
    return MiningConfig(
        str(contents.get("run", name)),
        Path(str(contents.get("output", f"mined/{name}.sqlite"))),
        as_record(Images, _mapping(contents.get("images"), "images"), "images"),
        as_record(Sampling, _mapping(contents.get("sampling", {}), "sampling"), "sampling"),
        rules_of(_mapping(contents.get("rules", {}), "rules")),
        as_record(Objects, _mapping(contents.get("objects", {}), "objects"), "objects"),
        detectors,
        thresholds,
    )


def threshold_of(value: Any, name: str) -> Threshold:
    """Limits of a detector: one number, two, or ``low``, ``high`` and ``names`` with limits of single names.

    Args:
        value: The setting.
        name: Its name, for messages.

    Raises:
        ConfigError: It is none of these, or out of range.

    Example:
        >>> threshold_of([0.2, 0.5], "a").of("dog")
        (0.2, 0.5)
    """
    if isinstance(value, Mapping):
        whole = _mapping(value, name)
        names = {str(each): _limits(limits, f"{name}.names.{each}") for each, limits in whole.pop("names", {}).items()}
        if set(whole) != {"low", "high"}:
            raise ConfigError(f"{name} has {', '.join(map(str, whole)) or 'nothing'}: give low and high")
        return Threshold(*_limits([whole["low"], whole["high"]], name), names=names)
    return Threshold(*_limits(value, name))


def _limits(value: Any, name: str) -> tuple[float, float]:
    low, high = value if isinstance(value, list | tuple) and len(value) == 2 else (value, value)
    for each in (low, high):
        check_number(name, each, low=0, high=1)
    return float(low), float(high)


def _mapping(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"{name} is {'missing' if value is None else 'no list of settings by name'}: see --help")
    return dict(value)
