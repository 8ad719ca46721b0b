"""From a batch of network output to rows of numbers, and from the rows of a split to detections of its videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from vision_suite.errors import DataError
from vision_suite.models.csa.merging import VideoMerger
from vision_suite.models.csa.network import CSADetector, DetectorOutput, interval_logits, video_logits
from vision_suite.models.csa.postprocess import PostProcess, Proposals, label, propose
from vision_suite.types.arrays import Floats, Ints
from vision_suite.types.tad import Detection, FeatureBatch

VIDEO, START, END, SCORE, CLASSES = range(5)  # columns of `proposal_rows`
BEGIN, HORIZON, CELLS, SUMS = range(1, 5)  # columns of `video_rows`, behind the video
Detections = list[Detection]


def proposal_rows(
    network: CSADetector,
    output: DetectorOutput,
    batch: FeatureBatch,
    post: PostProcess,
    name_of: Callable[[int], str] = str,
) -> tuple[Tensor, Tensor]:
    """The best proposals of each sequence of a batch.

    Args:
        network: Detector, which holds the proposal map and its conventions.
        output: Its logits.
        batch: Position of the sequences in their videos.
        post: The settings.
        name_of: Name of a video by its number, for an error.

    Returns:
        Sequences (n,) int64, and values (n, 4 + 2k) float64: video, start and end in seconds, score, and the k best
        classes with their scores where labels are given by segment.

    Raises:
        DataError: A logit is not finite; such a sequence would have no detections, as if nothing happened in it.
    """
    _check_finite(output, batch, name_of)
    maps = [torch.sigmoid(x.float()).cpu().numpy() for x in (output.start, output.end, output.iou, output.confidence)]
    snippet = output.snippet.float().cpu()
    # One copy per batch; single elements of a tensor on a GPU would each wait for it.
    times = torch.stack([batch["origin"], batch["cell_seconds"], batch["duration"]], dim=1).tolist()
    numbers = torch.stack([batch["valid"].sum(dim=1), batch["video"], batch["index"]], dim=1).tolist()
    sequences, values = [], []
    for row, ((origin, step, duration), (valid, video, index)) in enumerate(zip(times, numbers, strict=True)):
        start, end, iou, confidence = (array[row] for array in maps)
        first, last, scores = propose(start, end, iou, confidence, valid, network.proposals, network.convention, post)
        seconds = np.clip(origin + np.stack([first, last], 1) * step, 0.0, duration)
        columns = [np.full((len(first), 1), video), seconds, scores[:, None]]
        if post.class_scope == "segment":
            columns += segment_classes(snippet[row], first, last, post.top_classes)
        sequences.append(np.full(len(first), index))
        values.append(np.concatenate(columns, axis=1))
    return torch.from_numpy(np.concatenate(sequences)), torch.from_numpy(np.concatenate(values))


def _check_finite(output: DetectorOutput, batch: FeatureBatch, name_of: Callable[[int], str]) -> None:
    logits = (output.start, output.end, output.iou, output.confidence, output.snippet)
    finite = torch.stack([torch.isfinite(part).flatten(1).all(dim=1) for part in logits]).all(dim=0).cpu()
    if bool(finite.all()):
        return
    first = int((~finite).nonzero()[0])
    raise DataError(
        f"the network's output is not finite for {int((~finite).sum())} of {len(finite)} sequences of a batch, the "
        f"first at {float(batch['origin'][first]):g} s of video {name_of(int(batch['video'][first]))}: its weights or "
        "these features are damaged, or the precision is too low (--trainer.precision 32)"
    )


def segment_classes(snippet: Tensor, first: Ints, last: Ints, count: int) -> list[Floats]:
    """The best classes (n, k) of intervals by their snippets' logits (K, T), and their softmax scores (n, k)."""
    logits = interval_logits(snippet, torch.from_numpy(first), torch.from_numpy(last))
    best = torch.softmax(logits, dim=1).sort(dim=1, descending=True, stable=True)
    return [best.indices[:, :count].double().numpy(), best.values[:, :count].double().numpy()]


def video_rows(output: DetectorOutput, batch: FeatureBatch) -> tuple[Tensor, Tensor]:
    """Facts of each sequence: sequences (B,), and values (B, 4 + K).

    The values are its video, the seconds at which it and the next window begin, its cells that count, and the sums of
    their class logits. Scores from a file (``video_scores``) count as they are.
    """
    weight = batch["valid"].sum(dim=1).double()
    if "video_scores" in batch:
        scores = batch["video_scores"].double()
    else:
        scores = video_logits(output.snippet.float(), batch["valid"]).double()
    head = torch.stack([batch["video"].double(), batch["origin"].double(), batch["horizon"].double(), weight], dim=1)
    return batch["index"].cpu(), torch.cat([head, scores * weight[:, None]], dim=1).cpu()


