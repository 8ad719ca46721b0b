"""Steps from the videos of a detection set to batches: reading, cutting, and the settings of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info

from vision_suite.datasets.base import BaseData, Stage, stages_of
from vision_suite.datasets.facts import other_values
from vision_suite.datasets.loading import Cache
from vision_suite.datasets.samplers import ShuffledBatchSampler
from vision_suite.datasets.saved import SavedPreprocessing
from vision_suite.datasets.tad.annotations import Video, ground_truth
from vision_suite.datasets.tad.cutting import Cutting
from vision_suite.datasets.tad.features import FeatureSource
from vision_suite.datasets.tad.findings import Findings
from vision_suite.datasets.tad.inputs import VideoFiles
from vision_suite.datasets.tad.sampling import FeatureInfo, chosen_sampling, metadata_folders
from vision_suite.datasets.tad.sequences import SequenceBatches, VideoRows
from vision_suite.datasets.tad.settings import stored_settings
from vision_suite.datasets.tad.stages import SUBSETS, summary_of
from vision_suite.datasets.tad.stream import StreamBatches
from vision_suite.datasets.tad.windows import Window
from vision_suite.errors import DataError
from vision_suite.types.arrays import Floats32
from vision_suite.types.tad import GroundTruth


class StagedVideos(BaseData):
    """Videos by stage, whose feature rows become sequences; `TADData` finds the videos.

    Attributes:
        cutting: Settings that turn rows into sequences.
        info: Times of the rows.
        files: Video files to predict on, None for stored features.
        num_classes: Number of action classes, 0 if unknown.
        in_channels: Width of the feature sequences, 0 if unknown.
        num_cells: Time steps T of a sequence.
    """

    facts = ("num_classes", "in_channels", "num_cells")
    class_facts = frozenset({"num_classes"})
    free_facts = frozenset({"num_cells"})  # preprocessing, which tells it already
    num_classes = in_channels = 0
    items = "sequences"
    task = "tad"
    cutting: Cutting
    info: FeatureInfo
    files: VideoFiles | None
    _findings: Findings
    _cache: Cache
    _negatives: bool | None

    def __init__(self, *, batch_size: int, eval_batch_size: int, num_workers: int, seed: int | None) -> None:
        super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, num_workers=num_workers, seed=seed)
        self._videos: dict[str, list[Video]] = {"fit": [], "validate": [], "test": [], "predict": []}
        self._windows: dict[str, list[Window]] = {}
        self._rows: dict[str, VideoRows] = {}
        self._scores: dict[str, Floats32] = {}
        self._source: FeatureSource | None = None

    def _note_settings(self) -> None:
        """Put the settings that turn rows into sequences into the protocol."""
        cutting = self.cutting
        self.protocol |= {
            "mode": cutting.mode,
            "num_cells": cutting.num_cells,
            "every": cutting.every,
            "overlap": {"train": cutting.train_overlap, "test": cutting.test_overlap},
            "negatives": self._negatives,
            "sampling": asdict(self.info),
        }

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Settings that turn the features of a video into sequences, in plain values."""
        cutting = self.cutting
        return {
            "mode": cutting.mode,
            "num_cells": cutting.num_cells,
            "every": cutting.every,
            "overlap": cutting.test_overlap,
            "join": cutting.join,
            "sampling": asdict(self.info),
        }

    @property
    def num_cells(self) -> int:
        """Length T of every sequence."""
        return self.cutting.num_cells

    @classmethod
    def _settings(cls, saved: SavedPreprocessing) -> dict[str, Any]:
        return stored_settings(saved)

    def _fact_content(self, name: str) -> Any:
        if name != "in_channels" or not self.in_channels:
            return super()._fact_content(name)
        return {"width": self.in_channels, "features": self.protocol["features"], "sampling": asdict(self.info)}

    @property
    def item_bytes(self) -> int:
        """Bytes of a sequence's features in 32 bits."""
        return 4 * max(1, self.in_channels) * self.num_cells

    def size(self, stage: Stage) -> int:
        """Number of sequences in a stage's list, known after `setup`."""
        return len(self._windows.get(stage, []))

    def videos(self, stage: Stage) -> list[Video]:
        """The videos of a stage, in the order that batches number them."""
        return self._videos[stage]

    def ground_truth(self, stage: Stage) -> GroundTruth:
        """Annotations of a stage's videos as an ActivityNet dictionary."""
        return ground_truth(self._videos[stage])

    def setup(self, stage: str) -> None:
        """Read every feature file of a stage once, and cut the videos into sequences.

        Raises:
            DataError: A file is damaged or has another width, or a stage has no video.
        """
        for name in stages_of(stage):
            if name == "predict":
                if not self._videos[name]:
                    raise DataError("nothing to predict on: give --data.videos, or a data set with a test subset")
                continue
            if name in self._windows or (not self._videos[name] and name == "validate"):
                continue
            if not self._videos[name]:
                subsets = self.protocol.get("subsets", {})
                raise DataError(f"there is no video to {name} on (subsets {subsets}): give --data.{SUBSETS[name]}")
            rows = self._rows[name] = self._read(self._videos[name], self._cache == "memory")
            self._windows[name] = self._cut(name, rows)
        if stage == "fit":  # evaluations tell them in the report
            self._findings.tell(self.warn)
            empty = self.protocol["training_sequences"]["without_action"]
            shown = f" ({empty} without an action)" if empty else ""
            sizes = f"{self.size('fit')} sequences{shown} of {self.num_cells} cells x {self.in_channels} channels"
            rank_zero_info(summary_of(self.protocol, f"{self.num_classes} classes; training on {sizes}"))

    def predict_dataloader(self) -> Any:
        """Windows of one video after another; each process takes whole videos."""
        rank, world_size = self._rank()
        videos = self._videos["predict"]
        if self.files is None:
            stored = self._read(videos, False)
            self._findings.tell(self.warn)
            give: Callable[[int], Iterable[Floats32]] = lambda index: [stored(index)]  # noqa: E731
        else:
            give = self.files.rows(self.info, self.cutting.every)
        scores = [self._scores[video.name] for video in videos if video.name in self._scores]
        return StreamBatches(
            videos, give, self.cutting.kept(self.info), cells=self.num_cells,
            resize=self.cutting.resizes, stride=self.cutting.stride("predict"),
            batch_size=self.eval_batch_size, rank=rank, world_size=world_size,
            video_scores=torch.from_numpy(np.stack(scores)) if len(scores) == len(videos) else None,
            skip=self.files.skip if self.files is not None and self.files.skips else None,
        )  # fmt: skip

    def _take_over(self, preprocessing: Mapping[str, Any]) -> bool:
        """Make sequences as in the checkpoint's training: of video files always, of stored features in evaluation."""
        function = None if self.trainer is None else self.trainer.state.fn
        if self.files is None and function in (None, TrainerFn.FITTING):
            return False
        found, before = self.evaluation_settings(preprocessing), self.preprocessing
        self.cutting = self.cutting.taken_from(found)
        if "sampling" in found:
            self.info = FeatureInfo(**found["sampling"])
        if self._source is None:
            return True
        if "sampling" in found and self.files is None:
            self.info = chosen_sampling(self.info, metadata_folders(self._source.locations))
        self._source.join, self._source.channels = self.cutting.join, self.info.channels or self.in_channels
        self._note_settings()
        if function is not None and (changed := other_values(self.preprocessing, before)):
            self.warn(f"The checkpoint's preprocessing is used: {'; '.join(changed)}")
            for stage in stages_of(function.value):  # cut by the settings of before
                self._windows.pop(stage, None)
            self.setup(function.value)
        return True

    def _read(self, videos: list[Video], keep: bool) -> VideoRows:
        """Read the features of some videos once, and compare their lengths with the videos'."""
        assert self._source is not None
        rows = VideoRows(self._source, videos, self.cutting.every, keep)
        self._findings.read(self._source, videos, rows.counts, self.cutting.kept(self.info))
        return rows

    def _cut(self, stage: Stage, rows: VideoRows) -> list[Window]:
        videos = self._videos[stage]
        windows = self.cutting.windows(stage, videos, rows.counts, self.info)
        if stage != "fit":
            return windows
        kept, empty, trained = self._batches(stage, 0, windows).for_training(negatives=bool(self._negatives))
        if not trained:
            raise DataError(
                f"none of {len(windows)} training sequences holds an annotation: check --data.num_cells, "
                f"--data.keep_inside (now {self.cutting.keep_inside}) and --data.min_share (now "
                f"{self.cutting.min_share})"
            )
        self.protocol["training_sequences"] = {"with_actions": len(kept) - empty, "without_action": empty}
        self._findings.count("training_sequences_without_action", len(windows) - len(kept))
        self._findings.count("actions_not_trained_on", sum(len(video.actions) for video in videos) - trained)
        return kept

    def _train_sampler(self, rank: int, world_size: int) -> ShuffledBatchSampler:
        return ShuffledBatchSampler(self.size("fit"), self.batch_size, seed=self.seed, rank=rank, world_size=world_size)

    def _batches(self, stage: Stage, rank: int, windows: list[Window] | None = None) -> SequenceBatches:
        videos = self._videos[stage]
        scores = [self._scores[video.name] for video in videos] if self._scores and stage != "fit" else None
        return self.cutting.batches(
            stage,
            self._windows[stage] if windows is None else windows,
            videos,
            self._rows[stage],
            self.class_names,
            None if scores is None else torch.from_numpy(np.stack(scores)),
        )
