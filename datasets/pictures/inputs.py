"""Inputs of a prediction of pictures: those that ask, those that answer, and the gallery on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vision_suite.datasets.pictures.gallery import GalleryStore
from vision_suite.datasets.pictures.gallery_plan import file_checksum
from vision_suite.datasets.pictures.images import BadPicture
from vision_suite.datasets.pictures.manifest import find_inputs
from vision_suite.datasets.pictures.records import Record
from vision_suite.errors import ConfigError, DataError, SuiteError
from vision_suite.types import Role
from vision_suite.video.store import checksum

if TYPE_CHECKING:
    from pytorch_lightning import Trainer


class PredictionInputs:
    """Pictures to predict, as the settings of a datamodule name them.

    Args:
        inputs: Pictures that ask: a folder, a glob, a manifest or a file; None to predict on a data set.
        gallery: Pictures that answer, given in the same way.
        store_folder: Folder that keeps the features of the gallery.

    Attributes:
        given: True if pictures are named, and not those of a data set.
        passed_over: Numbers of files and folders that are passed over, by what was given and kind.
        store: The gallery on disk; None without one, before `use_store` and away from rank zero.
        stored: Number of pictures in it before this run.

    Raises:
        ConfigError: A gallery is given without pictures that ask.
        DataError: No picture is found.
    """

    def __init__(self, inputs: str | None, gallery: str | None, store_folder: str | None) -> None:
        for name, value in (("predict_gallery", gallery), ("gallery_store", store_folder)):
            if value and not inputs:
                raise ConfigError(f"{name} is given without predict_inputs: name the queries too")
        self.given = bool(inputs)
        self.store_folder = store_folder
        self.passed_over: dict[str, dict[str, int]] = {}
        self.store: GalleryStore | None = None
        self.stored = 0
        self._asked = self._find(inputs)
        self._gallery = self._find(gallery)

    def records(self) -> list[Record]:
        """Records of the pictures that ask and of those that answer, without what is in the store."""
        return _records(self._asked, self._gallery)

    def use_store(self, trainer: Trainer | None, preprocessing: Mapping[str, Any]) -> list[Record]:
        """Open the store, and leave out the gallery pictures whose features it has.

        Args:
            trainer: Trainer that predicts, with the checkpoint and the module.
            preprocessing: Steps from a picture to the network's input.

        Returns:
            Records of the pictures to predict, the same on all processes.

        Raises:
            ConfigError: There is no trainer, or the store was made with another checkpoint, preprocessing or settings.
            DataError: The store is damaged or empty.
        """
        if self.store_folder is None or trainer is None or trainer.lightning_module is None:
            raise ConfigError("gallery_store needs the trainer that predicts: call trainer.predict")
        self.store, new, count, problem = None, [], 0, None
        if trainer.is_global_zero:
            try:
                # Of any module of the suite that searches; rooms do not import each other.
                settings = dict(getattr(getattr(trainer.lightning_module, "search", None), "settings", {}))
                store = GalleryStore(
                    self.store_folder,
                    {
                        "checkpoint": checkpoint_of(trainer),
                        "preprocessing": dict(preprocessing),
                        "settings": {**settings, "precision": str(trainer.precision)},
                    },
                )
                new = store.find(self._gallery).new
                if not self._gallery and not len(store):
                    raise DataError(
                        f"gallery_store {self.store_folder!r} is empty: name pictures in --data.predict_gallery"
                    )
                self.store, count = store, len(store)
            except SuiteError as error:
                problem = error
        # All processes have the list of one, and fail together.
        new, self.stored, problem = trainer.strategy.broadcast((new, count, problem))
        if problem is not None:
            raise problem
        return _records(self._asked, new)

    def count_answers(self, records: Sequence[Record]) -> int:
        """Number of pictures that an input is compared with: the gallery, or all others where there is none.

        Args:
            records: Pictures to predict.
        """
        roles = [record.role for record in records]
        gallery = self.stored + roles.count(Role.GALLERY)
        return gallery if gallery and Role.QUERY in roles else len(roles) - roles.count(Role.SUPPORT) - 1

    def check_left(self, before: Sequence[Record], left: Sequence[Record], bad: BadPicture) -> None:
        """Refuse to turn the search round where one side has no picture left.

        Raises:
            DataError: All pictures that ask or all that answer are unreadable.
        """
        lost = {record.role for record in before} - {record.role for record in left}
        if self.given and (Role.QUERY in lost or (lost and not self.store_folder)):
            given = "predict_inputs" if Role.QUERY in lost else "predict_gallery"
            raise DataError(f"no picture of {given} can be read, such as {bad.path!r} ({bad.reason})")

    def _find(self, inputs: str | None) -> list[str]:
        """The pictures that are meant, noting what is passed over."""
        if not inputs:
            return []
        found = find_inputs(inputs)
        self.passed_over[inputs] = {kind: len(paths) for kind, paths in found.passed_over.items()}
        return [str(path) for path in found.files]


def _records(asked: Sequence[str], gallery: Sequence[str]) -> list[Record]:
    asking = [Record(path, -1, role=Role.QUERY) for path in asked]
    return asking + [Record(path, -1, role=Role.GALLERY) for path in gallery]


def checkpoint_of(trainer: Trainer) -> dict[str, str]:
    """Path and SHA-256 of the checkpoint of a run; of the weights in memory where it has none.

    Raises:
        ConfigError: The checkpoint is no local file.
    """
    if trainer.ckpt_path is None:
        return {"path": "weights in memory", "sha256": checksum(trainer.lightning_module.state_dict())}
    path = Path(trainer.ckpt_path)
    if not path.is_file():
        raise ConfigError(f"gallery_store needs a local checkpoint: copy {path} to this machine")
    return {"path": str(path), "sha256": file_checksum(path)}
