"""Checks that data fit a network, made before the first step rather than in the middle of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vision_suite.errors import ConfigError
from vision_suite.models.oat.appearance import MEAN, STD, CropCNN, FrozenEncoder
from vision_suite.models.oat.network import OAT
from vision_suite.models.oat.positions import TableCode
from vision_suite.types import BACKGROUND, Condition, Scene, Trial


def check_inputs(model: OAT, facts: Mapping[str, Any], num_positions: int) -> None:
    """Compare the appearance and the positions of the data's objects with the input of the network.

    Args:
        model: The network.
        facts: Preprocessing of the data: ``objects`` (crops or features), ``in_channels`` or ``crop_size``, ``mean``
            and ``std``, and ``target_from`` (object or given).
        num_positions: Number of rows or columns of the data's largest grid, 0 for free positions.

    Raises:
        ConfigError: The network cannot read the data.
    """
    appearance, position = model.embedding.appearance, model.embedding.position
    if facts["objects"] == "features":
        if not appearance.takes_features:
            raise ConfigError(
                "appearance=cnn reads crops, but the data give vectors: pass --model.appearance table, or "
                "--data.objects crops"
            )
        width = getattr(appearance, "feature_dim", facts["in_channels"])
        if width != facts["in_channels"]:
            raise ConfigError(
                f"the network reads vectors of width {width}, but those of the data have {facts['in_channels']}: "
                "choose the vectors that it was trained on"
            )
    elif not appearance.takes_crops:
        raise ConfigError(
            "appearance=table reads vectors, but the data give crops: train with --model.appearance cnn, or pass "
            "--data.features; pictures of your own need a network that was trained on crops"
        )
    elif isinstance(appearance, CropCNN) and list(appearance.crop_size) != list(facts["crop_size"]):
        raise ConfigError(
            f"model.crop_size={list(appearance.crop_size)}, but data.crop_size={list(facts['crop_size'])}: give both "
            "the same"
        )
    elif isinstance(appearance, FrozenEncoder) and (list(facts["mean"]), list(facts["std"])) != (list(MEAN), list(STD)):
        raise ConfigError(
            f"data.mean={facts['mean']} and data.std={facts['std']}, but a frozen encoder takes crops of mean "
            f"{list(MEAN)} and std {list(STD)}: leave both out"
        )
    if model.embedding.target_token == "given" and facts["target_from"] == "object":
        raise ConfigError(
            "target_token=given, but the data copy the target from the scene (target_from=object): pass "
            "--model.target_token object, or give each trial a picture or vector of its target"
        )
    if isinstance(position, TableCode) and not 1 <= num_positions <= len(position.table):
        where = f"stand on a grid of {num_positions} rows or columns" if num_positions else "stand freely"
        raise ConfigError(
            f"the position code is a table of {len(position.table)} rows and columns, but the objects of the data "
            f"{where}: train with --model.position gauss_hermite, which takes any position"
        )


def check_trials(model: OAT, trials: Sequence[Trial], part: str) -> None:
    """Compare recorded trials with the scanpaths that the network can predict.

    Args:
        model: The network.
        trials: Trials of one part of the data.
        part: Name of the part, for the message.

    Raises:
        ConfigError: There are fixations on the background, trials without target, or targets that cannot be copied,
            and the network has no token for them.
    """
    if not model.has_background:
        astray = sum(bool((trial.sequence == BACKGROUND).any()) for trial in trials)
        if astray:
            raise ConfigError(
                f"{astray} of {len(trials)} trials to {part} have fixations on no object: pass --model.background "
                "true, or leave these out with --data.unassigned drop"
            )
    if model.embedding.none is None:
        other = sum(trial.condition != Condition.PRESENT for trial in trials)
        if other:
            raise ConfigError(
                f"{other} of {len(trials)} trials to {part} are target-absent or free viewing: pass "
                "--model.conditions true in training, or name the target of search in pictures by --data.target"
            )
    if model.embedding.target_token == "object":
        unknown = sum(trial.condition == Condition.PRESENT and trial.target < 0 for trial in trials)
        if unknown:
            raise ConfigError(
                f"{unknown} of {len(trials)} trials to {part} name no single object to copy as the target: pass "
                "--model.target_token given if the data have pictures or vectors of targets, or name target_object"
            )


def scene_warnings(model: OAT, scenes: Mapping[str, Scene]) -> list[str]:
    """Lines on scenes that the network does not see as they are.

    Args:
        model: The network.
        scenes: Scenes by name.
    """
    lines = []
    reach = model.embedding.position.reach
    # As `SceneEmbedding.coordinates` has it, over the objects and the start of gaze.
    extents = [np.ptp([*scene.positions(), scene.start()], axis=0).max() for scene in scenes.values()]
    wide = sum(bool(extent > reach * (1 + 1e-6)) for extent in extents)
    if wide:
        lines.append(
            f"{wide} of {len(scenes)} scenes are wider than the {reach:.1f} object pitches that the position code "
            f"tells apart, up to {max(extents):.1f}, and were shrunk to it: train with a larger embed_dim or sigma"
        )
    sides = [np.asarray(scene.boxes[:, 2:] - scene.boxes[:, :2]).min(axis=1) for scene in scenes.values()]
    small = int(sum((side < 1).sum() for side in sides))
    if small:
        total = sum(len(side) for side in sides)
        lines.append(f"{small} of {total} objects have a box below a pixel, and count as one pixel: check the boxes")
    return lines
