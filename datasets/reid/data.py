"""Re-identification data: any supported data set as identity batches for training and query/gallery for evaluation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from vision_suite.datasets.base import Stage
from vision_suite.datasets.facts import listed
from vision_suite.datasets.loading import Cache
from vision_suite.datasets.pictures.data import PictureData
from vision_suite.datasets.pictures.images import Interpolation
from vision_suite.datasets.pictures.records import Listing, Record, relabel
from vision_suite.datasets.pictures.stages import Validation
from vision_suite.datasets.pictures.transforms import TRANSREID, Augment
from vision_suite.datasets.reid import layouts, lists
from vision_suite.datasets.reid.cuhk03 import BoxSource, read_cuhk03
from vision_suite.datasets.roots import resolve_root
from vision_suite.datasets.samplers import IdentityBatchSampler
from vision_suite.datasets.saved import MISSING, SavedPreprocessing
from vision_suite.errors import ConfigError, DataError
from vision_suite.types import Role

ReIDDataset = Literal[
    "market1501",
    "dukemtmc",
    "occluded_duke",
    "msmt17",
    "veri776",
    "vehicleid",
    "cuhk03",
    "market_folder",
    "manifest",
]


class ReIDData(PictureData):
    """Pictures of identities seen by several cameras, in batches of P identities x K pictures.

    The defaults are TransReID's recipe for persons (He et al., ICCV 2021), which DCAL follows.
    """

    task = "reid"
    free_facts = frozenset({"num_classes"})  # a network is evaluated on other identities than it was trained on

    def __init__(
        self,
        dataset: ReIDDataset = "market_folder",
        root: str | None = None,
        image_size: tuple[int, int] = (256, 128),
        batch_size: int = 64,
        num_instances: int = 4,
        eval_batch_size: int = 128,
        augment: Augment = TRANSREID,
        mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
        std: tuple[float, float, float] = (0.5, 0.5, 0.5),
        interpolation: Interpolation = "bicubic",
        transreid_compat: bool = False,
        cache: Cache = "none",
        num_workers: int | None = None,
        validation: Validation = "auto",
        val_fraction: float = 0.1,
        split_seed: int = 0,
        msmt17_use_val: bool = True,
        cuhk03_boxes: BoxSource = "detected",
        cuhk03_split: Literal["new", "classic"] = "new",
        cuhk03_trial: int = 0,
        vehicleid_test: Literal[800, 1600, 2400] = 800,
        multi_query: bool = False,
        check_counts: bool = True,
        on_bad_image: Literal["error", "skip"] = "error",
        predict_inputs: str | None = None,
        predict_gallery: str | None = None,
        gallery_store: str | None = None,
        seed: int | None = None,
    ) -> None:
        """Read the lists of a data set; pictures are checked when a stage begins.

        Args:
            dataset: Name of the data set or of its on-disk layout; market_folder is any set in Market-1501's folders,
                manifest a CSV or JSONL file with the columns path, id, camera and optionally split, view.
            root: The data set's folder (or manifest file), also relative to the data cache. May be left out when only
                predicting on predict_inputs.
            image_size: Height and width of the network's input.
            batch_size: Training pictures per step and process.
            num_instances: Pictures per identity in a batch.
            eval_batch_size: Pictures per step and process in evaluation and prediction.
            augment: Random changes of training pictures.
            mean: Mean per channel to subtract, of values 0..1.
            std: Standard deviation per channel to divide by.
            interpolation: Filter for resizing, in training and evaluation.
            transreid_compat: Resize bilinearly in evaluation, with any training filter, as TransReID's code does.
            cache: memory keeps all resized pictures of a stage as bytes; none reads them from disk each time.
            num_workers: Worker processes of each loader; by default none with cache=memory, else up to 8.
            validation: Pictures to validate on: auto takes the set's own validation folders if it has them and none
                otherwise; holdout takes part of the training identities away; test is not a fair choice for tuning.
            val_fraction: Share of the training identities that validation=holdout takes.
            split_seed: Seed of the choice of these identities.
            msmt17_use_val: Train MSMT17 on its validation pictures too (32,621 in all, as TransReID does).
            cuhk03_boxes: Hand-labelled or detected boxes of CUHK03.
            cuhk03_split: CUHK03's new protocol (767 and 700 identities) or the classic one (1,367 and 100).
            cuhk03_trial: Number of the test set of the classic protocol, 0 to 19.
            vehicleid_test: Identities in VehicleID's test list.
            multi_query: Read Market-1501's gt_bbox pictures to average several pictures into each query.
            check_counts: Compare the numbers of pictures and identities with the official ones.
            on_bad_image: Stop at unreadable pictures, or skip, count and report them.
            predict_inputs: Pictures for predict: a folder, a glob, a manifest or a file; by default the test split.
            predict_gallery: Pictures to rank for each of predict_inputs, given in the same way.
            gallery_store: Folder that keeps the features of the gallery. The pictures of predict_gallery are added to
                it, those that are there already are not computed again, and the whole store is ranked; without
                predict_gallery the store alone.
            seed: Seed of order and augmentation; by default the run's seed.

        Raises:
            ConfigError: Settings contradict each other.
            DataError: The data set is missing, incomplete or malformed.
        """
        super().__init__(
            image_size=image_size,
            resize=image_size,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            augment=augment,
            mean=mean,
            std=std,
            interpolation=interpolation,
            eval_interpolation="bilinear" if transreid_compat else interpolation,
            crop_bottom=0,
            cache=cache,
            num_workers=num_workers,
            on_bad_image=on_bad_image,
            predict_inputs=predict_inputs,
            predict_gallery=predict_gallery,
            gallery_store=gallery_store,
            seed=seed,
        )
        self.num_instances, self._compat = num_instances, transreid_compat
        if root is None:
            if not predict_inputs:
                raise ConfigError("no data set: give --data.root, or --data.predict_inputs to predict only")
            return
        if multi_query and dataset != "market1501":
            raise ConfigError(f"multi_query needs Market-1501's gt_bbox pictures, which {dataset!r} does not have")
        folder = resolve_root(root)
        readers: dict[str, Callable[[], Listing]] = {
            "market1501": lambda: layouts.read_market1501(folder, multi_query=multi_query),
            "dukemtmc": lambda: layouts.read_dukemtmc(folder),
            "occluded_duke": lambda: layouts.read_occluded_duke(folder),
            "msmt17": lambda: lists.read_msmt17(folder, use_val=msmt17_use_val),
            "veri776": lambda: lists.read_veri776(folder),
            "vehicleid": lambda: lists.read_vehicleid(folder, test_identities=vehicleid_test),
            "cuhk03": lambda: read_cuhk03(folder, boxes=cuhk03_boxes, split=cuhk03_split, trial=cuhk03_trial),
            "market_folder": lambda: layouts.read_market_folder(folder),
            "manifest": lambda: layouts.read_reid_manifest(folder),
        }
        self._use(readers[dataset](), dataset, validation, val_fraction, split_seed, check_counts)

    def retrieval_counts(self, stage: Stage) -> dict[str, int]:
        """Pictures of a stage without junk: ``query`` and ``gallery``, and the number of their ``identities``."""
        used = [record for record in self._records[stage] if record.label >= 0 and record.role != Role.SUPPORT]
        queries = sum(record.role == Role.QUERY for record in used)
        identities = len({record.label for record in used})
        return {"query": queries, "gallery": len(used) - queries, "identities": identities}

    def _splits(self, listing: Listing) -> tuple[list[Record], list[Record] | None, list[Record]]:
        splits = listing.splits
        for one, other in (("query", "gallery"), ("query_val", "gallery_val")):
            if not listing.draws_gallery and bool(splits.get(one)) != bool(splits.get(other)):
                empty = other if splits.get(one) else one
                raise DataError(f"{listing.layout} in {str(listing.root)!r}: the {empty} split is empty")
        official = [*splits["query_val"], *splits["gallery_val"]] if "query_val" in splits else None
        test = [record for name in ("query", "gallery", "support") for record in splits.get(name, [])]
        return splits.get("train", []), official, test

    def _hold_out(
        self, train: list[Record], fraction: float, seed: int
    ) -> tuple[list[Record], list[Record], dict[str, int]]:
        held = hold_out([record.label for record in train], fraction, seed)
        val = query_and_gallery([record for record in train if record.label in held])
        return [record for record in train if record.label not in held], val, {"val_identities": len(held)}

    def _labelled(self, listing: Listing, train: list[Record], val: list[Record], test: list[Record]) -> list[Record]:
        if not listing.draws_gallery and any(record.camera < 0 for record in test):
            rank_zero_warn(
                f"{listing.layout}: test pictures without a camera; matches of the same camera are not removed for them"
            )
        relabelled, self.identities = relabel(train)
        self._labels["num_classes"] = listed([listing.identities.get(one, str(one)) for one in self.identities])
        return relabelled

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Steps from a picture to the network's input in evaluation, in plain values; sizes are (h, w)."""
        return {**super().preprocessing, "transreid_compat": self._compat}

    @classmethod
    def _settings(cls, saved: SavedPreprocessing) -> dict[str, Any]:
        settings, compat = super()._settings(saved), saved.flag("transreid_compat")
        saved.fixed("crop_bottom", 0)
        if settings["image_size"] is not MISSING:
            saved.fixed("resize", settings["image_size"])  # pictures of identities are not cropped
        if compat is True:
            saved.fixed("interpolation", "bilinear")
            settings["interpolation"] = MISSING  # the filter of training, which this does not tell
        elif settings["interpolation"] is not MISSING:
            compat = False  # also for files of earlier versions, which do not tell it
        return {**settings, "transreid_compat": compat}

    def _train_sampler(self, rank: int, world_size: int) -> IdentityBatchSampler:
        return IdentityBatchSampler(
            self._train_labels(), self.batch_size, self.num_instances, seed=self.seed, rank=rank, world_size=world_size
        )

    def _columns(self, records: Sequence[Record]) -> dict[str, Tensor]:
        return {
            "identity": torch.tensor([record.label for record in records]),
            "camera": torch.tensor([record.camera for record in records]),
            "view": torch.tensor([record.view for record in records]),
        }