def video_scores(values: Tensor, videos: int, outside: bool) -> Floats:
    """Class scores (V, K) of whole videos: the mean logits of all their cells, through a sigmoid unless from a file.

    Args:
        values: Rows of `video_rows`.
        videos: Number V of videos.
        outside: True if the scores came from a file.
    """
    total = torch.zeros(videos, values.shape[1] - CELLS, dtype=torch.float64)
    total.index_add_(0, values[:, VIDEO].long(), values[:, CELLS:])
    if outside:
        mean: Floats = (total[:, 1:] / total[:, :1].clamp(min=1)).numpy()
        return mean
    return class_probabilities(total.numpy())


def class_probabilities(total: Floats) -> Floats:
    """Sums of cells and logits (V, 1 + K) to the sigmoid of mean logits (V, K)."""
    mean = torch.from_numpy(total[:, 1:] / np.maximum(total[:, :1], 1))
    out: Floats = torch.sigmoid(mean).numpy()
    return out


def to_proposals(values: Floats) -> Proposals:
    """Rows of `proposal_rows` of one sequence."""
    k = (values.shape[1] - CLASSES) // 2
    return Proposals(
        values[:, START : END + 1],
        values[:, SCORE],
        values[:, CLASSES : CLASSES + k].astype(np.int64),
        values[:, CLASSES + k :],
    )


def detect(
    proposals: tuple[Tensor, Tensor],
    windows: tuple[Tensor, Tensor],
    scores: Floats,
    names: Sequence[str],
    durations: Sequence[float],
    classes: Sequence[str],
    post: PostProcess,
) -> tuple[dict[str, Detections], dict[str, Detections]]:
    """Detections and proposals of every video.

    Args:
        proposals: Sequences (n,) ascending and values (n, c) of `proposal_rows`.
        windows: Sequences (m,) ascending and values (m, 4 + K) of `video_rows`; those of a video in order of time.
        scores: (V, K) class scores of the videos.
        names: The V videos.
        durations: Their seconds.
        classes: The K class names.
        post: The settings.

    Returns:
        By video its detections, and its proposals without labels, both best first, in ActivityNet's result form.
    """
    # torchmetrics makes a scalar of a single number.
    sequence, index = (np.atleast_1d(x.numpy()) for x in (proposals[0], windows[0]))
    rows, facts = proposals[1].numpy(), windows[1].numpy()
    pieces = np.split(rows, np.searchsorted(sequence, index[1:]))
    mergers: dict[int, VideoMerger] = {}
    for piece, fact in zip(pieces, facts, strict=True):
        video = int(fact[VIDEO])
        merger = mergers.setdefault(video, VideoMerger(post))
        merger.add(to_proposals(piece), float(fact[BEGIN]), float(fact[HORIZON]), durations[video])
    found: dict[str, Detections] = {}
    bare: dict[str, Detections] = {}
    for video, merger in sorted(mergers.items()):
        merged = merger.close(durations[video])
        found[names[video]] = label(merged, scores[video] if post.class_scope == "video" else None, classes, post)
        bare[names[video]] = [
            {"score": float(score), "segment": [float(start), float(end)]}
            for score, (start, end) in zip(merged.scores, merged.segments, strict=True)
        ]
    return found, bare


def position_curve(output: DetectorOutput, batch: FeatureBatch, row: int) -> Tensor:
    """Seconds, start and end probability, and temporal gate (NaN without one) of a sequence's cells: (4, valid)."""
    cells = torch.arange(output.start.shape[1], device=output.start.device) + 0.5
    seconds = batch["origin"][row] + cells * batch["cell_seconds"][row]
    gate = output.gates.temporal
    temporal = torch.full_like(output.start[row], float("nan")) if gate is None else gate[row]
    rows = [seconds, torch.sigmoid(output.start[row]), torch.sigmoid(output.end[row]), temporal]
    return torch.stack([x.detach().double() for x in rows])[:, batch["valid"][row]].cpu()


def extended(curve: Tensor | None, further: Tensor) -> Tensor:
    """A curve of `position_curve` and what a later window shows behind it."""
    return further if curve is None else torch.cat([curve, further[:, further[0] > curve[0, -1]]], dim=1)
