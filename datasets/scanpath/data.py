"""Scanpath data: scenes of objects, the targets of searches, and the gaze of observers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn

from vision_suite.datasets.base import Stage, stages_of, summary
from vision_suite.datasets.loading import Cache, worker_count
from vision_suite.datasets.roots import resolve_root
from vision_suite.datasets.saved import MISSING, SavedPreprocessing
from vision_suite.datasets.scanpath.appearance import AppearanceSettings, Objects, TargetFrom
from vision_suite.datasets.scanpath.assign import Rule, Unassigned
from vision_suite.datasets.scanpath.augment import SceneAugment
from vision_suite.datasets.scanpath.base import ScanpathBase
from vision_suite.datasets.scanpath.batches import ScanpathBatches
from vision_suite.datasets.scanpath.parts import ScanpathParts, longest, read_parts
from vision_suite.datasets.scanpath.predict.data import ScanpathPictureData
from vision_suite.datasets.scanpath.predict.settings import PictureSettings
from vision_suite.datasets.scanpath.scenes import CropSettings
from vision_suite.datasets.scanpath.sources import ScanpathLayout, Source
from vision_suite.datasets.scanpath.splits import SplitRule, SplitSettings, official_parts, trial_keys
from vision_suite.datasets.scanpath.times import Unit
from vision_suite.datasets.scanpath.windows import Windows
from vision_suite.errors import CheckpointError, ConfigError, DataError, check_choice

OnBadImage = Literal["error", "skip"]


class ScanpathData(ScanpathBase):
    """Scanpaths over objects: Amazon covers, shelf spreadsheets, COCO-Search18, COCO-FreeView, or your own tables."""

    def __init__(
        self,
        dataset: ScanpathLayout | None = None,
        root: str | None = None,
        batch_size: int = 20,
        eval_batch_size: int = 20,
        annotations: list[str] | None = None,
        instances: list[str] | None = None,
        images: str = "images",
        split: SplitRule = "image",
        fold: int = 0,
        folds: int | None = None,
        validation_share: float = 0.1,
        split_seed: int = 0,
        train_on: list[str] | None = None,
        validate_on: list[str] | None = None,
        test_on: list[str] | None = None,
        objects: Objects | None = None,
        features: str | None = None,
        task_features: str | None = None,
        target_from: TargetFrom | None = None,
        crop_size: tuple[int, int] = (150, 93),
        mean: tuple[float, float, float] = (0.485, 0.456, 0.406),
        std: tuple[float, float, float] = (0.229, 0.224, 0.225),
        assign: Rule | None = None,
        max_offset: float | None = None,
        unassigned: Unassigned = "background",
        length_deviations: float | None = None,
        duration_unit: Unit | None = None,
        window: int | None = None,
        train_window: int | None = None,
        train_overlap: int = 0,
        test_overlap: int = 0,
        shift: float = 0.0,
        hide: float = 0.0,
        cache: Cache = "memory",
        num_workers: int | None = None,
        predict_inputs: str | None = None,
        boxes: str | None = None,
        detector: str | None = None,
        queries: list[str] | None = None,
        min_score: float = 0.1,
        detector_device: str = "auto",
        grid: tuple[int, int] | None = None,
        target: str | None = None,
        target_box: int | None = None,
        target_crop: str | None = None,
        text_encoder: str | None = None,
        on_bad_image: OnBadImage = "error",
        seed: int | None = None,
    ) -> None:
        """Read the lists and deal the trials out; pictures and vectors are checked when a stage begins.

        Args:
            dataset: On-disk layout of the data set; table is scenes.jsonl with trials.jsonl, or boxes.csv
                (image,x1,y1,x2,y2: corners in pixels, neither width and height nor shares) with fixations.csv.
            root: Folder of the data set, also relative to the data cache; other paths are relative to it.
            batch_size: Number of training trials per step and process.
            eval_batch_size: Number of trials per step and process in evaluation.
            annotations: Fixation files of COCO, or spreadsheets; by default those with the usual names.
            instances: COCO instance files; by default those with the usual names.
            images: Folder of the pictures (COCO and spreadsheets).
            split: Units that a part never shares with another; official takes the parts that the data name.
            fold: Index of the test part, from 0.
            folds: Number of parts; by default the folds that the data name, else 10 for images and leave-one-out for
                targets, subjects and combinations.
            validation_share: Share of the images (subjects) outside the test part to validate on; 0 for none.
            split_seed: Seed of the order in which images are dealt out.
            train_on: Official parts to train on; by default train.
            validate_on: Official parts to validate on; by default valid, an empty list for none.
            test_on: Official parts to test on; by default test.
            objects: Input of the network for an object: a crop of the picture, or a vector; by default vectors where
                there are any.
            features: Folder with the vectors of each picture's objects, <picture>.npy (N, F), in place of the files
                that the data name.
            task_features: Folder with a vector of each task, <task>.npy (F,), such as the text embedding of its name.
            target_from: Source of the target token: a copy of the target object, or the picture or vector given apart;
                by default what is given apart if every trial has it, except on shelves and covers, as OAT.
            crop_size: Height and width of crops.
            mean: Mean of each channel, of values 0..1.
            std: Standard deviation of each channel, of values 0..1.
            assign: Rule from pixels to objects: first_box (else the nearest centre, OAT's rule for covers and shelves)
                or smallest_box (else the nearest edge within max_offset); by default the former for covers.
            max_offset: Largest distance from the nearest edge in pixels; by default half the object pitch.
            unassigned: Treatment of a fixation on no object.
            length_deviations: Number of standard deviations from the mean length beyond which trials are left out,
                before the split; by default 3 for Amazon covers as in OAT, 0 never leaves any out.
            duration_unit: Unit of all durations of a file: s, ms or us; by default the one in the column's name, as in
                duration_ms, else the one that the median of all durations of the file tells; COCO's are in ms.
            window: Number of fixations of the pieces that recordings are cut into; by default they stay whole.
            train_window: Number of fixations of training pieces if it is another one; longer ones share the work of a
                scene.
            train_overlap: Fixations that a training piece repeats from the one before, given; 0 keeps whole pieces
                only, with their first fixation given.
            test_overlap: Fixations that a piece repeats from the one before in evaluation.
            shift: Number of object pitches by which each training scene is moved as a whole at most, down and right
                apart; only where objects stand freely.
            hide: Share of the objects of a training scene whose vector becomes zeros.
            cache: Place of crops and vectors: memory keeps them; none reads them from disk each time.
            num_workers: Worker processes of each loader; by default none with cache=memory, else up to 8.
            predict_inputs: Pictures to predict on: a file, a folder, a glob or a manifest. The data set is then not
                read, and crops are made as the checkpoint's data say. By default predict takes the test split.
            boxes: File with the objects of these pictures: .json {"desk.jpg": [[x1, y1, x2, y2, "cup"], ...]}, or .csv
                with columns image,x1,y1,x2,y2 and label if wanted; corners in pixels of the picture, neither x, y,
                width, height nor shares of 0..1.
            detector: Zero-shot detection model of transformers that finds the objects, a name on the hub or a folder.
            queries: Words that the detector looks for; the target is added to them.
            min_score: Score above which a detection counts, from 0 to below 1; 0.1 suits OWL-ViT, 0.3 Grounding DINO.
            detector_device: Device that the detector runs on: auto, cpu, cuda ...
            grid: Rows and columns, for networks trained on grids: boxes then stand row by row; without boxes every
                picture is cut into equal cells.
            target: Word of the target, by the label of its boxes; the best one is the target token.
            target_box: Index of the target's box, from 0.
            target_crop: Picture of the target: the box that is most like it counts.
            text_encoder: Model <model>/<weights> of open_clip that turns the target's word into a vector, for networks
                that know their target apart from the scene (appearance clip, the same model).
            on_bad_image: Action on pictures that are unreadable, without usable boxes or without the target: error
                stops, skip leaves them out, counts and reports them.
            seed: Seed of the order; by default the run's seed.

        Raises:
            ConfigError: Settings contradict each other.
            DataError: The data set is missing, incomplete or malformed, or an image lies in two parts.
        """
        workers = worker_count(num_workers, cache)
        super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, num_workers=workers, seed=seed)
        windows = self._windows = Windows(window, train_window, train_overlap, test_overlap)
        self._vectors = {"features": features, "task_features": task_features}
        for name, value, choices in (
            ("dataset", dataset, ScanpathLayout), ("objects", objects, Objects),
            ("target_from", target_from, TargetFrom), ("cache", cache, Cache),
            ("on_bad_image", on_bad_image, OnBadImage), ("duration_unit", duration_unit, Unit),
        ):  # fmt: skip
            if value is not None:
                check_choice(name, value, get_args(choices))
        crops = CropSettings(crop_size, mean, std)
        self._augment = SceneAugment()
        self._picture_data: ScanpathPictureData | None = None
        if predict_inputs is not None:
            inputs = PictureSettings(
                predict_inputs, boxes, detector, tuple(queries or ()), min_score, detector_device,
                None if grid is None else (grid[0], grid[1]), target, target_box, target_crop, text_encoder,
                on_bad_image == "skip",
            )  # fmt: skip
            self._picture_data = ScanpathPictureData(inputs, crops, target_from or "object", seed=seed)
            self._follow(self._picture_data)
            return
        asked = (boxes, detector, queries, grid, target, target_box, target_crop, text_encoder)
        if any(value is not None for value in asked):
            raise ConfigError("boxes, detector, grid and target are for pictures of your own: give predict_inputs too")
        if dataset is None or root is None:
            raise ConfigError("no data set: give --data.dataset and --data.root, or --data.predict_inputs to predict")
        source = Source(
            dataset, resolve_root(root), annotations, instances, images, task_features, assign, max_offset, unassigned,
            length_deviations, duration_unit,
        )  # fmt: skip
        subsets = official_parts(split, train_on, validate_on, test_on)
        splits = SplitSettings(split, fold, folds, validation_share, split_seed, subsets)
        self._augment = SceneAugment(shift, hide)
        appearance = AppearanceSettings(objects, features, target_from, crops, cache == "memory")
        self._use(read_parts(source, splits, windows, self._augment, appearance))

    def _use(self, parts: ScanpathParts) -> None:
        self._scenes, self._recordings, self._trials = parts.scenes, parts.recordings, parts.trials
        self._beginning, self.appearance, self.protocol = parts.beginning, parts.appearance, parts.protocol
        self.in_channels = parts.appearance.width or 0
        self.num_objects = self.num_classes = parts.num_objects
        self.num_positions = parts.num_positions
        self.max_length = longest(parts.trials["fit"])

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Steps from scenes and recordings to the network's input, in plain values."""
        if self._picture_data is not None:
            return super().preprocessing
        windows = self._windows
        return {**super().preprocessing, "window": windows.window, "test_overlap": windows.test_overlap}

    @classmethod
    def _settings(cls, saved: SavedPreprocessing) -> dict[str, Any]:
        window = saved.whole("window", 2, unset=True)
        training = {} if window else {"train_window": None}  # which a window must go with
        return {
            **super()._settings(saved),
            "window": window,
            "test_overlap": saved.whole("test_overlap"),
            **(training if window is not MISSING else {}),
        }

    def _fact_content(self, name: str) -> Any:
        if name != "in_channels" or not self.in_channels:
            return super()._fact_content(name)
        return {"width": self.in_channels, **self._vectors}

    def setup(self, stage: str) -> None:
        """Read the inputs of a stage once, so that damaged files show before training.

        Raises:
            DataError: A file is missing or damaged, or a stage has no trial.
        """
        if self._picture_data is not None:
            self._picture_data.setup(stage)
            self._follow(self._picture_data)
            return
        for name in stages_of(stage):
            if not self._trials[name] and name == "validate":
                continue
            if not self._trials[name]:
                raise DataError(f"there is no trial to {name} on (split {self.protocol['split']}): choose other parts")
            self.appearance.read(list(self.scenes(name).values()), self._recordings[name])
        for line in self.protocol.get("warnings", ()):
            rank_zero_warn(line)
        if stage == "fit":
            known = self.protocol
            title = f"{known['dataset']} split by {known['split']['rule']}"
            words, facts = "{trials} trials on {scenes} scenes", f"up to {self.num_objects} objects"
            rank_zero_info(summary(title, known["counts"], words, facts, known["problems"]))

    def state_dict(self) -> dict[str, Any]:
        """State of every datamodule, facts about the beginning of paths, and the keys of the training trials."""
        keys = sorted(trial_keys(self._recordings["fit"]))
        return {**super().state_dict(), "beginning": self._beginning, "trained_on": keys}

    def _load(self, state: dict[str, Any]) -> None:
        """Treat pictures given to predict like the checkpoint's data, or find trials that it was trained on."""
        if self._picture_data is not None:
            self._picture_data.adopts = self.adopts
            self._picture_data.load_state_dict(state)
            self._follow(self._picture_data)
        super()._load(state)
        keys = state.get("trained_on")
        if self._picture_data is None and keys is not None:
            if not isinstance(keys, list) or not all(type(key) is int for key in keys):
                raise CheckpointError("the checkpoint's trained_on is no list of numbers: use another checkpoint")
            self._look_for_trained(set(keys))

    def _take_over(self, preprocessing: Mapping[str, Any]) -> bool:
        return self._picture_data is not None  # which has done so itself

    def _look_for_trained(self, keys: set[int]) -> None:
        """Warn if a network is evaluated on what it was trained on, as by another fold than in training."""
        if self.trainer is None or self.trainer.state.fn in (None, TrainerFn.FITTING):
            return
        (stage,) = stages_of(self.trainer.state.fn.value)
        trials = self._recordings[stage]
        known = len(keys.intersection(trial_keys(trials)))
        self.protocol["split"] = {**self.protocol["split"], "trials_trained_on": known}
        if known:
            rank_zero_warn(
                f"{known} of {len(trials)} trials to {stage} were trained on (same picture, subject and task): give "
                "the split, fold and split_seed of training, else nothing here says how the network does on new ones"
            )

    def _batches(self, stage: Stage, rank: int) -> ScanpathBatches:
        if self._picture_data is not None:
            return self._picture_data._batches(stage, rank)
        assert self.appearance.inputs is not None
        return ScanpathBatches(
            self._trials[stage],
            self._scenes,
            self.appearance.inputs,
            target_given=self.target_from == "given",
            augment=self._augment if stage == "fit" else None,
            seed=self.seed,
        )
