"""Vectors that a network read in an evaluation, kept so that they can be checked: objects' and targets'."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vision_suite.models.oat.network import OAT
from vision_suite.models.oat.paths import present_objects
from vision_suite.types import Condition, ScanpathBatch, Trial

ROWS = 10_000  # vectors of a kind: some 20 MB of 512 numbers
CROPS = 256  # crops whose embedding is computed once more


class SeenInputs:
    """The vectors of each scene and of each target, once each, up to a number of them.

    Args:
        trials: Trials in the order of the batches' ``index``.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        self._scenes = [trial.scene for trial in trials]
        # A vector that many trials share, such as a word's, counts once: it must not look like equal vectors.
        self._targets = [(trial.task, trial.target_features, trial.target_image) for trial in trials]
        self._searched = [trial.condition != Condition.FREE for trial in trials]
        self._seen: set[object] = set()
        self._rows: dict[str, list[Tensor]] = {"appearance features": [], "target features": []}
        self._count = dict.fromkeys(self._rows, 0)

    def add(self, model: OAT, batch: ScanpathBatch) -> None:
        """Keep the vectors of a batch's new scenes and targets.

        Args:
            model: The network, which embeds crops.
            batch: Batch with ``index``.
        """
        look = model.embedding.appearance
        present = present_objects(batch)
        for row, number in enumerate(batch["index"].tolist()):
            if self._scenes[number] not in self._seen:
                self._seen.add(self._scenes[number])
                if "features" in batch and look.takes_features:
                    self._keep("appearance features", batch["features"][row][present[row]], ROWS)
                elif "crops" in batch and self._count["appearance features"] < CROPS:
                    with torch.no_grad():
                        self._keep("appearance features", look(batch["crops"][row][present[row]]), CROPS)
            # A target that is an object's copy is among the objects.
            given = model.embedding.target_token == "given" and "target_features" in batch and look.takes_features
            if given and self._searched[number] and self._targets[number] not in self._seen:
                self._seen.add(self._targets[number])
                self._keep("target features", batch["target_features"][row][None], ROWS)

    def rows(self) -> dict[str, Tensor]:
        """(n, F) float32 vectors by kind, ``appearance features`` and ``target features``, without empty kinds."""
        return {name: torch.cat(kept) for name, kept in self._rows.items() if kept}

    def _keep(self, name: str, vectors: Tensor, limit: int) -> None:
        room = max(limit - self._count[name], 0)
        if room and len(vectors):
            self._rows[name].append(vectors[:room].detach().float().cpu())
            self._count[name] += len(self._rows[name][-1])
