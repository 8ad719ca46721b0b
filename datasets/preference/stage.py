"""Pairs of one stage: those that can be used, by index, with their ids and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from torch import Tensor

from vision_suite.datasets.conversations.pictures import Appearance
from vision_suite.datasets.conversations.stage import Policy, UsableRows
from vision_suite.datasets.conversations.survey import settings_of
from vision_suite.datasets.loading import Cache
from vision_suite.datasets.preference.encode import PairSample, Unit, pair_encoder
from vision_suite.datasets.preference.sources import PairSource
from vision_suite.types.preference import PreferenceRow

if TYPE_CHECKING:
    from vision_suite.text.chat import ChatFormat


class PairRows(UsableRows[PreferenceRow, PairSample]):
    """Pairs to train on, by the index of batches.

    Pairs that are too long, and those whose sides are the same, are left out and counted. A limit that would cut
    the tokens of a picture stops.

    Args:
        sources: Sources of the stage.
        chat: Format of conversations.
        appearance: Form in which the network sees pictures.
        max_length: Largest number of ids of a beginning with either continuation.
        unit: Continuations are single sentences, or whole answers.
        policy: Treatment of rows and pictures that cannot be used.
        cache: Keep ids and pictures in memory, or make them anew for each batch.
        shuffled: Seed with which the order of each pair is drawn at random; None to keep it.

    Attributes:
        reference: (N, 2) float64 log-probabilities of the continuations before training; None until they are known.

    Raises:
        DataError: As `UsableRows`, or the tokens of a picture would be cut.
    """

    left_out: ClassVar[tuple[str, ...]] = ("over_length", "identical")
    fatal: ClassVar[dict[str, str]] = {"pictures_cut": "raise --data.max_length, or use fewer tokens a picture"}

    def __init__(
        self,
        sources: Sequence[PairSource],
        chat: ChatFormat,
        appearance: Appearance,
        max_length: int,
        *,
        unit: Unit,
        policy: Policy,
        cache: Cache,
        shuffled: int | None = None,
    ) -> None:
        settings = {**settings_of(chat, max_length, "fit"), "unit": unit}
        encode = pair_encoder(chat, max_length, unit)
        super().__init__(sources, encode, settings, appearance, policy=policy, cache=cache)
        self.reference: Tensor | None = None
        count = len(self)
        drawn = [0] * count if shuffled is None else np.random.default_rng([shuffled, count]).integers(0, 2, count)
        self._swapped = [bool(each) for each in drawn]
        if shuffled is not None:
            self.problems["pairs_in_other_order"] = sum(self._swapped)

    def row(self, index: int) -> PreferenceRow:
        """The pair at an index, in the order in which it is trained on."""
        row = self._read(index)
        if not self._swapped[index]:
            return row
        return replace(
            row,
            chosen=row.rejected, rejected=row.chosen,
            chosen_ends=row.rejected_ends, rejected_ends=row.chosen_ends,
            chosen_objects=row.rejected_objects, rejected_objects=row.chosen_objects,
        )  # fmt: skip

    def sample(self, index: int) -> PairSample:
        """Ids of the pair at an index, in the order in which it is trained on."""
        sample = super().sample(index)
        return sample.swapped() if self._swapped[index] else sample
