"""Pictures with the names of their objects, from COCO's instances files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from vision_suite.datasets.loading import Cache
from vision_suite.datasets.pictures.data import PictureData
from vision_suite.datasets.pictures.images import Interpolation
from vision_suite.datasets.pictures.records import Listing, Record
from vision_suite.datasets.pictures.transforms import CROP_AND_FLIP, Augment
from vision_suite.datasets.presence.listing import read_presence
from vision_suite.datasets.roots import resolve_root
from vision_suite.datasets.samplers import ShuffledBatchSampler
from vision_suite.errors import ConfigError


class PresenceData(PictureData):
    """Pictures of several objects; a picture is labelled with every name that it shows."""

    task = "presence"
    class_facts = frozenset({"num_classes"})

    def __init__(
        self,
        train: str | None = None,
        val: str | None = None,
        test: str | None = None,
        image_root: str | None = None,
        only: dict[str, dict[str, list[str]]] = {},  # noqa: B006  (never changed)
        image_size: tuple[int, int] = (64, 64),
        resize: tuple[int, int] | None = None,
        batch_size: int = 64,
        eval_batch_size: int = 250,
        augment: Augment = CROP_AND_FLIP,
        mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
        std: tuple[float, float, float] = (0.5, 0.5, 0.5),
        interpolation: Interpolation = "bilinear",
        crop_bottom: int = 0,
        cache: Cache = "none",
        num_workers: int | None = None,
        on_bad_image: Literal["error", "skip"] = "error",
        predict_inputs: str | None = None,
        seed: int | None = None,
    ) -> None:
        """Read the instances files; pictures are checked when a stage begins.

        Args:
            train: Instances file to train on, also relative to the data cache; its categories are the names.
            val: Instances file to validate on; without it there is no validation.
            test: Instances file to test on.
            image_root: Folder of the file names in them; by default the folder of each file.
            only: Values, by split, that an entry of an image must have for the picture to be kept, such as
                ``{train: {design: [noto, twemoji]}}`` for Emoji-Scenes.
            image_size: Height and width of the network's input, cropped out of the resized picture.
            resize: Height and width to resize to before the crop; by default image_size.
            batch_size: Training pictures per step and process.
            eval_batch_size: Pictures per step and process in evaluation and prediction.
            augment: Random changes of training pictures. A crop may cut off an object that the picture still names.
            mean: Mean per channel to subtract, of values 0..1.
            std: Standard deviation per channel to divide by.
            interpolation: Filter for resizing, in training and evaluation.
            crop_bottom: Rows of pixels to cut off at the bottom before resizing.
            cache: memory keeps all resized pictures of a stage as bytes; none reads them from disk each time.
            num_workers: Worker processes of each loader; by default none with cache=memory, else up to 8.
            on_bad_image: Stop at unreadable pictures, or skip, count and report them.
            predict_inputs: Pictures for predict: a folder, a glob, a manifest or a file; by default the test split.
            seed: Seed of order and augmentation; by default the run's seed.

        Raises:
            ConfigError: Settings contradict each other.
            DataError: A file is missing or malformed.
        """
        super().__init__(
            image_size=image_size,
            resize=image_size if resize is None else resize,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            augment=augment,
            mean=mean,
            std=std,
            interpolation=interpolation,
            eval_interpolation=interpolation,
            crop_bottom=crop_bottom,
            cache=cache,
            num_workers=num_workers,
            on_bad_image=on_bad_image,
            predict_inputs=predict_inputs,
            predict_gallery=None,
            seed=seed,
        )
        given = {split: name for split, name in (("train", train), ("val", val), ("test", test)) if name}
        if not given:
            if not predict_inputs:
                raise ConfigError(
                    "no data set: give --data.train or --data.test, or --data.predict_inputs to predict only"
                )
            return
        if unknown := sorted(set(only) - set(given)):
            raise ConfigError(f"only.{unknown[0]} is given without a file of that split: give --data.{unknown[0]}")
        files = {split: Path(resolve_root(name)) for split, name in given.items()}
        listing = read_presence(files, None if image_root is None else resolve_root(image_root), only)
        self._present = torch.from_numpy(listing.present)
        self._use(listing, "coco_instances", "auto", 0.0, 0, False)
        self.protocol |= {"files": {split: path.name for split, path in files.items()}, "only": only}

    def _splits(self, listing: Listing) -> tuple[list[Record], list[Record] | None, list[Record]]:
        return listing.splits.get("train", []), listing.splits.get("val"), listing.splits.get("test", [])

    def _hold_out(
        self, train: list[Record], fraction: float, seed: int
    ) -> tuple[list[Record], list[Record], dict[str, int]]:
        raise ConfigError("instances files have no classes to take a share of: give --data.val a file")

    def _labelled(self, listing: Listing, train: list[Record], val: list[Record], test: list[Record]) -> list[Record]:
        return train

    def _train_sampler(self, rank: int, world_size: int) -> ShuffledBatchSampler:
        return ShuffledBatchSampler(self.size("fit"), self.batch_size, seed=self.seed, rank=rank, world_size=world_size)

    def _columns(self, records: Sequence[Record]) -> dict[str, Tensor]:
        return {"present": self._present[[record.label for record in records]].float()}
