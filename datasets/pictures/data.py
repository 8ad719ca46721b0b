"""Base of the datamodules of pictures: choice of the pictures of each stage, checks, reading, inputs to predict."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch
from PIL import Image
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from vision_suite.datasets.base import BaseData, Stage, stages_of
from vision_suite.datasets.facts import labels
from vision_suite.datasets.loading import BatchLoader, Cache, available_cores, worker_count
from vision_suite.datasets.pictures.batches import PictureBatches
from vision_suite.datasets.pictures.checks import find_bad
from vision_suite.datasets.pictures.gallery import GalleryStore, checkpoint_of
from vision_suite.datasets.pictures.images import BadPicture, Interpolation, Reader, load_pictures
from vision_suite.datasets.pictures.manifest import find_inputs
from vision_suite.datasets.pictures.preprocessing import picture_settings, stored_preprocessing
from vision_suite.datasets.pictures.records import Listing, Record, check_counts, fingerprint
from vision_suite.datasets.pictures.transforms import Augment, Prepare, center_crop
from vision_suite.datasets.saved import SavedPreprocessing
from vision_suite.errors import ConfigError, DataError, SuiteError
from vision_suite.types import Role

Validation = Literal["auto", "official", "holdout", "test", "none"]


class PictureData(BaseData):
    """Pictures of one task: checked in `setup`, and read from disk or from memory.

    Attributes:
        num_classes: Number of classes (training identities).
        num_cameras: Number of cameras over all splits, 0 if unknown.
        num_views: Number of viewpoints over all splits, 0 if unknown.
        predict_passed_over: Numbers of files and folders of the inputs to predict that are passed over, by kind.
        gallery_size: Number of gallery pictures to predict against, 0 if there is no gallery.
        gallery_store: Features of the gallery on disk; None without one, before `predict_dataloader`, and on other
            processes than rank zero.
        unreadable: Reason for each picture that was skipped, by stage and path.
    """

    facts = ("num_classes", "num_cameras", "num_views")
    num_classes = num_cameras = num_views = 0
    items = "pictures"

    def __init__(
        self,
        *,
        image_size: tuple[int, int],
        resize: tuple[int, int],
        batch_size: int,
        eval_batch_size: int,
        augment: Augment,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        interpolation: Interpolation,
        eval_interpolation: Interpolation,
        crop_bottom: int,
        cache: Cache,
        num_workers: int | None,
        on_bad_image: Literal["error", "skip"],
        predict_inputs: str | None,
        predict_gallery: str | None,
        seed: int | None,
        gallery_store: str | None = None,
    ) -> None:
        """Keep the settings; the subclass documents them, reads its lists and calls `_use`."""
        super().__init__(
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            num_workers=worker_count(num_workers, cache),
            seed=seed,
        )
        if resize[0] < image_size[0] or resize[1] < image_size[1]:
            raise ConfigError(
                f"resize={list(resize)} is smaller than image_size={list(image_size)}: a crop cannot be larger"
            )
        for name, value in (("predict_gallery", predict_gallery), ("gallery_store", gallery_store)):
            if value and not predict_inputs:
                raise ConfigError(f"{name} is given without predict_inputs: name the queries too")
        self.image_size = image_size
        self._prepare = {True: Prepare(image_size, mean, std, augment), False: Prepare(image_size, mean, std, None)}
        self._read = {
            True: Reader(resize, interpolation, crop_bottom),
            False: Reader(resize, eval_interpolation, crop_bottom),
        }
        self._cache = cache
        self._on_bad_image = on_bad_image
        self._records: dict[str, list[Record]] = {"fit": [], "validate": [], "test": [], "predict": []}
        self._memory: dict[str, tuple[Tensor, Tensor]] = {}
        self._checked: set[str] = set()
        self._labels: dict[str, Any] = {}
        self.unreadable: dict[str, dict[str, str]] = {}
        self.gallery_store: GalleryStore | None = None
        self._store_folder = gallery_store
        self.predict_passed_over: dict[str, dict[str, int]] = {}
        self._asked = self._inputs(predict_inputs)
        self._gallery = self._inputs(predict_gallery)
        if predict_inputs:
            self._records["predict"] = to_predict(self._asked, self._gallery)
        self.gallery_size = len(self._gallery)

    def _inputs(self, inputs: str | None) -> list[str]:
        """The pictures that are meant, noting what is passed over."""
        if not inputs:
            return []
        found = find_inputs(inputs)
        self.predict_passed_over[inputs] = {kind: len(paths) for kind, paths in found.passed_over.items()}
        return [str(path) for path in found.files]

    @abstractmethod
    def _columns(self, records: Sequence[Record]) -> dict[str, Tensor]:
        """Batch entries other than ``image``, ``index`` and ``role``."""

    @abstractmethod
    def _splits(self, listing: Listing) -> tuple[list[Record], list[Record] | None, list[Record]]:
        """Training, official validation (None if the data set has none) and test pictures."""

    @abstractmethod
    def _hold_out(
        self, train: list[Record], fraction: float, seed: int
    ) -> tuple[list[Record], list[Record], dict[str, int]]:
        """Training pictures to keep, those to validate on, and the size of the latter as a fact of the protocol."""

    @abstractmethod
    def _labelled(self, listing: Listing, train: list[Record], val: list[Record], test: list[Record]) -> list[Record]:
        """Training pictures with training labels; warns about gaps between the three lists."""

    def _use(
        self, listing: Listing, dataset: str, validation: Validation, fraction: float, split_seed: int, counted: bool
    ) -> None:
        """Choose the pictures of each stage from a listing.

        Args:
            listing: Pictures by split, as a reader found them.
            dataset: Name of the data set, for the protocol.
            validation: Source of the validation pictures.
            fraction: Share of the training pictures that ``holdout`` takes.
            split_seed: Seed of that choice.
            counted: Compare the numbers of pictures with the official ones.

        Raises:
            ConfigError: The data set has no validation split of its own, or the share is out of range.
            DataError: Pictures are missing.
        """
        if counted:
            check_counts(listing)
        train, official, test = self._splits(listing)
        if not train and not test:
            raise DataError(f"{listing.layout} in {str(listing.root)!r} has neither training nor test pictures")
        if validation == "auto":
            validation = "none" if official is None else "official"
        facts: dict[str, object] = {
            "dataset": dataset,
            "validation": validation,
            "test_used_for_validation": validation == "test",
            "counts_checked": counted and bool(listing.expected),
        }
        val: list[Record] = []
        if validation == "official":
            if official is None:
                raise ConfigError(f"{listing.layout} has no validation split of its own: use validation=holdout")
            val = official
        elif validation == "holdout":
            train, val, held = self._hold_out(train, fraction, split_seed)
            facts |= {"val_fraction": fraction, "split_seed": split_seed, **held}
        elif validation == "test":
            val = test
        self._adopt(listing, self._labelled(listing, train, val, test), val, test, facts)

    def _adopt(
        self, listing: Listing, train: list[Record], val: list[Record], test: list[Record], facts: dict[str, object]
    ) -> None:
        """Take over the records of each stage, and everything that links or reports need."""
        self._records |= {"fit": train, "validate": val, "test": test}
        if not self._asked:
            self._records["predict"] = test
        everything = [*train, *val, *test]
        self.num_classes = len(listing.class_names) or len({record.label for record in train})
        self.num_cameras = 1 + max((record.camera for record in everything), default=-1)
        self.num_views = 1 + max((record.view for record in everything), default=-1)
        self.class_names = listing.class_names
        used = {record.camera for record in everything}, {record.view for record in everything}
        self._labels |= {
            "num_cameras": labels(self.num_cameras, listing.cameras, used[0]),
            "num_views": labels(self.num_views, {}, used[1]),
        }
        self.protocol = {
            **facts,
            "layout": listing.layout,
            "root": str(listing.root),
            "counts": listing.counts(),
            "fingerprint": fingerprint(listing.root, everything),
            "resize": {"train": self._read[True].interpolation, "eval": self._read[False].interpolation},
            **listing.notes,
        }

    def picture(self, stage: Stage, index: int) -> Image.Image:
        """The original picture at a position of a stage's list, for drawing."""
        return self._read[stage == "fit"].open(self._records[stage][index].path)

    def original(self, path: str) -> Image.Image:
        """The original picture at a path, for drawing.

        Raises:
            DataError: It cannot be read.
        """
        return self._read[False].open(path)

    def seen(self, stage: Stage, index: int) -> Image.Image:
        """The picture as the network sees it in evaluation: resized and cropped to `image_size`."""
        pixels = self._read[False](self._records[stage][index].path)
        return Image.fromarray(center_crop(pixels, self.image_size).permute(1, 2, 0).contiguous().numpy())

    def record(self, stage: Stage, index: int) -> tuple[str, int, int]:
        """Path, identity or class, and camera (-1 if unknown) at a position of a stage's list."""
        record = self._records[stage][index]
        return record.path, record.label, record.camera

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Steps from a picture to the network's input in evaluation, in plain values; sizes are (h, w)."""
        return stored_preprocessing(self._read[False], self._prepare[False])

    @classmethod
    def _settings(cls, saved: SavedPreprocessing) -> dict[str, Any]:
        return picture_settings(saved)

    def _fact_content(self, name: str) -> Any:
        return self._labels.get(name, super()._fact_content(name))

    @property
    def item_bytes(self) -> int:
        """Bytes of a picture's values in 32 bits."""
        return 4 * 3 * self.image_size[0] * self.image_size[1]

    def size(self, stage: Stage) -> int:
        """Number of pictures in a stage's list."""
        return len(self._records[stage])

    def prepare_data(self) -> None:
        """Check the pictures once per machine; the other processes read the result from the cache folder."""
        if self._cache == "none" and self.trainer is not None and self.trainer.state.fn is not None:
            for stage in stages_of(self.trainer.state.fn.value):
                if stage == "predict" and self._store_folder:
                    continue  # `predict_dataloader` leaves out what the store has
                find_bad([record.path for record in self._records[stage]])

    def setup(self, stage: str) -> None:
        """Check (and, with ``cache: memory``, load) the pictures of a stage before anything starts.

        Raises:
            ConfigError: The stage needs data and no root was given.
            DataError: Pictures can't be read, or none is left.
        """
        stage = TrainerFn(stage).value  # the trainer's enumeration reads otherwise in messages
        for name in stages_of(stage):
            if name in self._checked or (name == "predict" and self._store_folder):
                continue
            self._check(name, stage)
        if stage == "fit":
            counts = self.protocol["counts"].items()
            splits = "; ".join(f"{s} " + ", ".join(f"{n} {word}" for word, n in c.items()) for s, c in counts)
            validation = self.protocol["validation"]
            rank_zero_info(f"{self.protocol['layout']}: {splits}; training on {self.size('fit')}, {validation=}")

    def _check(self, name: Stage, stage: str) -> None:
        """Check (and, with ``cache: memory``, load) the pictures of a list."""
        records = self._records[name]
        if not records and name == "validate" and stage == "fit":
            return  # training without validation
        if not records:
            raise self._nothing(name)
        paths = [record.path for record in records]
        if self._cache == "memory":
            pictures, rows, bad = load_pictures(paths, self._read[name == "fit"], available_cores())
            self._memory[name] = (pictures, rows[self._without(name, bad)])
        else:
            self._without(name, find_bad(paths))
        self._checked.add(name)

    def predict_dataloader(self) -> BatchLoader:
        """Batches of the prediction inputs, or of the test split if none were given; without labels.

        With a gallery on disk its pictures are left out. That is known here and not in `setup`, because the trainer has
        loaded the checkpoint by now.

        Raises:
            ConfigError: The gallery on disk was made with another checkpoint, preprocessing or other settings.
            DataError: It is damaged or empty, or pictures can't be read.
        """
        if self._store_folder:
            self._use_store(self._store_folder)
            self._check("predict", "predict")
        return super().predict_dataloader()

    def _use_store(self, folder: str) -> None:
        """Leave gallery pictures out of the list to predict whose features are in the store."""
        trainer = self.trainer
        if trainer is None or trainer.lightning_module is None:
            raise ConfigError("gallery_store needs the trainer that predicts: call trainer.predict")
        self.gallery_store, new, count, problem = None, [], 0, None
        if trainer.is_global_zero:
            try:
                # Of any module of the suite that searches; rooms do not import each other.
                settings = dict(getattr(getattr(trainer.lightning_module, "search", None), "settings", {}))
                store = GalleryStore(
                    folder,
                    {
                        "checkpoint": checkpoint_of(trainer),
                        "preprocessing": self.preprocessing,
                        "settings": {**settings, "precision": str(trainer.precision)},
                    },
                )
                new = store.find(self._gallery).new
                if not self._gallery and not len(store):
                    raise DataError(f"gallery_store {folder!r} is empty: name pictures in --data.predict_gallery")
                self.gallery_store, count = store, len(store)
            except SuiteError as error:
                problem = error
        # All processes have the list of one, and fail together.
        new, count, problem = trainer.strategy.broadcast((new, count, problem))
        if problem is not None:
            raise problem
        self._records["predict"] = to_predict(self._asked, new)
        self.gallery_size = count + len(new)

    def _nothing(self, stage: str) -> Exception:
        if not self.protocol:
            return ConfigError(f"{stage} needs a data set: give --data.root")
        return DataError(
            f"{self.protocol['layout']} in {self.protocol['root']!r} has no pictures to {stage} on "
            f"(validation={self.protocol.get('validation')!r}): choose another split or data set"
        )

    def _without(self, stage: str, bad: Sequence[BadPicture]) -> Tensor:
        """Drop unreadable pictures from a stage's list, or refuse; returns the positions kept."""
        records = self._records[stage]
        if bad and self._on_bad_image == "error":
            raise DataError(
                f"{len(bad)} of {len(records)} {stage} pictures cannot be read, the first is {bad[0].path!r} "
                f"({bad[0].reason}): replace them or pass --data.on_bad_image skip"
            )
        broken = {b.path for b in bad}
        self.unreadable[stage] = {b.path: b.reason for b in bad}
        keep = [n for n, record in enumerate(records) if record.path not in broken]
        if broken:
            count = len(records) - len(keep)
            rank_zero_warn(
                f"Skipped {count} of {len(records)} {stage} pictures that cannot be read (first: {bad[0].path})"
            )
            self.protocol.setdefault("skipped", {})[stage] = count
            self._records[stage] = [records[n] for n in keep]
            if not keep:
                raise DataError(f"none of the {len(records)} {stage} pictures can be read, such as {bad[0].path!r}")
            lost = {record.role for record in records} - {record.role for record in self._records[stage]}
            if stage == "predict" and self._asked and (Role.QUERY in lost or (lost and not self._store_folder)):
                given = "predict_inputs" if Role.QUERY in lost else "predict_gallery"
                raise DataError(f"no picture of {given} can be read, such as {bad[0].path!r} ({bad[0].reason})")
        return torch.tensor(keep, dtype=torch.int64)

    def _batches(self, stage: Stage, rank: int) -> PictureBatches:
        records = self._records[stage]
        training = stage == "fit"
        return PictureBatches(
            [record.path for record in records],
            {
                "role": torch.tensor([int(record.role) for record in records]),
                **({} if stage == "predict" else self._columns(records)),
            },
            self._prepare[training],
            read=self._read[training],
            memory=self._memory.get(stage),
            seed=self.seed,
            rank=rank,
        )

    def _train_labels(self) -> list[int]:
        """Training label of each picture."""
        return [record.label for record in self._records["fit"]]


def to_predict(inputs: Sequence[str], gallery: Sequence[str]) -> list[Record]:
    """Records of the pictures that ask and of those that answer."""
    asked = [Record(path, -1, role=Role.QUERY) for path in inputs]
    return asked + [Record(path, -1, role=Role.GALLERY) for path in gallery]
