"""Top-k accuracy as a torchmetrics metric that is the same on any number of processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from vision_suite.errors import DataError
from vision_suite.metrics.gather import gather_rows
from vision_suite.types import ClassificationReport
from vision_suite.types.arrays import Ints

TOP = (1, 5)
NONE = -1  # class of a picture whose scores are not finite: never right
FEW = 10  # pictures; of fewer, all may be of one class by chance


class ClassificationMetric(Metric):
    """Top-1 and top-5 accuracy of the fused prediction and of each branch.

    Pictures that arrive twice (a distributed sampler pads with duplicates) are counted once, by their index. Equal
    scores rank by class number. With fewer than five classes, top-5 takes all there are. A picture whose scores are not
    finite counts as mistaken. Such pictures, and one class predicted for all, are ``warnings`` of the protocol.

    Args:
        branches: Names of the branches scored beside the fused prediction.

    Example:
        >>> metric = ClassificationMetric()
        >>> probability = torch.tensor([[0.2, 0.8], [0.6, 0.4]])
        >>> metric.update(probability, torch.tensor([1, 1]), torch.arange(2), {})
        >>> metric.compute()
        {'top1': tensor(0.5000), 'top5': tensor(1.)}
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False

    tags: list[Tensor] | Tensor
    best: list[Tensor] | Tensor
    confidence: list[Tensor] | Tensor

    def __init__(self, branches: Sequence[str] = ()) -> None:
        super().__init__(dist_sync_fn=gather_rows)
        self.branches = list(branches)
        self._result: tuple[dict[str, float], np.ndarray, np.ndarray, np.ndarray] | None = None
        for name in ("tags", "best", "confidence"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, label: Tensor, index: Tensor, branch_scores: Mapping[str, Tensor]) -> None:
        """Take a batch.

        Args:
            scores: (B, C) fused class probabilities.
            label: (B,) true classes.
            index: (B,) index of each picture in the evaluation list.
            branch_scores: (B, C) scores of each branch.

        Raises:
            DataError: Shapes that do not agree.
        """
        columns = [scores, *(branch_scores[name] for name in self.branches)]
        if any(tuple(c.shape) != tuple(scores.shape) for c in columns) or {len(label), len(index)} != {len(scores)}:
            raise DataError(f"scores {tuple(scores.shape)}, labels {tuple(label.shape)}: give (B, C) and (B,)")
        if not (isinstance(self.tags, list) and isinstance(self.best, list) and isinstance(self.confidence, list)):
            raise DataError("the metric was gathered already: reset() before further pictures")
        count = min(max(TOP), scores.shape[1])
        # A stable sort, not topk: the order of equal scores must not depend on the device or the batch.
        best = [
            c.detach()
            .argsort(dim=1, descending=True, stable=True)[:, :count]
            .masked_fill(~c.detach().isfinite().all(1, keepdim=True), NONE)
            for c in columns
        ]
        self.tags.append(torch.stack([index, label], dim=1).to(scores.device))
        self.best.append(torch.cat(best, dim=1))
        self.confidence.append(scores.detach().float().amax(1, keepdim=True))

    def _collect(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Index and label (M, 2), best classes (M, 1 + branches, 5), confidence (M,): each picture once, by index."""
        pieces = []
        for state in (self.tags, self.best, self.confidence):
            piece = torch.cat(state) if isinstance(state, list) and state else state
            if not isinstance(piece, Tensor) or not len(piece):
                raise DataError("no picture was classified: the evaluation split is empty")
            pieces.append(piece.cpu().numpy())
        _, first = np.unique(pieces[0][:, 0], return_index=True)
        best = pieces[1][first].reshape(len(first), 1 + len(self.branches), -1)
        return pieces[0][first], best, pieces[2][first, 0]

    def compute(self) -> dict[str, Tensor]:
        """``top1``, ``top5``, and ``<branch>/top1`` ... in fractions of one.

        Raises:
            DataError: No picture.
        """
        tags, best, confidence = self._collect()
        hit = best == tags[:, 1, None, None]
        metrics = {}
        for column, name in enumerate(["", *self.branches]):
            for k in TOP:
                key = f"{name}/top{k}" if name else f"top{k}"
                metrics[key] = float(hit[:, column, :k].any(1).mean())
        # Kept for the report: after this call the states hold this process's own pictures again.
        self._result = (metrics, tags, best, confidence)
        return {key: torch.tensor(value, dtype=torch.float32, device=self.device) for key, value in metrics.items()}

    def _warnings(self, tags: Ints, best: Ints) -> list[str]:
        """Lines about scores that mean nothing, for the fused prediction and each branch."""
        lines = []
        total, several = len(tags), len(np.unique(tags[:, 1])) > 1
        for column, branch in enumerate(["", *self.branches]):
            of = f" of the branch {branch}" if branch else ""
            found, counts = np.unique(best[:, column, 0], return_counts=True)
            without = int(counts[found == NONE].sum())
            if without:
                lines.append(f"scores{of} of {without} of {total} pictures are not finite: they count as mistaken")
            if several and total >= FEW and len(found) == 1 and not without:
                lines.append(
                    f"all {total} pictures are predicted as class {found[0]}{of}: the network tells nothing apart"
                )
        return lines

    def report(self, protocol: Mapping[str, object]) -> ClassificationReport:
        """Everything a table or a picture needs; computes first if that was not done.

        Args:
            protocol: Facts of the data (data set, split, fingerprint).
        """
        self.compute()
        if self._result is None:
            raise DataError("there is no result to report: reset() came between compute() and report()")
        metrics, tags, best, confidence = self._result
        prediction, warnings = best[:, 0, 0], self._warnings(tags, best)
        return ClassificationReport(
            metrics=dict(metrics),
            protocol={
                **protocol,
                "num_pictures": len(tags),
                "ties": "equal scores rank by class number",
                **({"warnings": warnings} if warnings else {}),
            },
            index=tags[:, 0],
            label=tags[:, 1],
            prediction=prediction,
            confidence=confidence,
        )

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._result = None
