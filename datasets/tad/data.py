"""Temporal action detection data: features of untrimmed videos as sequences of equal length."""

from __future__ import annotations

from pathlib import Path

from vision_suite.datasets.loading import Cache, worker_count
from vision_suite.datasets.roots import find_root
from vision_suite.datasets.tad.annotations import Annotations, read_annotations
from vision_suite.datasets.tad.cutting import Cutting
from vision_suite.datasets.tad.features import FeatureSource, Join
from vision_suite.datasets.tad.findings import Findings
from vision_suite.datasets.tad.inputs import VideoFiles
from vision_suite.datasets.tad.sampling import FeatureInfo, chosen_sampling, metadata_folders
from vision_suite.datasets.tad.scores import read_scores
from vision_suite.datasets.tad.settings import Mode, OnMissing, check_settings
from vision_suite.datasets.tad.staged import StagedVideos
from vision_suite.datasets.tad.stages import deal_out, protocol_of, subsets_of
from vision_suite.errors import ConfigError
from vision_suite.records import as_record


class TADData(StagedVideos):
    """Untrimmed videos as features: whole videos resized to T cells (ActivityNet), or windows of T rows (THUMOS-14).

    Attributes:
        num_classes: Number of action classes, 0 if unknown.
        in_channels: Width of the feature sequences, 0 if unknown.
        num_cells: Time steps T of a sequence.
    """

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
        self.cutting = Cutting(mode, num_cells, every, join, train_overlap, test_overlap, keep_inside, min_share)
        self._cache, self._on_missing, self._negatives = cache, on_missing, negatives
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
        self.info = chosen_sampling(given, metadata_folders(locations))
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
