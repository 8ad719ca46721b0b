"""Video files to predict on, and their feature rows, made on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn

from vision_suite.datasets.tad.annotations import Video
from vision_suite.datasets.tad.sampling import FeatureInfo
from vision_suite.errors import ConfigError, DataError
from vision_suite.types.arrays import Floats32
from vision_suite.video.decode import duration_of
from vision_suite.video.files import list_videos

BATCH = 8  # clips at a time


class VideoFiles:
    """The video files that a path names.

    Args:
        inputs: A file, or a folder searched to the bottom.
        device: Device of the extractor: auto, cpu, cuda ...
        on_missing: Stop at videos that cannot be decoded, or skip and record them.

    Attributes:
        paths: The files.
        videos: The same as videos without annotations.
        failed: Reason for each skipped video, by name.
        passed_over: Number of files in the folder that are no videos by their endings, or hidden.
    """

    def __init__(self, inputs: str, device: str, on_missing: Literal["error", "skip"]) -> None:
        found = list_videos(inputs)
        self.paths, self.passed_over = found.files, found.number_passed_over
        if self.passed_over:
            rank_zero_info(f"{inputs}: {len(self.paths)} videos, passed over: {found.note()}")
        self.device, self.skips = device, on_missing == "skip"
        self.failed: dict[str, str] = {}
        self.videos = [self._video(path) for path in self.paths]

    def skip(self, index: int, error: DataError) -> None:
        """Record that a video could not be read to its end."""
        name = self.videos[index].name
        self.failed[name] = str(error)
        rank_zero_warn(f"Skipped {name}: {error}")

    def rows(self, info: FeatureInfo, every: int) -> Callable[[int], Iterable[Floats32]]:
        """Function that gives the feature rows (n, C) of a video, by its index, in chunks.

        Args:
            info: Metadata of the detector's features, with the extractor.
            every: Step between the rows that are kept.

        Raises:
            ConfigError: The features were not made of video files by this suite, so nothing can make them again.
        """
        from vision_suite.video.backbones import ClipNetwork, Extractor, pick_device
        from vision_suite.video.features import stream_rows

        found = dict(info.extractor)
        if found.pop("kind", None) != "video":
            raise ConfigError(
                "--data.videos needs a detector trained on features of `vision-suite features --videos`, whose "
                "features.json names the extractor; give the --ckpt_path of such a detector"
            )
        noted = found.pop("checksum", "of an earlier version, which noted none")
        extractor, device = Extractor(**found), pick_device(self.device)
        network = ClipNetwork(extractor).to(device)
        if (own := network.plain()["checksum"]) != noted:
            raise ConfigError(
                f"--data.videos: the weights {extractor.weights!r} of {extractor.backbone} have the checksum {own}, "
                f"those of the detector's features {noted}: give the same weights, or extract and train anew"
            )

        def of(index: int) -> Iterator[Floats32]:
            left = 0
            for chunk in stream_rows(self.paths[index], network, extractor, BATCH, device):
                yield chunk.rows[left::every]
                left = (left - len(chunk.rows)) % every

        return of

    def _video(self, path: Path) -> Video:
        try:
            return Video(path.stem, "predict", duration_of(path))
        except DataError:
            if not self.skips:
                raise
            return Video(path.stem, "predict", float("nan"))
