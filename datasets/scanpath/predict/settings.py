"""Settings of pictures given to predict: their objects, and what is searched for in them."""

from __future__ import annotations

from dataclasses import dataclass

from vision_suite.detectors.boxes import check_min_score
from vision_suite.errors import ConfigError


@dataclass(frozen=True)
class PictureSettings:
    """Pictures given to predict, the source of their objects, and the target.

    Attributes:
        inputs: Pictures: a file, a folder, a glob or a manifest.
        boxes: File with the objects' boxes.
        detector: Zero-shot detection model that finds the objects.
        queries: Words that the detector looks for.
        min_score: Score above which a detection counts.
        device: Device that the detector runs on.
        grid: Rows and columns of objects on a grid.
        target: Word that the target's boxes are labelled with.
        target_box: Index of the target's box.
        target_crop: Picture of the target.
        text_encoder: Model of open_clip that turns the word into a vector.
        skip: Skip and note pictures that fail, instead of stopping.
    """

    inputs: str
    boxes: str | None = None
    detector: str | None = None
    queries: tuple[str, ...] = ()
    min_score: float = 0.1
    device: str = "auto"
    grid: tuple[int, int] | None = None
    target: str | None = None
    target_box: int | None = None
    target_crop: str | None = None
    text_encoder: str | None = None
    skip: bool = False

    def __post_init__(self) -> None:
        """Refuse what contradicts itself, before any file is read."""
        if self.boxes and self.detector:
            raise ConfigError("boxes and detector are both given: take the objects from one of them")
        if not (self.boxes or self.detector or self.grid):
            raise ConfigError(
                "nothing says where the objects are: give --data.boxes FILE, --data.detector MODEL with "
                "--data.queries, or --data.grid '[rows, columns]'"
            )
        if self.detector and self.grid:
            raise ConfigError("detector with grid: detected objects stand freely, so leave --data.grid out")
        check_min_score(self.min_score)
        if self.queries and not self.detector:
            raise ConfigError("queries without a detector: give --data.detector MODEL")
        if self.grid is not None and min(self.grid) < 1:
            raise ConfigError(f"grid={list(self.grid)}: use 1 row and 1 column or more")
        named = [name for name in ("target", "target_box", "target_crop") if getattr(self, name) is not None]
        if len(named) > 1:
            raise ConfigError(f"{' and '.join(named)} are both given: name the target in one way")
        for name in ("inputs", "boxes", "detector", "target", "target_crop", "text_encoder"):
            value = getattr(self, name)
            if value is not None and not str(value).strip():
                raise ConfigError(f"{name}={value!r} is empty: leave it out, or give a value")
        if self.target_box is not None and self.target_box < 0:
            raise ConfigError(f"target_box={self.target_box}: boxes are numbered from 0")
        if self.target is not None and not (self.boxes or self.detector):
            raise ConfigError("a target by word needs labels: give --data.boxes or --data.detector, or a target_box")
        if self.text_encoder and self.target is None:
            raise ConfigError("text_encoder without a target: give --data.target WORD")
