"""Temporal action detection data: features of untrimmed videos as sequences of equal length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info

from vision_suite.datasets.base import BaseData, Stage, stages_of
from vision_suite.datasets.facts import other_values
from vision_suite.datasets.loading import Cache, worker_count
from vision_suite.datasets.roots import find_root
from vision_suite.datasets.samplers import ShuffledBatchSampler
from vision_suite.datasets.saved import SavedPreprocessing
from vision_suite.datasets.tad.annotations import Annotations, Video, ground_truth, read_annotations
from vision_suite.datasets.tad.features import FeatureSource, Join
from vision_suite.datasets.tad.findings import Findings
from vision_suite.datasets.tad.inputs import VideoFiles
from vision_suite.datasets.tad.sampling import FeatureInfo, chosen_sampling
from vision_suite.datasets.tad.scores import read_scores
from vision_suite.datasets.tad.sequences import SequenceBatches, VideoRows
from vision_suite.datasets.tad.settings import Mode, OnMissing, check_settings, stored_settings
from vision_suite.datasets.tad.stages import SUBSETS, deal_out, protocol_of, subsets_of, summary_of
from vision_suite.datasets.tad.stream import StreamBatches
from vision_suite.datasets.tad.windows import Window, sequences_of, stride_of
from vision_suite.errors import ConfigError, DataError
from vision_suite.records import as_record
from vision_suite.types.arrays import Floats32
from vision_suite.types.tad import GroundTruth


class TADData(BaseData):
    """Untrimmed videos as features: whole videos resized to T cells (ActivityNet), or windows of T rows (THUMOS-14).

    Attributes:
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

    def __init__(
        self,
        root: str | None = None,
        annotations: str = "annotations.json",
        features: list[str] | None = None,
        mode: Mode = "resize",
        num_cells: int = 100,
        batch_size: int = 16,
        eval_batch_size: int = 16,
        train_on: list[str] | None = None,
        validate_on: list[str] | None = None,
        test_on: list[str] | None = None,
        sampling: FeatureInfo | None = None,
        join: Join = "interpolate",
        every: int = 1,
        train_overlap: float = 0.5,
        test_overlap: float = 0.5,
        keep_inside: float = 0.9,
        min_share: float = 0.0,
        negatives: bool | None = None,
        classes: str | None = None,
        blocked: str | None = None,
        ignore_labels: list[str] | None = None,
        class_scores: str | None = None,
        cache: Cache = "none",
        num_workers: int | None = None,
        on_missing: OnMissing = "error",
        videos: str | None = None,
        extractor_device: str = "auto",
        seed: int | None = None,
    ) -> None:
        """Read the annotations and find the features; every file is read once when a stage begins.

        Args:
            root: Folder of the data set, also relative to the data cache; other paths are relative to it.
            annotations: ActivityNet's JSON, which THUMOS-14's copies follow.
            features: Sets of features to join along the channels: folders of one file a video (npy, npz, csv, pt), or
                HDF5 files by name or glob.
            mode: Resize whole videos to num_cells, or cut windows of num_cells rows.
            num_cells: Time steps T of a sequence.
            batch_size: Training sequences per step and process.
            eval_batch_size: Sequences per step and process in evaluation.
            train_on: Subsets to train on; training if unset.
            validate_on: Subsets to validate on; validation if unset, an empty list for none.
            test_on: Subsets to test on; testing if unset.
            sampling: Time of each row, instead of the features.json beside the features.
            join: Sets of different length: interpolate to the longest, or truncate to the shortest.
            every: Step between the rows that are kept; 1 keeps all.
            train_overlap: Share of a training window that the next window repeats.
            test_overlap: The same share in evaluation; 0.5 shows every action of up to half a window whole.
            keep_inside: Train on an annotation where more than this share of it lies inside the window.
            min_share: Leave annotations shorter than this share of the sequence out of training.
            negatives: Train on sequences in which nothing is annotated, too. If unset, on where a training video has no
                annotation at all: such videos are in a set as negatives. Elsewhere off, as published settings train
                on windows with actions only.
            classes: Text file with one class name a line; by default the names that occur, sorted.
            blocked: JSON list of videos to leave out.
            ignore_labels: Labels to leave out; Ambiguous if unset.
            class_scores: Class scores of whole videos from outside: CUHK's JSON, or UntrimmedNet's matrix, for every
                video that is evaluated or predicted. They replace the detector's own classifier.
            cache: memory keeps all features of a stage; none reads them from disk each time.
            num_workers: Worker processes of each loader; by default none with cache=memory, else up to 8.
            on_missing: Stop at videos without features, or skip, count and report them; in prediction the same holds
                for videos that cannot be decoded.
            videos: Video files for predict, a file or a folder: their features are made on the way, by the extractor
                that the checkpoint's data names. root need not exist then. By default predict takes the test split.
            extractor_device: Device of that extractor: auto, cpu, cuda ...
            seed: Seed of the order; by default the run's seed.

        Raises:
            ConfigError: Settings contradict each other.
            DataError: The data set is missing, incomplete or malformed.
        """
        workers = worker_count(num_workers, cache)
        super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, num_workers=workers, seed=seed)
        check_settings(mode, num_cells, every, join, keep_inside, min_share, cache, on_missing)
        self.num_cells, self.mode, self.every, self._join = num_cells, mode, every, join
        self._cache, self._on_missing = cache, on_missing
        self._overlaps = {"fit": train_overlap, "validate": test_overlap, "test": test_overlap, "predict": test_overlap}
        self._keep_inside, self._min_share, self._negatives = keep_inside, min_share, negatives
        self._videos: dict[str, list[Video]] = {"fit": [], "validate": [], "test": [], "predict": []}
        self._windows: dict[str, list[Window]] = {}
        self._rows: dict[str, VideoRows] = {}
        self._scores: dict[str, Floats32] = {}
        self._source: FeatureSource | None = None
        given = None if sampling is None else as_record(FeatureInfo, sampling, "sampling")
        self.info = given or FeatureInfo(resized=True)  # with video files alone, the checkpoint has it
        self.files = None if videos is None else VideoFiles(videos, extractor_device, on_missing)
        if self.files is not None:
            self._videos["predict"] = self.files.videos
        if root is None and videos is None:
            raise ConfigError("no data set: give --data.root, or --data.videos to predict on video files")
        folder = None if root is None else find_root(root, needed=videos is None)
        if folder is None:
            return
        locations = [folder / name for name in features or ["features"]]
        self.info = chosen_sampling(given, _folders(locations))
        self._source = FeatureSource(locations, join, self.info.channels)
        listing = read_annotations(
            folder / annotations,
            classes=None if classes is None else folder / classes,
            blocked=None if blocked is None else folder / blocked,
            ignore_labels=["Ambiguous"] if ignore_labels is None else ignore_labels,
        )
        self._use(
            folder,
            listing,
            self._source,
            subsets_of(train_on, validate_on, test_on),
            None if class_scores is None else folder / class_scores,
        )

    def _use(
        self,
        folder: Path,
        listing: Annotations,
        source: FeatureSource,
        subsets: dict[str, list[str]],
        scores: Path | None,
    ) -> None:
        self.class_names, self.num_classes = listing.classes, len(listing.classes)
        dealt = deal_out(listing, subsets, source, skip=self._on_missing == "skip")
        predicted = dealt.videos["test"] if self.files is None else self.files.videos
        self._videos = {**dealt.videos, "predict": predicted}
        self.in_channels = self.info.channels or source.read(dealt.names[0]).shape[1]
        source.channels = self.in_channels
        if scores is not None:
            # Training does not use them, and UntrimmedNet's matrix has none of the training videos.
            scored = dict.fromkeys(video.name for stage in ("validate", "test") for video in self._videos[stage])
            self._scores = read_scores(scores, list(scored), self.class_names)
        if self._negatives is None:
            self._negatives = any(not video.actions and not video.unclear for video in self._videos["fit"])
        self.protocol = protocol_of(folder, listing, dealt, source, scores)
        self._note_settings()
        self._findings = Findings(self.protocol)
        self._findings.count("videos_without_features", dealt.missing)

    def _note_settings(self) -> None:
        """Put the settings that turn rows into sequences into the protocol."""
        self.protocol |= {
            "mode": self.mode,
            "num_cells": self.num_cells,
            "every": self.every,
            "overlap": {"train": self._overlaps["fit"], "test": self._overlaps["test"]},
            "negatives": self._negatives,
            "sampling": asdict(self.info),
        }

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Settings that turn the features of a video into sequences, in plain values."""
        return {
            "mode": self.mode,
            "num_cells": self.num_cells,
            "every": self.every,
            "overlap": self._overlaps["test"],
            "join": self._join,
            "sampling": asdict(self.info),
        }

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
            give = self.files.rows(self.info, self.every)
        scores = [self._scores[video.name] for video in videos if video.name in self._scores]
        return StreamBatches(
            videos, give, self._row_info, cells=self.num_cells,
            resize=self.mode == "resize", stride=stride_of(self.num_cells, self._overlaps["predict"]),
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
        self.mode, self.num_cells = found.get("mode", self.mode), found.get("num_cells", self.num_cells)
        self.every, self._join = found.get("every", self.every), found.get("join", self._join)
        if "test_overlap" in found:
            self._overlaps |= dict.fromkeys(("validate", "test", "predict"), found["test_overlap"])
        if "sampling" in found:
            self.info = FeatureInfo(**found["sampling"])
        if self._source is None:
            return True
        if "sampling" in found and self.files is None:
            self.info = chosen_sampling(self.info, _folders(self._source.locations))
        self._source.join, self._source.channels = self._join, self.info.channels or self.in_channels
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
        rows = VideoRows(self._source, videos, self.every, keep)
        self._findings.read(self._source, videos, rows.counts, self._row_info)
        return rows

    @property
    def _row_info(self) -> FeatureInfo:
        """Sampling of the rows that are kept."""
        return replace(self.info, stride=self.info.stride * self.every)

    def _cut(self, stage: Stage, rows: VideoRows) -> list[Window]:
        videos = self._videos[stage]
        stride = None if self.mode == "resize" else stride_of(self.num_cells, self._overlaps[stage])
        windows = sequences_of(videos, rows.counts, self._row_info, self.num_cells, stride)
        if stage != "fit":
            return windows
        kept, empty, trained = self._batches(stage, 0, windows).for_training(negatives=bool(self._negatives))
        if not trained:
            raise DataError(
                f"none of {len(windows)} training sequences holds an annotation: check --data.num_cells, "
                f"--data.keep_inside (now {self._keep_inside}) and --data.min_share (now {self._min_share})"
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
        return SequenceBatches(
            self._windows[stage] if windows is None else windows,
            videos,
            self._rows[stage],
            classes=self.class_names,
            cells=self.num_cells,
            resize=self.mode == "resize",
            keep_inside=self._keep_inside if self.mode == "window" else 0.0,
            min_share=self._min_share if stage == "fit" else 0.0,
            video_scores=None if scores is None else torch.from_numpy(np.stack(scores)),
        )


def _folders(locations: Iterable[Path]) -> list[Path]:
    """Folders in which the metadata of sets of features lie."""
    return [one if one.is_dir() else one.parent for one in locations]
