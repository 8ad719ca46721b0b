"""What a network asks of its data, compared before the first step rather than in the middle of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from vision_suite.errors import ConfigError
from vision_suite.models.oat.appearance import MEAN, STD, CropCNN, FrozenEncoder
from vision_suite.models.oat.network import OAT
from vision_suite.models.oat.positions import TableCode
from vision_suite.types import BACKGROUND, Condition
from vision_suite.types.arrays import Ints


class Recorded(Protocol):
    """What is read of a trial; `vision_suite.datasets.scanpath.records.Trial` is one."""

    @property
    def condition(self) -> int:
        """`vision_suite.types.Condition`."""

    @property
    def target(self) -> int:
        """The object whose copy is the target token, -1 for none."""

    @property
    def sequence(self) -> Ints:
        """(L,) objects or ``BACKGROUND``."""


def check_inputs(model: OAT, looks: Mapping[str, Any], num_positions: int) -> None:
    """Compare what the objects of the data look like and where they stand with what the network reads.

    Args:
        model: The network.
        looks: The data's preprocessing: ``objects`` (crops or features), ``in_channels`` or ``crop_size``, ``mean`` and
            ``std``, and ``target_from`` (object or given).
        num_positions: Rows or columns of the data's largest grid, 0 for free places.

    Raises:
        ConfigError: They do not fit.
    """
    appearance, position = model.embedding.appearance, model.embedding.position
    if looks["objects"] == "features":
        if not appearance.takes_features:
            raise ConfigError(
                "appearance=cnn reads crops, but the data give vectors: pass --model.appearance table, or "
                "--data.objects crops"
            )
        width = getattr(appearance, "feature_dim", looks["in_channels"])
        if width != looks["in_channels"]:
            raise ConfigError(
                f"the network reads vectors of width {width}, but those of the data have {looks['in_channels']}: "
                "choose the vectors that it was trained on"
            )
    elif not appearance.takes_crops:
        raise ConfigError(
            "appearance=table reads vectors, but the data give crops: train with --model.appearance cnn, or pass "
            "--data.features; pictures of your own need a network that was trained on crops"
        )
    elif isinstance(appearance, CropCNN) and list(appearance.crop_size) != list(looks["crop_size"]):
        raise ConfigError(
            f"model.crop_size={list(appearance.crop_size)}, but data.crop_size={list(looks['crop_size'])}: give both "
            "the same"
        )
    elif isinstance(appearance, FrozenEncoder) and (list(looks["mean"]), list(looks["std"])) != (list(MEAN), list(STD)):
        raise ConfigError(
            f"data.mean={looks['mean']} and data.std={looks['std']}, but a frozen encoder takes crops of mean "
            f"{list(MEAN)} and std {list(STD)}: leave both out"
        )
    if model.embedding.target_token == "given" and looks["target_from"] == "object":
        raise ConfigError(
            "target_token=given, but the data copy the target from the scene (target_from=object): pass "
            "--model.target_token object, or give each trial a picture or vector of its target"
        )
    if isinstance(position, TableCode) and not 1 <= num_positions <= len(position.table):
        where = f"stand on a grid of {num_positions} rows or columns" if num_positions else "stand freely"
        raise ConfigError(
            f"the position code is a table of {len(position.table)} rows and columns, but the objects of the data "
            f"{where}: train with --model.position gauss_hermite, which takes any place"
        )


def check_trials(model: OAT, trials: Sequence[Recorded], part: str) -> None:
    """Compare what people did with what the network can say.

    Args:
        model: The network.
        trials: Of one part of the data.
        part: Its name, for the message.

    Raises:
        ConfigError: There are fixations on the background, trials without target, or targets that cannot be copied,
            and the network does not know of them.
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
                "--model.conditions true in training, or name what is searched for in own pictures by --data.target"
            )
    if model.embedding.target_token == "object":
        unknown = sum(trial.condition == Condition.PRESENT and trial.target < 0 for trial in trials)
        if unknown:
            raise ConfigError(
                f"{unknown} of {len(trials)} trials to {part} name no single object to copy as the target: pass "
                "--model.target_token given if the data have pictures or vectors of targets, or name target_object"
            )
