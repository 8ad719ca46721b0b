"""Fine-grained classification data: any supported data set as shuffled training batches and ordered evaluation ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from vision_suite.datasets.fgvc import layouts
from vision_suite.datasets.loading import Cache
from vision_suite.datasets.pictures.data import PictureData
from vision_suite.datasets.pictures.images import Interpolation
from vision_suite.datasets.pictures.records import Listing, Record
from vision_suite.datasets.pictures.stages import Validation
from vision_suite.datasets.pictures.transforms import CROP_AND_FLIP, Augment
from vision_suite.datasets.roots import resolve_root
from vision_suite.datasets.samplers import ShuffledBatchSampler
from vision_suite.errors import ConfigError

FGVCDataset = Literal[
    "cub200",
    "stanford_cars",
    "aircraft",
    "nabirds",
    "cub_folder",
    "image_folder",
    "manifest",
]


class FGVCData(PictureData):
    """Pictures of fine-grained classes.

    The defaults are DCAL's for birds, cars and aircraft (Zhu et al., CVPR 2022, section 4.1): resize to 550 x 550,
    random crop of 448, here with a flip as in TransFG; the centre crop in evaluation.
    """

    task = "fgvc"
    class_facts = frozenset({"num_classes"})

    def __init__(
        self,
        dataset: FGVCDataset = "image_folder",
        root: str | None = None,
        image_size: tuple[int, int] = (448, 448),
        resize: tuple[int, int] = (550, 550),
        batch_size: int = 16,
        eval_batch_size: int = 32,
        augment: Augment = CROP_AND_FLIP,
        mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
        std: tuple[float, float, float] = (0.5, 0.5, 0.5),
        interpolation: Interpolation = "bicubic",
        crop_bottom: int | None = None,
        cache: Cache = "none",
        num_workers: int | None = None,
        validation: Validation = "auto",
        val_fraction: float = 0.1,
        split_seed: int = 0,
        aircraft_level: layouts.Level = "variant",
        check_counts: bool = True,
        on_bad_image: Literal["error", "skip"] = "error",
        predict_inputs: str | None = None,
        seed: int | None = None,
    ) -> None:
        """Read the lists of a data set; pictures are checked when a stage begins.

        Args:
            dataset: Name of the data set or of its on-disk layout; cub_folder is any set in CUB's lists, image_folder
                has train/CLASS/ and test/CLASS/, manifest is a CSV or JSONL file with path, label and optionally split.
            root: The data set's folder (or manifest file), also relative to the data cache. May be left out when only
                predicting on predict_inputs.
            image_size: Height and width of the network's input, cropped out of the resized picture.
            resize: Height and width to resize to before the crop, not keeping the aspect ratio.
            batch_size: Training pictures per step and process.
            eval_batch_size: Pictures per step and process in evaluation and prediction.
            augment: Random changes of training pictures.
            mean: Mean per channel to subtract, of values 0..1.
            std: Standard deviation per channel to divide by.
            interpolation: Filter for resizing, in training and evaluation.
            crop_bottom: Rows of pixels to cut off at the bottom before resizing; by default 20 for FGVC-Aircraft's
                banners, else 0.
            cache: memory keeps all resized pictures of a stage as bytes; none reads them from disk each time.
            num_workers: Worker processes of each loader; by default none with cache=memory, else up to 8.
            validation: Pictures to validate on: auto takes the set's own validation folder or split column if it has
                one and none otherwise; official also keeps FGVC-Aircraft's validation pictures out of training; holdout
                takes part of each class's training pictures away; test is not a fair choice for tuning.
            val_fraction: Share of each class's training pictures that validation=holdout takes.
            split_seed: Seed of the choice of these pictures.
            aircraft_level: Level of FGVC-Aircraft's names that are the classes.
            check_counts: Compare the numbers of pictures and classes with the official ones.
            on_bad_image: Stop at unreadable pictures, or skip, count and report them.
            predict_inputs: Pictures for predict: a folder, a glob, a manifest or a file; by default the test split.
            seed: Seed of order and augmentation; by default the run's seed.

        Raises:
            ConfigError: Settings contradict each other.
            DataError: The data set is missing, incomplete or malformed.
        """
        banner = layouts.AIRCRAFT_BANNER if dataset == "aircraft" else 0
        super().__init__(
            image_size=image_size,
            resize=resize,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            augment=augment,
            mean=mean,
            std=std,
            interpolation=interpolation,
            eval_interpolation=interpolation,
            crop_bottom=banner if crop_bottom is None else crop_bottom,
            cache=cache,
            num_workers=num_workers,
            on_bad_image=on_bad_image,
            predict_inputs=predict_inputs,
            predict_gallery=None,
            seed=seed,
        )
        if root is None:
            if not predict_inputs:
                raise ConfigError("no data set: give --data.root, or --data.predict_inputs to predict only")
            return
        folder, official = resolve_root(root), validation == "official"
        readers: dict[str, Callable[[], Listing]] = {
            "cub200": lambda: layouts.read_cub200(folder),
            "stanford_cars": lambda: layouts.read_stanford_cars(folder),
            "aircraft": lambda: layouts.read_aircraft(folder, level=aircraft_level, official_val=official),
            "nabirds": lambda: layouts.read_nabirds(folder),
            "cub_folder": lambda: layouts.read_cub_folder(folder),
            "image_folder": lambda: layouts.read_image_folder(folder),
            "manifest": lambda: layouts.read_fgvc_manifest(folder),
        }
        self._use(readers[dataset](), dataset, validation, val_fraction, split_seed, check_counts)

    def _splits(self, listing: Listing) -> tuple[list[Record], list[Record] | None, list[Record]]:
        return listing.splits.get("train", []), listing.splits.get("val"), listing.splits.get("test", [])

    def _hold_out(
        self, train: list[Record], fraction: float, seed: int
    ) -> tuple[list[Record], list[Record], dict[str, int]]:
        kept, val = stratified_hold_out(train, fraction, seed)
        return kept, val, {"val_pictures": len(val)}

    def _labelled(self, listing: Listing, train: list[Record], val: list[Record], test: list[Record]) -> list[Record]:
        seen = {record.label for record in train}
        unseen = sorted({record.label for record in [*val, *test]} - seen) if train else []
        if unseen:
            name = listing.class_names[unseen[0]]
            rank_zero_warn(f"{listing.layout}: {len(unseen)} classes have no training picture, such as {name!r}")
        return train

    def _train_sampler(self, rank: int, world_size: int) -> ShuffledBatchSampler:
        return ShuffledBatchSampler(self.size("fit"), self.batch_size, seed=self.seed, rank=rank, world_size=world_size)

    def _columns(self, records: Sequence[Record]) -> dict[str, Tensor]:
        return {"label": torch.tensor([record.label for record in records])}


def stratified_hold_out(records: Sequence[Record], fraction: float, seed: int) -> tuple[list[Record], list[Record]]:
    """Split off a seeded random share of each class's pictures, rounded, leaving at least one to train on.

    Raises:
        ConfigError: The share isn't between 0 and 1, or too small to take any picture.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"val_fraction={fraction} is not between 0 and 1: use 0.1")
    generator = torch.Generator().manual_seed(seed)
    members: dict[int, list[int]] = defaultdict(list)
    for position, record in enumerate(records):
        members[record.label].append(position)
    held: set[int] = set()
    for label in sorted(members):
        positions = members[label]
        count = min(round(fraction * len(positions)), len(positions) - 1)
        held |= {positions[i] for i in torch.randperm(len(positions), generator=generator).tolist()[:count]}
    if not held:
        raise ConfigError(f"val_fraction={fraction} takes no picture of any class: use a larger share")
    kept = [record for position, record in enumerate(records) if position not in held]
    return kept, [record for position, record in enumerate(records) if position in held]
