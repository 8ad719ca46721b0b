"""Scanpath data: scenes of objects, what is searched for, and where people looked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, get_args

from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn

from vision_suite.datasets.base import BaseData, Stage, stages_of
from vision_suite.datasets.loading import Cache, worker_count
from vision_suite.datasets.roots import resolve_root
from vision_suite.datasets.samplers import ShuffledBatchSampler
from vision_suite.datasets.scanpath.appearance import Looks, Objects, TargetFrom
from vision_suite.datasets.scanpath.assign import Rule, Unassigned
from vision_suite.datasets.scanpath.augment import SceneAugment
from vision_suite.datasets.scanpath.batches import ScanpathBatches
from vision_suite.datasets.scanpath.paths import begin_in_the_middle
from vision_suite.datasets.scanpath.predict.pictures import PictureBatches, PictureScenes, PictureSettings
from vision_suite.datasets.scanpath.records import Scene, Trial, counts
from vision_suite.datasets.scanpath.scenes import CropSettings, crops_of
from vision_suite.datasets.scanpath.sources import Layout, Source
from vision_suite.datasets.scanpath.splits import SplitRule, SplitSettings, split_trials, trial_keys
from vision_suite.datasets.scanpath.windows import Windows
from vision_suite.errors import ConfigError, DataError, check_choice
from vision_suite.types import BACKGROUND

OnBadImage = Literal["error", "skip"]
STAGES: tuple[Stage, ...] = ("fit", "validate", "test")


class ScanpathData(BaseData):
    """Scanpaths over objects: Amazon covers, shelf spreadsheets, COCO-Search18, COCO-FreeView, or tables of your own.

    Attributes:
        num_objects: Most objects of a scene.
        num_classes: The same number, for a model that tells objects apart.
        in_channels: Width of the objects' vectors, 0 for crops.
        num_positions: Rows or columns of the largest grid, whichever is more; 0 where objects stand freely.
        max_length: Longest path of the training part, behind which a prediction stops.
    """

    facts = ("num_classes", "in_channels", "num_positions", "max_length")
    num_classes = in_channels = num_positions = max_length = 0
    items = "trials"

    def __init__(
        self,
        dataset: Layout | None = None,
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
            dataset: Which data set, by its on-disk layout; table is scenes.jsonl with trials.jsonl, or boxes.csv with
                fixations.csv.
            root: The data set's folder, also relative to the data cache; other paths are relative to it.
            batch_size: Training trials per step and process.
            eval_batch_size: Trials per step and process in evaluation.
            annotations: Fixation files of COCO, or spreadsheets; those with the usual names if unset.
            instances: COCO instance files; those with the usual names if unset.
            images: Folder of the pictures (COCO and spreadsheets).
            split: What a part never shares with another; official are the parts that the data name.
            fold: Which part is the test part, from 0.
            folds: Number of parts; unset takes the folds that the data name, else 10 for images and leave-one-out for
                targets, subjects and combinations.
            validation_share: Share of the images (subjects) outside the test part to validate on; 0 for none.
            split_seed: Seed of the order in which images are dealt out.
            train_on: Official parts to train on; train if unset.
            validate_on: Official parts to validate on; valid if unset, an empty list for none.
            test_on: Official parts to test on; test if unset.
            objects: What the network sees of an object: a crop of the picture, or a vector; unset takes vectors where
                there are any.
            features: Folder with the vectors of each picture's objects, <picture>.npy (N, F), in place of the files
                that the data name.
            task_features: Folder with a vector of each task, <task>.npy (F,), such as the text embedding of its name.
            target_from: The target token is a copy of the target object, or the picture or vector given apart; unset
                takes what is given apart if every trial has it, except on shelves and covers, as OAT.
            crop_size: Height and width of crops.
            mean: Mean per channel to subtract, of values 0..1; ImageNet's, which frozen encoders take for granted.
            std: Standard deviation per channel to divide by.
            assign: From pixels to objects: first_box (else the nearest centre, OAT's rule for covers and shelves) or
                smallest_box (else the nearest edge within max_offset); unset is the former for covers.
            max_offset: Pixels; half the object pitch if unset.
            unassigned: What becomes of a fixation on no object.
            length_deviations: Leave out trials whose length is outside the mean +- so many standard deviations, before
                the split; unset is 3 for Amazon covers as in OAT, 0 never does.
            window: Cut recordings into pieces of so many fixations; unset keeps them whole.
            train_window: Length of training pieces if it is another one; longer ones share the work of a scene.
            train_overlap: Fixations that a training piece repeats from the one before, given; 0 keeps whole pieces
                only, with their first fixation given.
            test_overlap: Likewise in evaluation.
            shift: Move each training scene as a whole by up to so many object pitches, down and right apart; only
                where objects stand freely.
            hide: Share of the objects of a training scene whose vector becomes zeros.
            cache: memory keeps crops and vectors; none reads them from disk each time.
            num_workers: Worker processes of each loader; by default none with cache=memory, else up to 8.
            predict_inputs: Pictures of your own for predict: a file, a folder, a glob or a manifest. The data set is
                then not read, and crops are made as the checkpoint's data say. By default predict takes the test split.
            boxes: File with the objects of these pictures: .json {"desk.jpg": [[x1, y1, x2, y2, "cup"], ...]}, or .csv
                with columns image,x1,y1,x2,y2 and label if wanted.
            detector: Find the objects with a zero-shot detection model of transformers, a name on the hub or a folder.
            queries: Words that the detector looks for; the target is added to them.
            min_score: Keep detections above this score; 0.1 suits OWL-ViT, 0.3 Grounding DINO.
            detector_device: Where the detector runs: auto, cpu, cuda ...
            grid: Rows and columns, for networks trained on grids: boxes then stand row by row; without boxes every
                picture is cut into equal cells.
            target: What is searched for, by the label of its boxes; the best one is the target token.
            target_box: Likewise by the number of its box, from 0.
            target_crop: Likewise by a picture of it: the box that is most like it.
            text_encoder: <model>/<weights> of open_clip that turns the target's word into a vector, for networks that
                know their target apart from the scene (appearance clip, the same model).
            on_bad_image: Stop at pictures that are unreadable, without usable boxes or without the target, or skip,
                count and report them.
            seed: Seed of the order; by default the run's seed.

        Raises:
            ConfigError: Settings contradict each other.
            DataError: The data set is missing, incomplete or malformed, or an image lies in two parts.
        """
        workers = worker_count(num_workers, cache)
        super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, num_workers=workers, seed=seed)
        self._windows = Windows(window, train_window, train_overlap, test_overlap)
        for name, value, choices in (
            ("dataset", dataset, Layout), ("objects", objects, Objects), ("target_from", target_from, TargetFrom),
            ("cache", cache, Cache), ("on_bad_image", on_bad_image, OnBadImage),
        ):  # fmt: skip
            if value is not None:
                check_choice(name, value, get_args(choices))
        if min(crop_size) < 1 or min(std) <= 0:
            raise ConfigError(f"crop_size={list(crop_size)}, std={list(std)}: use numbers above 0")
        crops = CropSettings(crop_size, mean, std)
        self.pictures: PictureScenes | None = None
        self._beginning = {"given": False, "background": False}
        self._scenes: dict[str, Scene] = {}
        self._recordings: dict[str, list[Trial]] = {"fit": [], "validate": [], "test": [], "predict": []}
        self._trials = dict(self._recordings)
        if predict_inputs is not None:
            settings = PictureSettings(
                predict_inputs, boxes, detector, tuple(queries or ()), min_score, detector_device,
                None if grid is None else (grid[0], grid[1]), target, target_box, target_crop, text_encoder,
                on_bad_image == "skip",
            )  # fmt: skip
            self._looks = Looks("crops", None, target_from or "object", crops, None)
            self._take_pictures(PictureScenes(settings))
            return
        asked = (boxes, detector, queries, grid, target, target_box, target_crop, text_encoder)
        if any(value is not None for value in asked):
            raise ConfigError("boxes, detector, grid and target are for pictures of your own: give predict_inputs too")
        if dataset is None or root is None:
            raise ConfigError("no data set: give --data.dataset and --data.root, or --data.predict_inputs to predict")
        folder = resolve_root(root)
        source = Source(
            dataset, folder, annotations, instances, images, task_features, assign, max_offset, unassigned,
            length_deviations,
        )  # fmt: skip
        found = source.read()
        subsets = {
            "fit": ["train"] if train_on is None else train_on,
            "validate": ["valid"] if validate_on is None else validate_on,
            "test": ["test"] if test_on is None else test_on,
        }
        if split != "official" and (train_on or validate_on or test_on):
            raise ConfigError(f"train_on, validate_on and test_on need split=official, not split={split}")
        parts, facts = split_trials(found, SplitSettings(split, fold, folds, validation_share, split_seed, subsets))
        self._scenes = found.scenes
        self._recordings = {**parts, "predict": parts["test"]}
        for stage in STAGES:
            self._trials[stage], lost = self._windows.cut(parts[stage], stage)
            found.problems[f"fixations_in_no_window_of_{stage}"] += lost
        self._trials["predict"] = self._trials["test"]
        scenes = found.scenes.values()
        if shift > 0 and any(scene.grid is not None for scene in scenes):
            raise ConfigError(f"shift={shift:g} would move objects off their grid: use 0 for {dataset}")
        self._augment = SceneAugment(shift, hide)
        self._looks = Looks.of(found, folder, objects, features, target_from, crops, cache == "memory")
        if self._looks.width is not None:
            self.in_channels = self._looks.width
        elif hide > 0:
            raise ConfigError(f"hide={hide:g} hides vectors, but objects are crops: use 0")
        self.num_objects = self.num_classes = max(len(scene.boxes) for scene in scenes)
        self.num_positions = (
            0 if any(scene.grid is None for scene in scenes) else max(max(s.grid or ()) for s in scenes)
        )
        trained = self._trials["fit"]
        self.max_length = max((trial.length for trial in trained), default=0)
        self._beginning = {
            "given": bool(trained) and all(trial.given > 0 for trial in trained),
            "background": any(bool((trial.sequence == BACKGROUND).any()) for trial in trained),
        }
        self.protocol = {**source.facts(found, self.objects == "features"), **self._facts(facts)}

    def _facts(self, split: dict[str, Any]) -> dict[str, Any]:
        """What the protocol says of the use that is made of the set."""
        return {
            "split": split,
            "validation": "none" if not self._trials["validate"] else split["rule"],
            "test_used_for_validation": False,
            "counts": {stage: counts(self._recordings[stage]) for stage in STAGES},
            "objects": self.objects,
            "target_from": self.target_from,
            "window": {
                "length": {stage: self._windows.length(stage) for stage in STAGES},
                "overlap": {stage: self._windows.overlap(stage) for stage in STAGES},
            }
            if self._windows.window
            else None,
            "augment": {"shift": self._augment.shift, "hide": self._augment.hide},
            "max_length": self.max_length,
        }

    @property
    def objects(self) -> Objects:
        """What the network sees of an object: crops or vectors (features)."""
        return self._looks.objects

    @property
    def target_from(self) -> TargetFrom:
        """Whether the target token copies an object or is given apart."""
        return self._looks.target_from

    def _take_pictures(self, pictures: PictureScenes) -> None:
        """Predict on own pictures and nothing else."""
        self.pictures = pictures
        self.num_objects = 0
        self.num_classes = 1  # the network has none; 0 would mean that the data cannot tell
        self.num_positions = max(pictures.settings.grid or (0,))
        self.protocol = {"dataset": "own pictures", "split": {"rule": "none"}, "counts": {}, "problems": {}}

    @property
    def preprocessing(self) -> dict[str, Any]:
        """How objects become the network's input, in plain values."""
        return self._looks.preprocessing

    def size(self, stage: Stage) -> int:
        """Number of trials (pieces, where recordings are cut) in a stage's list."""
        return len(self._trials[stage])

    def trials(self, stage: Stage) -> list[Trial]:
        """The trials of a stage, in the order that batches number them; pieces where recordings are cut."""
        return self._trials[stage]

    def recordings(self, stage: Stage) -> list[Trial]:
        """The whole recordings of a stage; a piece's ``recording`` is its place here."""
        return self._recordings[stage]

    def scenes(self, stage: Stage) -> dict[str, Scene]:
        """The scenes of a stage by name."""
        return {name: self._scenes[name] for name in sorted({trial.scene for trial in self._recordings[stage]})}

    def setup(self, stage: str) -> None:
        """Read what the objects of a stage look like once, so that damaged files show before training.

        Raises:
            DataError: A file is missing or damaged, or a stage has no trial.
        """
        for name in stages_of(stage):
            if self.pictures is not None:
                self._read_pictures(name)
                continue
            if not self._trials[name] and name == "validate":
                continue
            if not self._trials[name]:
                raise DataError(f"there is no trial to {name} on (split {self.protocol['split']}): choose other parts")
            self._looks.read(list(self.scenes(name).values()), self._recordings[name])
        if stage == "fit":
            parts = "; ".join(
                f"{name}: {c['trials']} trials on {c['scenes']} scenes" for name, c in self.protocol["counts"].items()
            )
            problems = ", ".join(f"{count} {what}" for what, count in self.protocol["problems"].items()) or "none"
            rank_zero_info(
                f"{self.protocol['dataset']} split by {self.protocol['split']['rule']}: {parts}; up to "
                f"{self.num_objects} objects; problems: {problems}"
            )

    def state_dict(self) -> dict[str, Any]:
        """Also how paths begin, and which trials are trained on."""
        keys = [] if self.pictures is not None else trial_keys(self._recordings["fit"])
        return {**super().state_dict(), "beginning": self._beginning, "trained_on": sorted(keys)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Also take over how a checkpoint's objects were made and paths began, to treat those of own pictures alike."""
        super().load_state_dict(state_dict)
        if self.pictures is None:
            if "trained_on" in state_dict:
                self._look_for_trained(set(state_dict["trained_on"]))
            return
        facts = state_dict["preprocessing"]
        self._looks = replace(self._looks, target_from=facts["target_from"], crops=crops_of(facts))
        self._beginning = dict(state_dict.get("beginning", self._beginning))
        if self._beginning["given"]:
            # In place, for the list is that of a stage already.
            self.pictures.trials[:] = [
                begin_in_the_middle(trial, self._scenes[trial.scene], background=self._beginning["background"])
                for trial in self.pictures.trials
            ]

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
                f"{known} of {len(trials)} trials to {stage} were trained on (same picture, person and task): give the "
                "split, fold and split_seed of training, else nothing here says how the network does on new ones"
            )

    def _read_pictures(self, stage: Stage) -> None:
        assert self.pictures is not None
        if stage != "predict":
            raise DataError(f"predict_inputs is given, so there is no data set to {stage} on: leave it out")
        self.pictures.read()
        self._scenes = self.pictures.scenes
        self._trials["predict"] = self._recordings["predict"] = self.pictures.trials
        self.num_objects = max(len(scene.boxes) for scene in self._scenes.values())
        self.protocol["problems"] = {name: count for name, count in sorted(self.pictures.problems.items()) if count}

    def _train_sampler(self, rank: int, world_size: int) -> ShuffledBatchSampler:
        return ShuffledBatchSampler(self.size("fit"), self.batch_size, seed=self.seed, rank=rank, world_size=world_size)

    def _batches(self, stage: Stage, rank: int) -> ScanpathBatches:
        if self.pictures is not None:
            return PictureBatches(self.pictures, self._looks.crops, target_given=self.target_from == "given")
        assert self._looks.inputs is not None
        return ScanpathBatches(
            self._trials[stage],
            self._scenes,
            self._looks.inputs,
            target_given=self.target_from == "given",
            augment=self._augment if stage == "fit" else None,
            seed=self.seed,
        )