def query_and_gallery(records: Sequence[Record]) -> list[Record]:
    """Divide one list into queries and gallery: the first picture of each identity and camera is a query.

    Market-1501's queries were drawn in this way. A picture that is the only one of its identity and camera is both
    query and gallery entry: the protocol removes the query's own camera from its ranking. Without cameras such a
    picture goes to the gallery only.
    """
    groups: dict[tuple[int, int], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.label, record.camera].append(record)
    queries = [group[0] for (_, camera), group in groups.items() if camera >= 0 or len(group) > 1]
    gallery = [record for group in groups.values() for record in (group[1:] or group)]
    return [*with_role(queries, Role.QUERY), *with_role(gallery, Role.GALLERY)]


def hold_out(groups: Sequence[int], fraction: float, seed: int) -> set[int]:
    """A seeded random part of the different numbers in `groups`, at least one.

    Raises:
        ConfigError: Nothing would be left on one side.
    """
    numbers = sorted(set(groups))
    count = max(1, round(fraction * len(numbers)))
    if not 0 < fraction < 1 or count >= len(numbers):
        raise ConfigError(f"val_fraction={fraction} of {len(numbers)} leaves nothing to train or validate on: use 0.1")
    order = torch.randperm(len(numbers), generator=torch.Generator().manual_seed(seed)).tolist()
    return {numbers[i] for i in order[:count]}


def with_role(records: Sequence[Record], role: Role) -> list[Record]:
    """Copies of records in another role."""
    return [replace(record, role=role) for record in records]
