"""Long recordings of gaze cut into pieces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vision_suite.datasets.base import Stage
from vision_suite.errors import ConfigError
from vision_suite.types import Trial


@dataclass(frozen=True)
class Windows:
    """Lengths of the pieces of each stage's recordings.

    Attributes:
        window: Fixations of a piece, None where recordings stay whole.
        train_window: Fixations of a training piece; None for the same number.
        train_overlap: Fixations that a training piece repeats from the one before.
        test_overlap: Fixations that a piece repeats from the one before in evaluation.
    """

    window: int | None
    train_window: int | None
    train_overlap: int
    test_overlap: int

    def __post_init__(self) -> None:
        """Refuse what cannot be cut."""
        if self.window is None and self.train_window is not None:
            raise ConfigError(f"train_window={self.train_window} without window: give both")
        stages: tuple[Stage, ...] = ("fit", "test")
        sizes = ((self.length(stage), self.overlap(stage)) for stage in stages)
        if not all(length is None or (length >= 2 and 0 <= overlap < length) for length, overlap in sizes):
            raise ConfigError(
                f"window={self.window}, train_window={self.train_window}, train_overlap={self.train_overlap}, "
                f"test_overlap={self.test_overlap}: use windows of 2 or more and overlaps of 0 to window - 1"
            )

    def length(self, stage: Stage) -> int | None:
        """Fixations of a piece, None where recordings stay whole."""
        return self.train_window if stage == "fit" and self.train_window is not None else self.window

    def overlap(self, stage: Stage) -> int:
        """Fixations that a piece repeats from the one before."""
        return self.train_overlap if stage == "fit" else self.test_overlap

    def facts(self, stages: Sequence[Stage]) -> dict[str, object] | None:
        """Lengths and overlaps by stage for the protocol, None where recordings stay whole."""
        if not self.window:
            return None
        return {
            "length": {stage: self.length(stage) for stage in stages},
            "overlap": {stage: self.overlap(stage) for stage in stages},
        }

    def cut(self, trials: list[Trial], stage: Stage) -> tuple[list[Trial], int]:
        """The pieces of a stage's recordings, and the number of fixations in none of them."""
        length = self.length(stage)
        return (trials, 0) if length is None else cut_windows(trials, length, self.overlap(stage))


def cut_windows(trials: Sequence[Trial], window: int, overlap: int) -> tuple[list[Trial], int]:
    """Pieces of at most ``window`` fixations.

    With an overlap of 1 or more every piece begins with the last ``overlap`` fixations of the one before, which are
    given; so every fixation but the first is predicted exactly once, and the last piece may be shorter. Without
    overlap the first fixation of each piece is given, and only whole pieces are kept.

    Args:
        trials: Whole recordings.
        window: Most fixations of a piece, 2 or more.
        overlap: 0 to window - 1.

    Returns:
        The pieces, with ``recording`` and ``first`` set, and the number of fixations in no piece.
    """
    pieces: list[Trial] = []
    lost = 0
    for index, trial in enumerate(trials):
        whole = replace(trial, recording=index, first=0)
        if overlap == 0:
            pieces += [whole.part(n * window, (n + 1) * window, 1) for n in range(trial.length // window)]
            lost += trial.length % window
            continue
        given = max(1, trial.given)
        if trial.length <= given:
            lost += trial.length
            continue
        last = min(max(window, given + 1), trial.length)
        pieces.append(whole.part(0, last, given))
        while last < trial.length:
            begin = last - overlap
            last = min(begin + window, trial.length)
            pieces.append(whole.part(begin, last, overlap))
    return pieces, lost
