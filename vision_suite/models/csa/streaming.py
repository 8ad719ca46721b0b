"""Detections of a stream of rows: windows in order, bounded memory, and no detection is taken back."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from vision_suite.errors import ConfigError, DataError
from vision_suite.models.csa.detections import proposal_rows, to_proposals
from vision_suite.models.csa.merging import StreamMerger, streams
from vision_suite.models.csa.network import CSADetector
from vision_suite.models.csa.postprocess import PostProcess, label
from vision_suite.ops.windows import WindowCutter
from vision_suite.types.arrays import Floats32
from vision_suite.types.tad import Detection, FeatureBatch


class StreamingDetector:
    """Detections of rows that arrive in pieces of any size: feed rows, take what is final.

    A test or a prediction of the same windows gives the same, but for what needs the end: it keeps the best ``keep`` of
    all that a stream gives, and cuts what goes beyond the video's duration.

    Args:
        network: A trained detector, in evaluation mode.
        classes: Its class names.
        post: The settings, with ``class_scope: segment`` and suppression window after window: ``nms_stage: video``,
            ``nms`` not ``bsn``.
        cell_seconds: Seconds from one row to the next.
        origin: Seconds at which row 0 begins.
        overlap: Share of a window that the next one sees again; at 0.5 every action of up to half a window is whole in
            some window.

    Raises:
        ConfigError: The network is in training mode, has other classes, or a setting needs the end of the video.
    """

    def __init__(
        self,
        network: CSADetector,
        classes: Sequence[str],
        post: PostProcess,
        *,
        cell_seconds: float,
        origin: float = 0.0,
        overlap: float = 0.5,
    ) -> None:
        if not streams(post) or post.class_scope != "segment":
            raise ConfigError(
                f"post: nms={post.nms}, nms_stage={post.nms_stage}, class_scope={post.class_scope}: a stream has no "
                "whole video to suppress in or to label by; give nms gaussian or none, nms_stage video, class_scope "
                "segment"
            )
        if network.training:
            raise ConfigError("the network of a stream is in training mode: call its eval() first")
        known = network.classifier.out_channels
        if len(classes) != known:
            raise ConfigError(
                f"{len(classes)} class names were given to a network of {known} classes: give all of them"
            )
        if not (math.isfinite(origin) and math.isfinite(cell_seconds) and cell_seconds > 0 and 0 <= overlap < 1):
            raise ConfigError(
                f"cell_seconds={cell_seconds} must be above 0, origin={origin} finite, overlap={overlap} from 0 to "
                "below 1"
            )
        length = network.proposals.length
        self.network, self.classes, self.post = network, list(classes), post
        self.cell_seconds, self.origin = cell_seconds, origin
        self.cutter = WindowCutter(length, max(1, int(length * (1 - overlap) + 1e-9)))
        self.merger = StreamMerger(post)
        self._closed = False

    def feed(self, rows: Floats32) -> list[Detection]:
        """Take rows (n, C); give the detections that became final, in order of time.

        Raises:
            DataError: They are no finite rows of the network's width, or the stream was closed. Nothing was taken then.
        """
        self._refuse_closed()
        width = self.network.in_channels
        if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] != width:
            given = f"{type(rows).__name__} of shape {tuple(getattr(rows, 'shape', ()))}"
            raise DataError(f"feed takes a NumPy array (n, {width}), not a {given}")
        rows = rows.astype(np.float32)
        if not np.isfinite(rows).all():
            number = self.cutter.count + int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
            raise DataError(f"row {number} of the stream holds a value that is not finite: correct or leave it out")
        found: list[Detection] = []
        for start, window in self.cutter.feed(rows):
            found += self._detect(start, window, last=False)
        return found

    def close(self) -> list[Detection]:
        """End the stream; give the rest.

        Raises:
            DataError: There was no row, or the stream was closed already.
        """
        self._refuse_closed()
        window = self.cutter.close()
        self._closed = True
        return self._detect(*window, last=True)

    def _refuse_closed(self) -> None:
        if self._closed:
            raise DataError("the stream was closed: a new one needs a new StreamingDetector")

    @torch.inference_mode()
    def _detect(self, start: int, window: Floats32, *, last: bool) -> list[Detection]:
        length = self.network.proposals.length
        begin = self.origin + start * self.cell_seconds
        features = torch.zeros(1, window.shape[1], length)
        features[0, :, : len(window)] = torch.from_numpy(np.ascontiguousarray(window.T))
        horizon = math.inf if last else begin + self.cutter.stride * self.cell_seconds
        batch: FeatureBatch = {
            "features": features,
            "valid": (torch.arange(length) < len(window))[None],
            "origin": torch.tensor([begin], dtype=torch.float64),
            "cell_seconds": torch.tensor([self.cell_seconds], dtype=torch.float64),
            "duration": torch.tensor([begin + len(window) * self.cell_seconds], dtype=torch.float64),
            "horizon": torch.tensor([horizon], dtype=torch.float64),
            "video": torch.zeros(1, dtype=torch.int64),
            "index": torch.zeros(1, dtype=torch.int64),
        }
        device = next(self.network.parameters()).device
        output = self.network(features.to(device), batch["valid"].to(device))
        _, values = proposal_rows(self.network, output, batch, self.post)
        final = self.merger.add(to_proposals(values.numpy()), begin, horizon)
        found = label(final, None, self.classes, self.post)
        return sorted(found, key=lambda entry: (entry["segment"], -entry["score"]))
