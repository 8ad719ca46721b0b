"""Choice of the pictures of each stage: training, validation, test and prediction."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

from vision_suite.datasets.base import BaseData, Stage
from vision_suite.datasets.facts import labels
from vision_suite.datasets.pictures.inputs import PredictionInputs
from vision_suite.datasets.pictures.records import Listing, Record, check_counts, fingerprint
from vision_suite.errors import ConfigError, DataError

Validation = Literal["auto", "official", "holdout", "test", "none"]


class StagedPictures(BaseData):
    """Lists of the pictures of each stage, from a data set's listing and the inputs to predict.

    Args:
        batch_size: Training pictures per step and process.
        eval_batch_size: Pictures per step and process in evaluation and prediction.
        num_workers: Worker processes of each loader.
        seed: Seed of order and augmentation; None for the run's.
        inputs: Pictures to predict.
        resize: Filter by which training and evaluation resize, for the protocol.

    Attributes:
        num_classes: Number of classes (training identities).
        num_cameras: Number of cameras over all splits, 0 if unknown.
        num_views: Number of viewpoints over all splits, 0 if unknown.
    """

    facts = ("num_classes", "num_cameras", "num_views")
    num_classes = num_cameras = num_views = 0
    items = "pictures"

    def __init__(
        self,
        *,
        batch_size: int,
        eval_batch_size: int,
        num_workers: int,
        seed: int | None,
        inputs: PredictionInputs,
        resize: dict[str, str],
    ) -> None:
        super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, num_workers=num_workers, seed=seed)
        self._inputs, self._resize = inputs, resize
        self._records: dict[str, list[Record]] = {"fit": [], "validate": [], "test": [], "predict": []}
        self._labels: dict[str, Any] = {}
        if inputs.given:
            self._records["predict"] = inputs.records()

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
        if not self._inputs.given:
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
            "resize": self._resize,
            **listing.notes,
        }

    def record(self, stage: Stage, index: int) -> tuple[str, int, int]:
        """Path, identity or class, and camera (-1 if unknown) at a position of a stage's list."""
        record = self._records[stage][index]
        return record.path, record.label, record.camera

    def size(self, stage: Stage) -> int:
        """Number of pictures in a stage's list."""
        return len(self._records[stage])

    def _fact_content(self, name: str) -> Any:
        return self._labels.get(name, super()._fact_content(name))

    def _nothing(self, stage: str) -> Exception:
        if not self.protocol:
            return ConfigError(f"{stage} needs a data set: give --data.root")
        return DataError(
            f"{self.protocol['layout']} in {self.protocol['root']!r} has no pictures to {stage} on "
            f"(validation={self.protocol.get('validation')!r}): choose another split or data set"
        )

    def _train_labels(self) -> list[int]:
        """Training label of each picture."""
        return [record.label for record in self._records["fit"]]
