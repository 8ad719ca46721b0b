"""Base of the datamodules of pictures: choice of the pictures of each stage, checks and reading."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch
from PIL import Image
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from vision_suite.datasets.base import Stage, stages_of
from vision_suite.datasets.loading import BatchLoader, Cache, available_cores, worker_count
from vision_suite.datasets.pictures.batches import PictureBatches
from vision_suite.datasets.pictures.checks import find_bad
from vision_suite.datasets.pictures.gallery import GalleryStore
from vision_suite.datasets.pictures.images import BadPicture, Interpolation, Reader, load_pictures
from vision_suite.datasets.pictures.inputs import PredictionInputs
from vision_suite.datasets.pictures.preprocessing import picture_settings, stored_preprocessing
from vision_suite.datasets.pictures.records import Record
from vision_suite.datasets.pictures.stages import StagedPictures
from vision_suite.datasets.pictures.transforms import Augment, Prepare, center_crop
from vision_suite.datasets.saved import SavedPreprocessing
from vision_suite.errors import ConfigError, DataError


class PictureData(StagedPictures):
    """Pictures of one task: checked in `setup`, and read from disk or from memory.

    Attributes:
        unreadable: Reason for each picture that was skipped, by stage and path.
    """

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
            inputs=PredictionInputs(predict_inputs, predict_gallery, gallery_store),
            resize={"train": interpolation, "eval": eval_interpolation},
        )
        if resize[0] < image_size[0] or resize[1] < image_size[1]:
            raise ConfigError(
                f"resize={list(resize)} is smaller than image_size={list(image_size)}: a crop cannot be larger"
            )
        self.image_size = image_size
        self._prepare = {True: Prepare(image_size, mean, std, augment), False: Prepare(image_size, mean, std, None)}
        self._read = {
            True: Reader(resize, interpolation, crop_bottom),
            False: Reader(resize, eval_interpolation, crop_bottom),
        }
        self._cache = cache
        self._on_bad_image = on_bad_image
        self._memory: dict[str, tuple[Tensor, Tensor]] = {}
        self._checked: set[str] = set()
        self.unreadable: dict[str, dict[str, str]] = {}

    @property
    def predict_passed_over(self) -> dict[str, dict[str, int]]:
        """Numbers of files and folders of the inputs to predict that are passed over, by what was given and kind."""
        return self._inputs.passed_over

    @property
    def gallery_store(self) -> GalleryStore | None:
        """Features of the gallery on disk; None without one, before `predict_dataloader` and away from rank zero."""
        return self._inputs.store

    @property
    def gallery_size(self) -> int:
        """Number of pictures that an input is compared with in prediction: the gallery, or all others without one."""
        return self._inputs.count_answers(self._records["predict"])

    @abstractmethod
    def _columns(self, records: Sequence[Record]) -> dict[str, Tensor]:
        """Batch entries other than ``image``, ``index`` and ``role``."""

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

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Steps from a picture to the network's input in evaluation, in plain values; sizes are (h, w)."""
        return stored_preprocessing(self._read[False], self._prepare[False])

    @classmethod
    def _settings(cls, saved: SavedPreprocessing) -> dict[str, Any]:
        return picture_settings(saved)

    @property
    def item_bytes(self) -> int:
        """Bytes of a picture's values in 32 bits."""
        return 4 * 3 * self.image_size[0] * self.image_size[1]

    def prepare_data(self) -> None:
        """Check the pictures once per machine; the other processes read the result from the cache folder."""
        if self._cache == "none" and self.trainer is not None and self.trainer.state.fn is not None:
            for stage in stages_of(self.trainer.state.fn.value):
                if stage == "predict" and self._inputs.store_folder:
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
            if name in self._checked or (name == "predict" and self._inputs.store_folder):
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
        if self._inputs.store_folder:
            self._records["predict"] = self._inputs.use_store(self.trainer, self.preprocessing)
            with torch.inference_mode(False):  # of the trainer; threads could not fill tensors made in it
                self._check("predict", "predict")
        return super().predict_dataloader()

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
            if stage == "predict":
                self._inputs.check_left(records, self._records[stage], bad[0])
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
