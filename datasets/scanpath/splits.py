"""Parts for training, validation and test: by image, target, subject, combination, or as the authors made them.

OAT's own list was cut by item; the trials of six subjects on one collage then lie in different parts, and every test
collage is known from training. Nothing here splits by item.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from vision_suite.datasets.base import Stage
from vision_suite.datasets.scanpath.records import ScanpathSet
from vision_suite.errors import ConfigError, DataError, check_choice
from vision_suite.types import Scene, Trial

SplitRule = Literal["image", "target", "subject", "combination", "official"]
IMAGE_FOLDS = 10
STAGES: tuple[Stage, ...] = ("fit", "validate", "test")
# Official parts that are taken by default; data without one to validate or test on are still of use.
USUAL_PARTS = {"fit": "train", "validate": "valid", "test": "test"}


@dataclass(frozen=True)
class SplitSettings:
    """Rule by which trials are dealt out.

    Attributes:
        rule: Units that a part never shares with another: images; targets (the tasks' names); subjects; combinations of
            target and image; or official, the parts that the data name.
        fold: Index of the test part, from 0.
        folds: Number of parts; None takes the folds that the data name, else 10 for images and one part for each
            target, subject or combination (leave one out).
        validation_share: Share of the units outside the test part to validate on, at least one; 0 for none. The units
            are subjects with rule=subject, else images.
        seed: Seed of the order in which units are dealt out.
        subsets: Names of the official parts by stage.
    """

    rule: SplitRule = "image"
    fold: int = 0
    folds: int | None = None
    validation_share: float = 0.1
    seed: int = 0
    subsets: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse unknown rules and numbers out of range."""
        check_choice("split", self.rule, get_args(SplitRule))
        if not 0 <= self.validation_share < 1:
            raise ConfigError(f"validation_share={self.validation_share}: use 0 or more and less than 1")
        if self.folds is not None and self.folds < 2:
            raise ConfigError(f"folds={self.folds}: use 2 or more")


def official_parts(
    rule: SplitRule, train_on: list[str] | None, validate_on: list[str] | None, test_on: list[str] | None
) -> dict[str, list[str]]:
    """Names of the official parts by stage: those asked for, else the usual ones.

    Args:
        rule: Rule of the split.
        train_on: Parts to train on.
        validate_on: Parts to validate on.
        test_on: Parts to test on.

    Raises:
        ConfigError: Parts are named, but another rule deals the trials out.
    """
    asked = {"fit": train_on, "validate": validate_on, "test": test_on}
    if rule != "official" and any(asked.values()):
        raise ConfigError(f"train_on, validate_on and test_on need split=official, not split={rule}")
    return {stage: [USUAL_PARTS[stage]] if names is None else names for stage, names in asked.items()}


def split_trials(found: ScanpathSet, settings: SplitSettings) -> tuple[dict[str, list[Trial]], dict[str, object]]:
    """Trials by stage, and the facts of the split that a reader of the metrics must know.

    Raises:
        ConfigError: There is no such fold, or too few units.
        DataError: Images lie in two parts although the rule promises that they do not.
    """
    if settings.rule == "official":
        parts, facts = _official(found.trials, settings)
    else:
        parts, facts = _dealt(found, settings)
    if settings.rule in ("image", "official"):
        check_disjoint(parts, found.scenes)
        facts["images_in_two_parts"] = 0
    else:
        test = {trial.scene for trial in parts["test"]}
        facts["images_in_two_parts"] = len(test & {trial.scene for trial in parts["fit"]})
    return parts, {"rule": settings.rule, **facts}


def check_disjoint(parts: Mapping[str, Sequence[Trial]], scenes: Mapping[str, Scene]) -> None:
    """Refuse parts that share an image, by name or by the bytes of the file.

    Raises:
        DataError: They do; a model tested on them is tested on what it was trained on.
    """
    owner: dict[str, tuple[str, str]] = {}
    digests = _digests([scenes[name] for name in sorted({t.scene for part in parts.values() for t in part})])
    for stage, part in parts.items():
        for name in sorted({trial.scene for trial in part}):
            before, other = owner.setdefault(digests.get(name, name), (stage, name))
            if before != stage:
                same = "" if other == name else f" (the same picture as {other!r})"
                raise DataError(
                    f"image {name!r}{same} is in the parts {before!r} and {stage!r}: split by image, or "
                    "correct the lists"
                )


def _digests(scenes: Sequence[Scene]) -> dict[str, str]:
    """Checksums that tell pictures apart whatever their names; only files of equal size are read."""
    sizes: dict[int, list[Scene]] = defaultdict(list)
    for scene in scenes:
        if scene.image:
            sizes[Path(scene.image).stat().st_size].append(scene)
    return {
        scene.name: hashlib.sha256(Path(scene.image).read_bytes()).hexdigest()
        for group in sizes.values()
        if len(group) > 1
        for scene in group
    }


def _official(trials: Sequence[Trial], settings: SplitSettings) -> tuple[dict[str, list[Trial]], dict[str, object]]:
    known = sorted({trial.subset for trial in trials} - {""})
    if not known:
        raise ConfigError("split=official, but the data name no parts: split by image, target, subject or combination")
    wanted = [name for stage in STAGES for name in settings.subsets[stage]]
    needed = [n for stage in STAGES for n in settings.subsets[stage] if stage == "fit" or n != USUAL_PARTS[stage]]
    if unknown := [name for name in needed if name not in known]:
        raise DataError(f"the data have no part {unknown[0]!r}: they have {', '.join(known)}")
    if len(set(wanted)) < len(wanted):
        raise ConfigError(f"parts {sorted(wanted)} name one part twice: each stage has its own")
    parts: dict[str, list[Trial]] = {
        stage: [t for t in trials if t.subset in settings.subsets[stage]] for stage in STAGES
    }
    unused = len(trials) - sum(len(part) for part in parts.values())
    return parts, {"subsets": {stage: list(settings.subsets[stage]) for stage in STAGES}, "trials_in_no_part": unused}


def _dealt(found: ScanpathSet, settings: SplitSettings) -> tuple[dict[str, list[Trial]], dict[str, object]]:
    unit = _unit(settings.rule)
    given = {name: scene.fold for name, scene in found.scenes.items() if scene.fold >= 0}
    units = sorted({unit(trial) for trial in found.trials})
    if settings.rule == "image" and given and settings.folds is None:
        if missing := [name for name in units if name not in given]:
            raise DataError(
                f"{len(missing)} scenes have no fold though others do (first: {missing[0]!r}): give all one"
            )
        number, count = given, max(given.values()) + 1
    else:
        count = settings.folds or (min(IMAGE_FOLDS, len(units)) if settings.rule == "image" else len(units))
        if count > len(units):
            raise ConfigError(f"folds={count} is more than the {len(units)} units of split={settings.rule}")
        # Leaving one out goes by the sorted names, so that the fold is an index into them; parts of several are drawn.
        drawn = list(range(len(units)))
        if count < len(units):
            drawn = np.random.default_rng(settings.seed).permutation(len(units)).tolist()
        number = {units[index]: position * count // len(units) for position, index in enumerate(drawn)}
    if not 0 <= settings.fold < count:
        raise ConfigError(f"fold={settings.fold} is not one of 0 to {count - 1} with split={settings.rule}")
    test = [trial for trial in found.trials if number[unit(trial)] == settings.fold]
    rest = [trial for trial in found.trials if number[unit(trial)] != settings.fold]
    held = _held(rest, settings)
    chosen = _unit("subject" if settings.rule == "subject" else "image")
    parts = {
        "fit": [trial for trial in rest if chosen(trial) not in held],
        "validate": [trial for trial in rest if chosen(trial) in held],
        "test": test,
    }
    facts: dict[str, object] = {
        "fold": settings.fold,
        "folds": count,
        "validation_share": settings.validation_share,
        "seed": settings.seed,
        "test_units": sorted({unit(trial) for trial in test}) if settings.rule != "image" else len({*map(unit, test)}),
    }
    return parts, facts


def _held(rest: Sequence[Trial], settings: SplitSettings) -> set[str]:
    """Units to validate on."""
    if settings.validation_share == 0:
        return set()
    unit = _unit("subject" if settings.rule == "subject" else "image")
    units = sorted({unit(trial) for trial in rest})
    count = max(1, round(settings.validation_share * len(units)))
    if count >= len(units):
        raise ConfigError(
            f"validation_share={settings.validation_share} leaves none of {len(units)} to train on with "
            f"split={settings.rule}, fold={settings.fold}: pass --data.validation_share 0"
        )
    order = np.random.default_rng([settings.seed, 1 + settings.fold]).permutation(len(units))
    return {units[index] for index in order[:count].tolist()}


def _unit(rule: SplitRule) -> Callable[[Trial], str]:
    units: dict[str, Callable[[Trial], str]] = {
        "image": lambda trial: trial.scene,
        "target": lambda trial: trial.task,
        "subject": lambda trial: trial.subject,
        "combination": lambda trial: f"{trial.task} in {trial.scene}",
    }
    return units[rule]


def trial_keys(trials: Sequence[Trial]) -> list[int]:
    """A number for each trial that tells its picture, subject and task from others."""
    names = (repr((trial.scene, trial.subject, trial.task)) for trial in trials)
    return [int.from_bytes(hashlib.blake2b(name.encode(), digest_size=7).digest(), "big") for name in names]
